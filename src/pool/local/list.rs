//! What became of the workers: alive by pid *and* start time, dead with a file left behind, alive without a file.

use std::io;
use std::path::PathBuf;

use super::info::{Record, WorkerInfo, Workers, is_worker_id};
use super::process::{Life, ProcessId};

#[derive(Debug)]
pub struct Seen {
    pub worker_id: String,
    /// Absent where the file is missing or can't be read.
    pub info: Option<WorkerInfo>,
    pub process: Option<ProcessId>,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    /// Its process is gone; the file is stale.
    Dead,
    /// Its number belongs to another process; the file is stale.
    Reused,
    /// It runs, and its file is missing or can't be read.
    Orphan,
    /// The file can't be read, and nothing runs.
    Unreadable(String),
}

impl State {
    pub fn word(&self) -> &'static str {
        match self {
            State::Running => "running",
            State::Dead | State::Reused => "dead",
            State::Orphan => "orphan",
            State::Unreadable(_) => "unreadable",
        }
    }

    pub fn is_alive(&self) -> bool {
        matches!(self, State::Running | State::Orphan)
    }

    /// What there is to say beyond the word.
    pub fn remark(&self) -> String {
        match self {
            State::Running => String::new(),
            State::Dead => "its process is gone".to_owned(),
            State::Reused => "its process is gone, and another has its number".to_owned(),
            State::Orphan => "it runs without its file; `worker stop` ends it".to_owned(),
            State::Unreadable(reason) => format!("its file can't be read: {reason}"),
        }
    }
}

/// Every worker that has a file or a process, in the order of the ids.
pub fn all(workers: &Workers) -> io::Result<Vec<Seen>> {
    let mut ids = workers.ids()?;
    let processes = running(workers);
    ids.extend(processes.iter().map(|(id, _)| id.clone()));
    ids.sort();
    ids.dedup();
    let mut seen = Vec::new();
    for id in ids {
        let process = processes.iter().find(|(of, _)| *of == id).map(|(_, process)| process.clone());
        seen.extend(look(workers, &id, process)?);
    }
    Ok(seen)
}

/// One worker; none where it has neither a file nor a process.
pub fn one(workers: &Workers, id: &str) -> io::Result<Option<Seen>> {
    let process = running(workers).into_iter().find(|(of, _)| of == id).map(|(_, process)| process);
    look(workers, id, process)
}

fn look(workers: &Workers, id: &str, process: Option<ProcessId>) -> io::Result<Option<Seen>> {
    let (info, unread) = match workers.read(id)? {
        Some(Record::Readable(info)) => (Some(info), None),
        Some(Record::Unreadable(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    let life = info.as_ref().map(|info| info.process.life());
    let state = match (life, unread, &process) {
        (Some(Life::Alive), _, _) => State::Running,
        (_, _, Some(_)) => State::Orphan,
        (Some(Life::Gone), _, None) => State::Dead,
        (Some(Life::Reused), _, None) => State::Reused,
        (None, Some(reason), None) => State::Unreadable(reason),
        (None, None, None) => return Ok(None),
    };
    let process = match state {
        State::Orphan => process,
        _ => info.as_ref().map(|info| info.process.clone()),
    };
    Ok(Some(Seen { worker_id: id.to_owned(), info, process, state }))
}

/// Removes the file of a worker that is gone, unless somebody starts it anew meanwhile. True where it was removed.
pub fn clean(workers: &Workers, seen: &Seen) -> io::Result<bool> {
    if seen.state.is_alive() {
        return Ok(false);
    }
    let Ok(_lock) = workers.lock(&seen.worker_id) else { return Ok(false) };
    match one(workers, &seen.worker_id)? {
        Some(now) if !now.state.is_alive() => workers.remove(&now.worker_id).map(|()| true),
        _ => Ok(false),
    }
}

/// The processes that were started from this folder, whatever became of their files: a worker is known by its own flag
/// and by its log, which is its standard output.
#[cfg(target_os = "linux")]
fn running(workers: &Workers) -> Vec<(String, ProcessId)> {
    let Some(folder) = workers.real_folder() else { return Vec::new() };
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let worker = |pid: u32| -> Option<(String, ProcessId)> {
        let log: PathBuf = std::fs::read_link(format!("/proc/{pid}/fd/1")).ok()?;
        if log.parent()? != folder {
            return None;
        }
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let at = words.iter().position(|word| word == "--worker-id")?;
        let id = words.get(at + 1).filter(|id| is_worker_id(id))?;
        Some((id.to_string(), ProcessId::of(pid)?))
    };
    pids.filter_map(worker).collect()
}

/// Elsewhere a process can't be asked for its output: a worker without a file is not found.
#[cfg(not(target_os = "linux"))]
fn running(_: &Workers) -> Vec<(String, ProcessId)> {
    Vec::new()
}
