//! What every route and the inference thread share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use tracing::info;

use super::configuration::Configuration;
use super::events::{Cause, Ending, Failure};
use super::jobs::{Admitted, Jobs};
use super::metrics::{Metrics, Outcome};
use super::shutdown::Shutdown;
use super::validate::Limits;
use crate::backend::{Description, Encode};

pub struct Service {
    pub configuration: Configuration,
    pub limits: Limits,
    pub tokenizer: Option<Arc<dyn Encode>>,
    pub jobs: Jobs,
    pub metrics: Metrics,
    pub shutdown: Shutdown,
    pub started: Instant,
    /// The backend's account of itself, refreshed by the inference thread between jobs: reading it never waits for one.
    held: RwLock<Held>,
    /// Lowered by an out-of-memory, raised again by the next job that succeeds.
    healthy: AtomicBool,
    /// Streams that are not yet written to their end; a stop waits for them.
    open_streams: AtomicUsize,
}

/// What the backend said of itself last.
#[derive(Clone, Debug)]
pub struct Held {
    pub description: Description,
    pub resident: bool,
}

impl Service {
    pub fn new(
        configuration: Configuration,
        held: Held,
        tokenizer: Option<Arc<dyn Encode>>,
        metrics: Metrics,
        shutdown: Shutdown,
        started: Instant,
    ) -> Self {
        Self {
            limits: Limits::new(&held.description, configuration.max_tokens_in, configuration.max_tokens_out),
            jobs: Jobs::new(configuration.queue_size),
            configuration,
            tokenizer,
            metrics,
            shutdown,
            started,
            held: RwLock::new(held),
            healthy: AtomicBool::new(true),
            open_streams: AtomicUsize::new(0),
        }
    }

    pub fn held(&self) -> Held {
        self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub fn hold(&self, held: Held) {
        *self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner) = held;
    }

    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    pub fn stream_opened(&self) {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
    }

    pub fn stream_closed(&self) {
        self.open_streams.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn open_streams(&self) -> usize {
        self.open_streams.load(Ordering::Relaxed)
    }

    /// Ends a job that never ran: one `error` event, no `started`.
    pub fn end_unstarted(&self, admitted: Admitted, cause: Cause) {
        self.metrics.ended(Outcome::Cancelled);
        info!(
            event = "execute_end",
            job_id = admitted.job.job_id,
            correlation_id = admitted.correlation.as_str(),
            outcome = Outcome::Cancelled.word(),
            cause = ?cause,
            waited_ms = admitted.accepted.elapsed().as_millis() as u64,
            "Job ended before it started"
        );
        // Nobody listens any more where the client went away.
        let _ = admitted.ending.send(Ending::Error(Failure::stopped(cause)));
    }

    /// Begins the drain of the job table: all that waits ends now.
    pub fn drain(&self) {
        for admitted in self.jobs.drain() {
            self.end_unstarted(admitted, Cause::Draining);
        }
    }
}
