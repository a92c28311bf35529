//! A child process that can't outlive the harness: its own process group, its output line by line with the time it
//! came, signals, the exit, the CPU time of the whole group.
//!
//! Three things keep anything from being left behind. `Drop` kills the group. `kill_all` kills every group that is alive:
//! the command line calls it when it is interrupted. And the kernel kills the child when the harness dies without a
//! word: the parent-death signal follows the *thread* that spawned it, so all children are spawned by one lasting thread.
//!
//! The child stays unreaped until its `Process` is dropped: so its number, and with it its group's, can't be given to
//! anybody else while it can still be signalled.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use nix::sys::signal::Signal;
use nix::sys::signal::killpg;
use nix::unistd::Pid;

use super::Finding;

/// What to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Set on top of the harness's own environment, of which no variable that configures our own is passed on.
    pub environment: Vec<(String, String)>,
    pub directory: Option<PathBuf>,
}

impl Command {
    pub fn new(program: impl Into<PathBuf>) -> Command {
        Command { program: program.into(), ..Command::default() }
    }

    #[must_use]
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Command {
        self.environment.push((name.into(), value.into()));
        self
    }
}

impl fmt::Display for Command {
    /// As a shell would read it, without the environment: tokens live there.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.to_string_lossy();
        let words = std::iter::once(program.as_ref()).chain(self.arguments.iter().map(String::as_str));
        let quoted: Vec<_> = words.map(|word| shlex::try_quote(word).unwrap_or(word.into())).collect();
        out.write_str(&quoted.join(" "))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(out, "exit code {code}"),
            Exit::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(out, "ended by {signal}"),
                Err(_) => write!(out, "ended by signal {number}"),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// One line of a process's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub text: String,
    pub from: Output,
    /// Since the process was spawned.
    pub at: Duration,
}

/// More lines than this are counted and not kept.
const MOST_LINES: usize = 200_000;
/// Longer lines are cut.
const LONGEST_LINE: u64 = 1 << 20;

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<Line>,
    dropped: usize,
    /// Outputs that are still open.
    open: usize,
    exit: Option<(Exit, Duration)>,
}

type Shared = Arc<(Mutex<Seen>, Condvar)>;

#[derive(Debug)]
pub struct Process {
    command: Command,
    child: Child,
    group: Pid,
    spawned: Instant,
    shared: Shared,
}

impl Process {
    /// Starts the command in a process group of its own, with its output captured and its input closed.
    pub fn spawn(command: Command) -> io::Result<Process> {
        let (answer, answered) = mpsc::channel();
        let spawner = lock(spawner()).clone();
        let gone = || io::Error::other("the thread that spawns processes is gone");
        spawner.send((command.clone(), answer)).map_err(|_| gone())?;
        let (mut child, spawned) = answered.recv().map_err(|_| gone())??;
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let shared = Shared::default();
        let outputs: [(Output, Option<Box<dyn Read + Send>>); 2] = [
            (Output::Stdout, child.stdout.take().map(|pipe| Box::new(pipe) as _)),
            (Output::Stderr, child.stderr.take().map(|pipe| Box::new(pipe) as _)),
        ];
        let process = Process { command, child, group, spawned, shared };
        for (from, pipe) in outputs {
            let Some(pipe) = pipe else { continue };
            lock(&process.shared.0).open += 1;
            let shared = process.shared.clone();
            let name = format!("output of {group}");
            std::thread::Builder::new().name(name).spawn(move || read_lines(pipe, from, spawned, &shared))?;
        }
        let shared = process.shared.clone();
        std::thread::Builder::new().name(format!("exit of {group}")).spawn(move || {
            let exit = wait_unreaped(group);
            lock(&shared.0).exit = Some((exit, spawned.elapsed()));
            shared.1.notify_all();
        })?;
        Ok(process)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn command(&self) -> &Command {
        &self.command
    }

    /// When it was spawned: the zero of the lines' times.
    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// All lines so far, standard output and standard error in the order in which they came.
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.shared.0).lines.clone()
    }

    /// How it ended and when, if it has.
    pub fn exit(&self) -> Option<(Exit, Duration)> {
        lock(&self.shared.0).exit
    }

    /// Waits for a line; a finding says whether the process ended before, and shows the last lines.
    pub fn wait_for_line(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<Line, Finding> {
        let found = self.wait(deadline, |seen| {
            let line = seen.lines.iter().find(|line| wanted(line)).cloned();
            match (line, seen.exit) {
                (Some(line), _) => Some(Ok(line)),
                (None, Some((exit, _))) if seen.open == 0 => Some(Err(exit)),
                (None, _) => None,
            }
        });
        let problem = match found {
            Some(Ok(line)) => return Ok(line),
            Some(Err(exit)) => format!("the process ended before ({exit})"),
            None => format!("no such line within {deadline:.1?}"),
        };
        Err(self.evidence(Finding::fail(format!("the line: {what}"), problem)))
    }

    /// Waits for the process to end, and for its outputs to close (at most a second more: a grandchild may hold them).
    pub fn wait_for_exit(&self, deadline: Duration) -> Result<Exit, Finding> {
        let Some(exit) = self.wait(deadline, |seen| seen.exit) else {
            let finding = Finding::fail(format!("the process ends within {deadline:.1?}"), "it still runs");
            return Err(self.evidence(finding));
        };
        self.wait(Duration::from_secs(1), |seen| (seen.open == 0).then_some(()));
        Ok(exit.0)
    }

    /// Sends a signal to the process alone; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        nix::sys::signal::kill(self.group, signal).map_err(io::Error::from)
    }

    /// Sends a signal to the process and everything it started.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        killpg(self.group, signal).map_err(io::Error::from)
    }

    /// CPU time that the whole group and what it started has used so far, ended threads included.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        group_cpu_time(self.group)
    }

    /// Attaches the command and the last lines of the output to a finding about the process.
    pub fn evidence(&self, finding: Finding) -> Finding {
        finding.with("command", self.command.to_string()).with("last lines of the log", self.log_tail(20))
    }

    pub fn log_tail(&self, count: usize) -> String {
        let seen = lock(&self.shared.0);
        if seen.lines.is_empty() {
            return "(nothing was printed)".into();
        }
        let from = seen.lines.len().saturating_sub(count);
        let mut lines: Vec<&str> = seen.lines[from..].iter().map(|line| line.text.as_str()).collect();
        let dropped = format!("({} more lines were not kept)", seen.dropped);
        if seen.dropped > 0 {
            lines.push(&dropped);
        }
        lines.join("\n")
    }

    fn wait<T>(&self, deadline: Duration, mut reached: impl FnMut(&Seen) -> Option<T>) -> Option<T> {
        let until = Instant::now() + deadline;
        let (seen, changed) = &*self.shared;
        let mut seen = lock(seen);
        loop {
            if let Some(value) = reached(&seen) {
                return Some(value);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            seen = changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut alive = lock(&ALIVE);
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.wait();
        alive.remove(&self.group.as_raw());
    }
}

/// The groups that are alive, until their `Process` is dropped.
static ALIVE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills everything that was spawned here and is not dropped yet. For the command line, when it is interrupted: call it
/// from an ordinary thread, not from inside a signal handler, and exit afterwards.
pub fn kill_all() {
    for group in lock(&ALIVE).iter() {
        let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
    }
}

/// A process that left our groups for a session of its own, and must not outlive the harness either.
pub fn adopt(leader: i32) {
    lock(&ALIVE).insert(leader);
}

/// It has ended, or is ended now by whoever adopted it.
pub fn release(leader: i32) {
    lock(&ALIVE).remove(&leader);
}

type Spawned = io::Result<(Child, Instant)>;
type Spawner = Mutex<Sender<(Command, Sender<Spawned>)>>;

/// The thread that spawns every child, and lasts as long as the harness.
fn spawner() -> &'static Spawner {
    static SPAWNER: OnceLock<Spawner> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<(Command, Sender<Spawned>)>();
        // Without this thread nothing can be spawned: the requests then fail with "is gone".
        let _ = std::thread::Builder::new().name("spawner".into()).spawn(move || {
            for (command, answer) in requests {
                let _ = answer.send(spawn_here(&command));
            }
        });
        Mutex::new(sender)
    })
}

fn spawn_here(command: &Command) -> Spawned {
    let mut prepared = std::process::Command::new(&command.program);
    prepared
        .args(&command.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["LLORCH_", "ORCHD_", "POOL_MANAGERD_"].iter().any(|ours| name_text.starts_with(ours)) {
            prepared.env_remove(name);
        }
    }
    prepared.envs(command.environment.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &command.directory {
        prepared.current_dir(directory);
    }
    die_with_the_parent(&mut prepared);
    // Held while spawning: `kill_all` sees either no child yet or a registered one.
    let mut alive = lock(&ALIVE);
    let spawned = Instant::now();
    let child = prepared.spawn()?;
    alive.extend(i32::try_from(child.id()));
    Ok((child, spawned))
}

/// Asked for in the thread that will spawn it, whose end it is that counts.
#[cfg(target_os = "linux")]
pub fn die_with_the_parent(command: &mut std::process::Command) {
    let parent = nix::unistd::getpid();
    let ask = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above; nobody would tell.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(nix::libc::ESRCH)) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, which are safe there, and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(ask);
    }
}

#[cfg(not(target_os = "linux"))]
pub fn die_with_the_parent(_: &mut std::process::Command) {}

/// Waits for the end of a process and leaves it unreaped.
#[cfg(target_os = "linux")]
fn wait_unreaped(process: Pid) -> Exit {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    loop {
        match waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::Exited(_, code)) => return Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Exit::Signal(signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            // Dropped meanwhile: nobody asks any more.
            Err(_) => return Exit::Signal(Signal::SIGKILL as i32),
        }
    }
}

/// Elsewhere there is no such wait in `nix`: it is reaped at its end.
#[cfg(not(target_os = "linux"))]
fn wait_unreaped(process: Pid) -> Exit {
    use nix::sys::wait::{WaitStatus, waitpid};
    loop {
        match waitpid(process, None) {
            Ok(WaitStatus::Exited(_, code)) => return Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Exit::Signal(signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return Exit::Signal(Signal::SIGKILL as i32),
        }
    }
}

fn read_lines(pipe: impl Read, from: Output, spawned: Instant, shared: &Shared) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
        let at = spawned.elapsed();
        let mut seen = lock(&shared.0);
        match read {
            Ok(0) | Err(_) => seen.open -= 1,
            Ok(_) if seen.lines.len() >= MOST_LINES => seen.dropped += 1,
            Ok(_) => {
                let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_string();
                seen.lines.push(Line { text, from, at });
            }
        }
        shared.1.notify_all();
        if !matches!(read, Ok(1..)) {
            return;
        }
    }
}

/// The sum over the processes of a group and over what they started, in groups of its own too. From `/proc`: the kernel's
/// clock ticks are 1/100 s on every Linux.
fn group_cpu_time(group: Pid) -> io::Result<Duration> {
    struct Seen {
        id: i32,
        parent: i32,
        group: i32,
        ticks: u64,
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ends meanwhile has no such file any more.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // `pid (name) state ppid pgrp … utime stime cutime cstime`: the name may hold anything, so from its last bracket on.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
        let (Some(parent), Some(group)) = (number(1), number(2)) else { continue };
        let ticks = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
        all.push(Seen { id, parent, group, ticks });
    }
    let mut ours: BTreeSet<i32> = all.iter().filter(|seen| seen.group == group.as_raw()).map(|seen| seen.id).collect();
    loop {
        let children = all.iter().filter(|seen| ours.contains(&seen.parent)).map(|seen| seen.id);
        let before = ours.len();
        ours = children.chain(ours.iter().copied()).collect();
        if ours.len() == before {
            break;
        }
    }
    let ticks: u64 = all.iter().filter(|seen| ours.contains(&seen.id)).map(|seen| seen.ticks).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
