//! A process by its number *and* the time it began: numbers are given again, and a signal to the wrong process is worse
//! than none.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(20);

/// One process, and no other that is given its number later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// What the system says about its beginning, as an opaque text: it is only compared.
    pub process_started: String,
}

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    Gone,
    /// Its number belongs to a process that began at another time.
    Reused,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "pid {}", self.pid)
    }
}

impl ProcessId {
    /// The process that has this number now; none where there is none, or only one that has ended and waits to be reaped.
    pub fn of(pid: u32) -> Option<ProcessId> {
        start_of(pid).map(|process_started| ProcessId { pid, process_started })
    }

    pub fn life(&self) -> Life {
        match start_of(self.pid) {
            Some(started) if started == self.process_started => Life::Alive,
            Some(_) => Life::Reused,
            None => Life::Gone,
        }
    }

    /// Sends a signal to this process; nothing happens where it is gone or its number is another's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Ok(pid) = i32::try_from(self.pid) else { return Ok(()) };
        // 0 and 1 would be our own group and init: no worker has these.
        if pid <= 1 || self.life() != Life::Alive {
            return Ok(());
        }
        match kill(Pid::from_raw(pid), signal) {
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            outcome => outcome.map_err(io::Error::from),
        }
    }

    /// True when it has ended within the patience.
    pub fn wait_for_end(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.life() == Life::Alive {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

/// The boot and the clock tick of the process's beginning: both, since ticks begin anew with each boot.
#[cfg(target_os = "linux")]
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields after it may not.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}/{ticks}", boot.trim()))
}

/// Elsewhere `ps` knows, to the second.
#[cfg(not(target_os = "linux"))]
fn start_of(pid: u32) -> Option<String> {
    let ask = |what: &str| {
        let output = std::process::Command::new("ps").args(["-o", what, "-p", &pid.to_string()]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    if ask("state=")?.starts_with('Z') { None } else { ask("lstart=") }
}
