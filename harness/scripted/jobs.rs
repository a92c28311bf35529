//! Which job runs, which wait, which are cancelled. A job holds a [`Ticket`] from its admission on; dropping the ticket
//! frees its place and its id, however the job ended.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::mistakes::Slip;
use super::options::Script;

/// How often a waiting or computing job looks at its client's socket.
const LOOK: Duration = Duration::from_millis(5);

pub struct Jobs {
    state: Mutex<State>,
    changed: Condvar,
    queue_size: usize,
    script: Script,
}

#[derive(Default)]
struct State {
    /// In the order of their arrival; those that run among them.
    active: Vec<Job>,
    next_number: u64,
    draining: bool,
    /// Ids that were cancelled, for the mistakes that remember them.
    cancelled_ids: HashSet<String>,
    /// Ids that were ever admitted, likewise.
    known_ids: HashSet<String>,
}

struct Job {
    number: u64,
    id: String,
    running: bool,
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Duplicate,
    Busy,
    Draining,
}

/// Why a job that waits or computes has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    Cancelled,
    Disconnected,
}

pub struct Ticket<'a> {
    jobs: &'a Jobs,
    number: u64,
}

impl Jobs {
    pub fn new(queue_size: usize, script: Script) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), queue_size, script }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn admit(&self, id: &str) -> Result<Ticket<'_>, Refusal> {
        let mut state = self.state();
        if state.draining && !self.script.plays(Slip::SigtermAcceptsJobs) {
            return Err(Refusal::Draining);
        }
        let taken = state.active.iter().any(|job| job.id == id)
            || (self.script.plays(Slip::DuplicateForEver) && state.known_ids.contains(id));
        if taken && !self.script.plays(Slip::DuplicateAccepted) {
            return Err(Refusal::Duplicate);
        }
        if state.active.len() > self.queue_size && !self.script.plays(Slip::QueueUnbounded) {
            return Err(Refusal::Busy);
        }
        let number = state.next_number;
        state.next_number += 1;
        state.known_ids.insert(id.to_string());
        let cancelled = self.script.plays(Slip::CancelRemembered) && state.cancelled_ids.contains(id);
        state.active.push(Job { number, id: id.to_string(), running: false, cancelled });
        Ok(Ticket { jobs: self, number })
    }

    /// Marks the job for cancellation; the status that answers it.
    pub fn cancel(&self, id: &str) -> u16 {
        let mut state = self.state();
        let script = self.script;
        let again = !state.cancelled_ids.insert(id.to_string());
        if script.plays(Slip::CancelWaits) {
            while state.active.iter().any(|job| job.id == id) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let known = state.known_ids.contains(id);
        for job in &mut state.active {
            let meant = job.id == id || (job.running && script.plays(Slip::CancelAnyJob));
            let ignored =
                script.plays(Slip::CancelIgnored) || (!job.running && script.plays(Slip::WaitingCancelIgnored));
            job.cancelled |= meant && !ignored;
        }
        self.changed.notify_all();
        match () {
            () if script.plays(Slip::CancelUnknown404) && !known => 404,
            () if script.plays(Slip::CancelNotIdempotent) && again => 409,
            () if script.plays(Slip::CancelAnswers200) => 200,
            () => 202,
        }
    }

    /// No new jobs, and those that wait are cancelled.
    pub fn drain(&self) {
        let mut state = self.state();
        state.draining = true;
        for job in &mut state.active {
            job.cancelled |= !job.running && !self.script.plays(Slip::DrainRunsQueue);
        }
        self.changed.notify_all();
    }

    pub fn cancel_all(&self) {
        self.state().active.iter_mut().for_each(|job| job.cancelled = true);
        self.changed.notify_all();
    }

    /// Waits until no job is active; false when the deadline comes first.
    pub fn wait_idle(&self, deadline: Instant) -> bool {
        let mut state = self.state();
        while !state.active.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub fn waiting(&self) -> usize {
        self.state().active.iter().filter(|job| !job.running).count()
    }
}

impl State {
    fn job(&mut self, number: u64) -> Option<&mut Job> {
        self.active.iter_mut().find(|job| job.number == number)
    }

    /// May this job run now?
    fn is_turn(&self, number: u64, script: Script) -> bool {
        if script.plays(Slip::TwoAtOnce) {
            return self.active.iter().filter(|job| job.running).count() < 2;
        }
        let mut waiting = self.active.iter().filter(|job| !job.running).map(|job| job.number);
        let next = if script.plays(Slip::QueueLastFirst) { waiting.next_back() } else { waiting.next() };
        next == Some(number) && !self.active.iter().any(|job| job.running)
    }
}

impl Ticket<'_> {
    /// Waits for the turn to run. `gone` looks whether the client has left; `alive` is called now and then.
    pub fn wait_turn(&self, gone: impl Fn() -> bool, mut alive: impl FnMut()) -> Result<(), Interruption> {
        loop {
            {
                let mut state = self.jobs.state();
                if state.job(self.number).is_some_and(|job| job.cancelled) {
                    return Err(Interruption::Cancelled);
                }
                if state.is_turn(self.number, self.jobs.script) {
                    state.job(self.number).into_iter().for_each(|job| job.running = true);
                    return Ok(());
                }
            }
            self.look(Instant::now() + LOOK, &gone)?;
            alive();
        }
    }

    /// What computing a token takes.
    pub fn compute(&self, time: Duration, gone: impl Fn() -> bool) -> Result<(), Interruption> {
        let end = Instant::now() + time;
        loop {
            self.look(end.min(Instant::now() + LOOK), &gone)?;
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    /// Sleeps until something changed, at most until then; then says whether the job has to stop.
    fn look(&self, until: Instant, gone: impl Fn() -> bool) -> Result<(), Interruption> {
        let mut state = self.jobs.state();
        if let Some(left) = until.checked_duration_since(Instant::now())
            && state.job(self.number).is_some_and(|job| !job.cancelled)
        {
            state = self.jobs.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.job(self.number).is_some_and(|job| job.cancelled) {
            return Err(Interruption::Cancelled);
        }
        drop(state);
        if gone() { Err(Interruption::Disconnected) } else { Ok(()) }
    }
}

impl Ticket<'_> {
    /// Frees the place and the id, so that whoever reads the terminal event finds them free.
    pub fn release(&self) {
        self.jobs.state().active.retain(|job| job.number != self.number);
        self.jobs.changed.notify_all();
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.release();
    }
}
