//! The job table: one job runs, a bounded number wait in order, and every active id is there once.
//!
//! Shared by the thread that serves and the inference thread; no lock is held while anything is awaited or computed.
//! Each job has two ways out: a bounded channel for what it says on the way, and a slot for how it ends, so that a
//! client that reads slowly can hold up its own tokens and never the next job.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::correlation::CorrelationId;
use super::error::{ApiError, Code};
use super::events::{Cause, Ending, Event};
use crate::backend::{CancelFlag, Job};

/// Events between the inference thread and the socket. A full channel makes the inference thread wait.
const EVENTS: usize = 256;

/// Tells one admission from another, also of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// A job on its way: waiting, then run.
#[derive(Debug)]
pub struct Admitted {
    pub ticket: Ticket,
    pub job: Job,
    pub correlation: CorrelationId,
    pub accepted: Instant,
    pub cancel: CancelFlag,
    pub events: mpsc::Sender<Event>,
    pub ending: oneshot::Sender<Ending>,
}

/// The other side of an admitted job: what its stream reads.
#[derive(Debug)]
pub struct Outlet {
    pub ticket: Ticket,
    pub cancel: CancelFlag,
    pub events: mpsc::Receiver<Event>,
    pub ending: oneshot::Receiver<Ending>,
}

#[derive(Debug)]
struct Active {
    ticket: Ticket,
    cancel: CancelFlag,
    /// Set once, with the flag: why the job was stopped.
    cause: Option<Cause>,
}

#[derive(Debug, Default)]
struct State {
    /// Every job that waits or runs. Its size is bounded by `1 + queue_size`.
    active: HashMap<String, Active>,
    /// Those that wait, oldest first. Each is in `active` too.
    waiting: VecDeque<Admitted>,
    last_ticket: u64,
    /// No new work; the inference thread ends when nothing waits.
    draining: bool,
}

impl State {
    fn stop(&mut self, job_id: &str, cause: Cause) -> Option<Admitted> {
        let active = self.active.get_mut(job_id)?;
        active.cause.get_or_insert(cause);
        active.cancel.raise();
        let ticket = active.ticket;
        let place = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        self.active.remove(job_id);
        self.waiting.remove(place)
    }
}

#[derive(Debug)]
pub struct Jobs {
    queue_size: usize,
    state: Mutex<State>,
    /// Something waits, or the drain has begun.
    changed: Condvar,
}

impl Jobs {
    pub fn new(queue_size: usize) -> Self {
        Self { queue_size, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job in, or says why not.
    pub fn admit(&self, job: Job, correlation: CorrelationId) -> Result<Outlet, ApiError> {
        let mut state = self.state();
        if state.draining {
            return Err(draining());
        }
        if state.active.contains_key(&job.job_id) {
            let message = format!("the job {} is active already", job.job_id);
            return Err(ApiError::Refused(Code::DuplicateJob, message));
        }
        if state.active.len() > self.queue_size {
            let message = format!("one job runs and {} wait; no more do", self.queue_size);
            return Err(ApiError::Refused(Code::Busy, message));
        }
        state.last_ticket += 1;
        let ticket = Ticket(state.last_ticket);
        let cancel = CancelFlag::default();
        let (events, events_out) = mpsc::channel(EVENTS);
        let (ending, ending_out) = oneshot::channel();
        state.active.insert(job.job_id.clone(), Active { ticket, cancel: cancel.clone(), cause: None });
        let accepted = Instant::now();
        state.waiting.push_back(Admitted {
            ticket,
            job,
            correlation,
            accepted,
            cancel: cancel.clone(),
            events,
            ending,
        });
        self.changed.notify_one();
        Ok(Outlet { ticket, cancel, events: events_out, ending: ending_out })
    }

    /// The next job, as soon as there is one; `None` once the drain has begun and nothing waits. For the inference thread.
    pub fn next(&self) -> Option<Admitted> {
        let mut state = self.state();
        loop {
            if let Some(admitted) = state.waiting.pop_front() {
                return Some(admitted);
            }
            if state.draining {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a job that ran out of the table. From here on its id is free, and nobody can stop it any more. Says why it
    /// was stopped, if it was.
    pub fn finish(&self, job_id: &str) -> Option<Cause> {
        self.state().active.remove(job_id).and_then(|active| active.cause)
    }

    /// Stops a job, whether it waits or runs. A job that waited is handed back: it will not run, and has to be ended.
    pub fn stop(&self, job_id: &str, cause: Cause) -> Option<Admitted> {
        self.state().stop(job_id, cause)
    }

    /// As `stop`, for exactly this admission: its id may belong to another one by now.
    pub fn stop_ticket(&self, ticket: Ticket, cause: Cause) -> Option<Admitted> {
        let mut state = self.state();
        let job_id = state.active.iter().find(|(_, active)| active.ticket == ticket).map(|(id, _)| id.clone())?;
        state.stop(&job_id, cause)
    }

    /// Begins the drain: no new work, and all that waits is handed back to be ended.
    pub fn drain(&self) -> Vec<Admitted> {
        let mut state = self.state();
        state.draining = true;
        let waiting: Vec<Admitted> = state.waiting.drain(..).collect();
        for admitted in &waiting {
            state.active.remove(&admitted.job.job_id);
            admitted.cancel.raise();
        }
        self.changed.notify_all();
        waiting
    }

    /// Stops whatever runs: the drain's deadline.
    pub fn stop_running(&self, cause: Cause) {
        for active in self.state().active.values_mut() {
            active.cause.get_or_insert(cause);
            active.cancel.raise();
        }
    }

    pub fn is_draining(&self) -> bool {
        self.state().draining
    }

    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }
}

pub fn draining() -> ApiError {
    ApiError::Refused(Code::Draining, "the worker is shutting down".to_owned())
}
