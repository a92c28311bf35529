//! Child processes that the daemon answers for: a process group of its own for each, output to a log file, the exit as a
//! value that everybody can wait for.
//!
//! Nothing is left behind. A child that is dropped takes its whole group with it, and on Linux the kernel kills the child
//! when the daemon dies without a word. That signal follows the *thread* that spawned, so one lasting thread spawns all.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::sync::watch;

/// Variables of the daemons and of the hub, which hold tokens: a child gets those that it is given by name, and no other.
const WITHHELD: [&str; 5] = ["LLORCH_", "POOL_MANAGERD_", "ORCHD_", "ORCHESTRATORD_", "HF_"];

/// What to run.
#[derive(Clone, Debug)]
pub struct Command {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub directory: Option<PathBuf>,
    pub output: Output,
}

#[derive(Clone, Debug)]
pub enum Output {
    /// Appended to a file that only the owner reads.
    Log(PathBuf),
    /// The daemon's own outputs.
    Inherited,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    ExitCode(i32),
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::ExitCode(code) => write!(out, "exit code {code}"),
            Exit::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(out, "ended by {signal}"),
                Err(_) => write!(out, "ended by signal {number}"),
            },
        }
    }
}

/// A process that runs, or ran. Dropping the last handle kills its group.
#[derive(Debug)]
pub struct Child {
    group: Pid,
    exit: watch::Receiver<Option<Exit>>,
    /// True once the process's number may belong to somebody else.
    reaped: Arc<Mutex<bool>>,
}

impl Child {
    /// Starts the command in a process group of its own, with its input closed.
    pub fn spawn(command: Command) -> io::Result<Child> {
        let (answer, answered) = mpsc::channel();
        let gone = || io::Error::other("the thread that spawns processes is gone");
        lock(spawner()).send((command, answer)).map_err(|_| gone())?;
        let child = answered.recv().map_err(|_| gone())??;
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let (tell, exit) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let handle = Child { group, exit, reaped: reaped.clone() };
        std::thread::Builder::new().name(format!("exit of {group}")).spawn(move || {
            let exit = wait(child, group, &reaped);
            tell.send_replace(Some(exit));
        })?;
        Ok(handle)
    }

    pub fn id(&self) -> u32 {
        self.group.as_raw().unsigned_abs()
    }

    /// How it ended, once it has.
    pub async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        // The waiting thread tells before it ends, so the other arm is never taken.
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        ended.unwrap_or(Exit::Signal(Signal::SIGKILL as i32))
    }

    pub fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Sends a signal to the process and all that it started; nothing happens once it has ended.
    pub fn signal(&self, signal: Signal) {
        let reaped = lock(&self.reaped);
        if !*reaped {
            let _ = killpg(self.group, signal); // nobody left is what was wanted
        }
    }

    /// TERM, then KILL for one that takes longer than `patience`.
    pub async fn stop(&self, patience: Duration) -> Exit {
        self.signal(Signal::SIGTERM);
        if let Ok(exit) = tokio::time::timeout(patience, self.ended()).await {
            return exit;
        }
        self.signal(Signal::SIGKILL);
        self.ended().await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Waits for the end, and takes what the process left in its group with it before its number is free for others.
fn wait(mut child: std::process::Child, group: Pid, reaped: &Mutex<bool>) -> Exit {
    wait_unreaped(group);
    let mut reaped = lock(reaped);
    let _ = killpg(group, Signal::SIGKILL);
    let status = child.wait();
    *reaped = true;
    use std::os::unix::process::ExitStatusExt as _;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Exit::ExitCode(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Signal(Signal::SIGKILL as i32),
        },
        Err(_) => Exit::Signal(Signal::SIGKILL as i32),
    }
}

/// Returns when the process has ended and its number is still its own.
#[cfg(target_os = "linux")]
fn wait_unreaped(process: Pid) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    while waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
}

/// Elsewhere there is no such wait in `nix`: look whether it is still there, until it is not.
#[cfg(not(target_os = "linux"))]
fn wait_unreaped(_: Pid) {}

type Request = (Command, Sender<io::Result<std::process::Child>>);

/// The thread that spawns every child, and lasts as long as the process.
fn spawner() -> &'static Mutex<Sender<Request>> {
    static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        // Without this thread nothing can be spawned: the requests then fail with "is gone".
        let _ = std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for (command, answer) in requests {
                let _ = answer.send(spawn_here(&command));
            }
        });
        Mutex::new(sender)
    })
}

fn spawn_here(command: &Command) -> io::Result<std::process::Child> {
    let mut prepared = std::process::Command::new(&command.program);
    prepared.args(&command.arguments).stdin(Stdio::null()).process_group(0);
    if let Output::Log(path) = &command.output {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        prepared.stdout(log.try_clone()?).stderr(log);
    }
    for (name, _) in std::env::vars_os() {
        if WITHHELD.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            prepared.env_remove(name);
        }
    }
    prepared.envs(command.environment.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &command.directory {
        prepared.current_dir(directory);
    }
    die_with_the_daemon(&mut prepared);
    prepared.spawn()
}

#[cfg(target_os = "linux")]
fn die_with_the_daemon(command: &mut std::process::Command) {
    let parent = nix::unistd::getpid();
    let ask = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The daemon may have died before the line above; nobody would tell.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(nix::libc::ESRCH)) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, which are safe there, and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(ask);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_the_daemon(_: &mut std::process::Command) {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
