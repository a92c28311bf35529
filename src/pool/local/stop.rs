//! Ends a worker: asked first, and given longer than its own drain; then made to.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::info::{Workers, default_drain};
use super::list::{self, Seen};
use crate::pool::durable::LockError;

/// Beyond the drain: a cancelled job may take five seconds to end.
const LONGER_THAN_DRAIN: Duration = Duration::from_secs(8);
/// After SIGKILL, until the kernel has taken the process away.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error("there is no worker {0:?} here. Run: llorch-pool worker list")]
    Unknown(String),
    #[error("the worker {id} can't be stopped: {source}")]
    Io { id: String, source: io::Error },
    #[error("the worker {id} can't be stopped: {source}")]
    Lock { id: String, source: LockError },
    #[error("the worker {id} (pid {pid}) still runs after SIGKILL: the kernel does not let it go")]
    Unkillable { id: String, pid: u32 },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// When it was asked.
    Gracefully,
    /// By force, after this long.
    Killed { waited: Duration },
    /// It was dead already; only its file was removed.
    WasDead,
}

pub fn stop(workers: &Workers, id: &str) -> Result<Stopped, StopError> {
    let failed = |source| StopError::Io { id: id.to_owned(), source };
    // Looked at before the lock, so that an id that nobody has leaves no file behind.
    list::one(workers, id).map_err(failed)?.ok_or_else(|| StopError::Unknown(id.to_owned()))?;
    let _lock = workers.lock(id).map_err(|source| StopError::Lock { id: id.to_owned(), source })?;
    let seen = list::one(workers, id).map_err(failed)?.ok_or_else(|| StopError::Unknown(id.to_owned()))?;
    let stopped = end(&seen).map_err(failed)?;
    let Some(stopped) = stopped else {
        return Err(StopError::Unkillable { id: id.to_owned(), pid: seen.process.map_or(0, |process| process.pid) });
    };
    workers.remove(id).map_err(failed)?;
    Ok(stopped)
}

/// None where it does not end at all.
fn end(seen: &Seen) -> io::Result<Option<Stopped>> {
    let Some(process) = seen.process.as_ref().filter(|_| seen.state.is_alive()) else {
        return Ok(Some(Stopped::WasDead));
    };
    process.signal(Signal::SIGTERM)?;
    let drain = seen.info.as_ref().map_or_else(default_drain, |info| info.drain_sec);
    let patience = Duration::from_secs(drain.min(86_400)) + LONGER_THAN_DRAIN;
    if process.wait_for_end(patience) {
        return Ok(Some(Stopped::Gracefully));
    }
    process.signal(Signal::SIGKILL)?;
    Ok(process.wait_for_end(KILLED_WITHIN).then_some(Stopped::Killed { waited: patience }))
}
