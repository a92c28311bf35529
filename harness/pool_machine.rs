//! A machine of a pool, as a folder: commands run in it, the programs that stand before others on its `PATH`, and every
//! worker that was started there, which ends with it.
//!
//! The tool is a process like any other here. What it did is read from its output, its files and the processes it left.

mod engine;
mod stand_in;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::process::{self, Command, Exit, Process, Signal};
use super::{Finding, Verdict};
pub use engine::{BUILDS, builds};
pub use stand_in::{Hf, Shape};

/// No command here takes longer: a stop waits for a drain, and everything else is quicker.
const WITHIN: Duration = Duration::from_secs(45);

/// One command that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub line: String,
    pub exit: Exit,
    /// Both outputs, in the order in which they came.
    pub output: String,
}

impl Ran {
    pub fn code(&self) -> Option<i32> {
        match self.exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) => None,
        }
    }

    /// Attaches the command and what it said to a finding about it.
    pub fn evidence(&self, finding: Finding) -> Finding {
        finding.with("command", &self.line).with("output", &self.output)
    }
}

pub struct Machine {
    folder: tempfile::TempDir,
    /// The binary that carries the tool and the daemons.
    llorch: PathBuf,
    /// A device's index whose place, 8000 and itself, is free.
    gpu: u16,
    /// For every command.
    environment: Vec<(String, String)>,
    /// Only its own programs are found.
    is_bare: bool,
    /// Leaders of the sessions that workers run in, each with its start.
    workers: BTreeSet<(i32, String)>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Machine").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

impl Machine {
    pub fn new(llorch: &Path) -> io::Result<Machine> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("bin"))?;
        let mut machine = Machine {
            folder,
            llorch: llorch.to_owned(),
            gpu: free_place(),
            environment: Vec::new(),
            is_bare: false,
            workers: BTreeSet::new(),
        };
        // What the real `hf` writes and asks of its own accord stays here.
        let home = machine.path("hf-home").display().to_string();
        let quiet = ["HF_HUB_DISABLE_UPDATE_CHECK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"];
        machine.set("HF_HOME", &home);
        quiet.iter().for_each(|name| machine.set(name, "1"));
        machine.set("NO_PROXY", "127.0.0.1");
        Ok(machine)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn gpu(&self) -> u16 {
        self.gpu
    }

    pub fn port(&self) -> u16 {
        8000 + self.gpu
    }

    pub fn worker_id(&self, backend: &str) -> String {
        format!("worker-{backend}-{}", self.gpu)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A program that stands before all others on the `PATH`.
    pub fn install(&self, name: &str, script: &str) -> io::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("bin").join(name);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// A program that hands its words to this command of `llorch`.
    pub fn install_as(&self, name: &str, command: &str) -> io::Result<PathBuf> {
        let llorch = self.llorch.display().to_string();
        let llorch = shlex::try_quote(&llorch).map_err(io::Error::other)?;
        self.install(name, &format!("#!/bin/sh\nexec {llorch} {command} \"$@\"\n"))
    }

    /// From now on nothing is installed here but what the harness installs.
    pub fn strip(&mut self) {
        self.is_bare = true;
    }

    /// `{gpu}`, `{port}`, `{folder}`, `{bin}` filled in, and `{n}` where there are several.
    pub fn fill(&self, text: &str, number: usize) -> String {
        let values = [
            ("{gpu}", self.gpu.to_string()),
            ("{port}", self.port().to_string()),
            ("{folder}", self.folder().display().to_string()),
            ("{bin}", self.path("bin").display().to_string()),
            ("{n}", number.to_string()),
        ];
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// A command line as a shell would split it: variables first, then `llorch` or `llorch-pool` and its words.
    fn command(&self, line: &str, number: usize) -> Result<Command, Finding> {
        let wrong = || Finding::error("a command line of llorch or llorch-pool", line);
        let words = shlex::split(&self.fill(line, number)).ok_or_else(wrong)?;
        let is_variable = |word: &&String| {
            word.split_once('=').is_some_and(|(name, _)| {
                ["LLORCH_", "ORCH", "POOL_MANAGERD_", "LLAMA_"].iter().any(|prefix| name.starts_with(prefix))
            })
        };
        let variables: Vec<String> = words.iter().take_while(is_variable).cloned().collect();
        let mut words = words.into_iter().skip(variables.len());
        let mut command = Command::new(&self.llorch);
        match words.next().as_deref() {
            Some("llorch") => {}
            Some("llorch-pool") => command = command.arguments(["llorch-pool"]),
            _ => return Err(wrong()),
        }
        let bin = self.path("bin").display().to_string();
        let path = match std::env::var_os("PATH") {
            Some(path) if !self.is_bare => {
                // No engine that happens to be installed: the scenario's own, or none.
                let others = std::env::split_paths(&path).filter(|folder| !folder.join("llama-server").exists());
                others.fold(bin, |path, folder| format!("{path}:{}", folder.display()))
            }
            _ => bin,
        };
        command = command.arguments(words).variable("PATH", &path);
        command.environment.extend(self.environment.iter().cloned());
        command.environment.extend(
            variables.iter().filter_map(|variable| {
                variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            }),
        );
        command.directory = Some(self.folder().to_owned());
        Ok(command)
    }

    /// Starts a command and does not wait.
    pub fn begin(&self, line: &str, number: usize) -> Result<Process, Finding> {
        Process::spawn(self.command(line, number)?).map_err(|problem| Finding::error("a process", problem.to_string()))
    }

    /// Waits for a command that was begun, and takes the workers that it left into care.
    pub fn end(&mut self, process: Process) -> Result<Ran, Finding> {
        let exit = process.wait_for_exit(WITHIN);
        self.adopt();
        let lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
        Ok(Ran { line: process.command().to_string(), exit: exit?, output: lines.join("\n") })
    }

    pub fn run(&mut self, line: &str) -> Result<Ran, Finding> {
        let process = self.begin(line, 0)?;
        self.end(process)
    }

    /// For what is prepared and not judged: anything but success is the harness's own failure.
    pub fn prepare(&mut self, line: &str) -> Result<(), Finding> {
        let ran = self.run(line)?;
        if ran.code() == Some(0) {
            return Ok(());
        }
        let finding = Finding::new(Verdict::Error, "the preparation to succeed", ran.exit.to_string());
        Err(ran.evidence(finding))
    }

    pub fn catalog_path(&self) -> PathBuf {
        self.path(".test-models/catalog.json")
    }

    /// As it lies there; none where there is none.
    pub fn catalog_bytes(&self) -> Option<Vec<u8>> {
        fs::read(self.catalog_path()).ok()
    }

    pub fn catalog(&self) -> Result<Value, Finding> {
        let bytes = self.catalog_bytes().ok_or_else(|| Finding::fail("a catalog", "there is none"))?;
        serde_json::from_slice(&bytes).map_err(|problem| {
            Finding::fail("a catalog in JSON", problem.to_string()).with("catalog", String::from_utf8_lossy(&bytes))
        })
    }

    /// True where the real `hf` has written a part of a model's file.
    pub fn has_part_of(&self, id: &str) -> bool {
        let kept = self.path(".test-models").join(id).join(".cache/huggingface/download");
        fs::read_dir(kept).into_iter().flatten().flatten().any(|entry| {
            let is_part = entry.file_name().to_string_lossy().ends_with(".incomplete");
            is_part && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
        })
    }

    pub fn info_path(&self, worker_id: &str) -> PathBuf {
        self.path(".runtime/workers").join(format!("{worker_id}.json"))
    }

    /// What the tool wrote about a worker.
    pub fn info(&self, worker_id: &str) -> Result<Value, Finding> {
        let path = self.info_path(worker_id);
        let missing = |problem: String| Finding::fail(format!("a file about {worker_id}"), problem);
        let bytes = fs::read(&path).map_err(|problem| missing(problem.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|problem| missing(problem.to_string()))
    }

    /// The worker's number, as its file says.
    pub fn pid(&self, worker_id: &str) -> Result<i32, Finding> {
        let info = self.info(worker_id)?;
        let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
        pid.ok_or_else(|| Finding::fail("`pid` in the worker's file", info.to_string()))
    }

    /// Detached as they are, the workers of this machine do not outlive the scenario, nor the harness.
    fn adopt(&mut self) {
        let Ok(entries) = fs::read_dir(self.path(".runtime/workers")) else { return };
        let ids =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned));
        let pids: Vec<i32> = ids.filter_map(|id| self.pid(&id).ok()).collect();
        for pid in pids {
            // Ours alone: a scenario may have written another process's number there.
            if let Some(started) = start_of(pid).filter(|_| session_of(pid) == Some(pid) && pid != own_session()) {
                process::adopt(pid);
                self.workers.insert((pid, started));
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.adopt();
        for (pid, started) in &self.workers {
            process::release(*pid);
            if start_of(*pid).as_ref() == Some(started) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
    }
}

fn own_session() -> i32 {
    nix::unistd::getsid(None).map_or(0, nix::unistd::Pid::as_raw)
}

/// A field of `/proc/<pid>/stat` behind the name; none for a process that has ended.
fn stat_field(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z" | &"X") | None) {
        None
    } else {
        fields.get(field).map(|text| (*text).to_owned())
    }
}

/// When it began, in the kernel's own words.
pub fn start_of(pid: i32) -> Option<String> {
    stat_field(pid, 19)
}

pub fn session_of(pid: i32) -> Option<i32> {
    stat_field(pid, 3)?.parse().ok()
}

/// An index whose port is free, given out once by this process.
fn free_place() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // From a place of this process's own on: another run of the harness may look at the same time.
    let begin = (std::process::id() % 1000) as u16;
    let places = (0..1000).map(|step| 10 + (begin + step) % 1000);
    let is_free = |gpu: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, 8000 + gpu)).is_ok();
    let found = places.into_iter().find(|gpu| !given.contains(gpu) && is_free(gpu));
    let gpu = found.unwrap_or_else(|| {
        given.clear();
        begin
    });
    given.insert(gpu);
    gpu
}
