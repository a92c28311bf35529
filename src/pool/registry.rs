//! What this node can compute with, right now: pools, the replicas in them, and the jobs that run on those.
//!
//! A replica is a worker that this daemon started, or an engine that a handoff file describes. A job holds a lease on one;
//! a lease is given back by dropping it, so the count can't go below zero, whatever path a job ends on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use tokio::sync::{Notify, watch};

use super::adapter::llamacpp::LlamaCpp;
use super::error::{Code, PoolError};
use super::preparation::Preparation;

/// Something that runs jobs.
#[derive(Debug)]
pub struct Replica {
    pub id: String,
    pub pool_id: String,
    pub upstream: Upstream,
    pub engine: String,
    pub engine_version: String,
    /// Every name under which its model may be asked for.
    pub models: Vec<String>,
    /// Of its model, where it is known.
    pub context_length: Option<u32>,
    pub device_mask: Option<String>,
    pub pid: Option<u32>,
    pub slots_total: usize,
    leases: watch::Sender<usize>,
    ready: AtomicBool,
    draining: AtomicBool,
}

/// What speaks to it.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The worker contract: relayed as it is.
    Worker { uri: Url, token: Option<String> },
    /// An engine with an interface of its own: translated.
    LlamaCpp(Arc<LlamaCpp>),
}

/// What a replica is made from.
#[derive(Debug)]
pub struct Parts {
    pub id: String,
    pub pool_id: String,
    pub upstream: Upstream,
    pub engine: String,
    pub engine_version: String,
    pub models: Vec<String>,
    pub context_length: Option<u32>,
    pub device_mask: Option<String>,
    pub pid: Option<u32>,
    pub slots_total: usize,
}

impl Replica {
    pub fn new(parts: Parts, ready: bool) -> Self {
        Self {
            id: parts.id,
            pool_id: parts.pool_id,
            upstream: parts.upstream,
            engine: parts.engine,
            engine_version: parts.engine_version,
            models: parts.models,
            context_length: parts.context_length,
            device_mask: parts.device_mask,
            pid: parts.pid,
            slots_total: parts.slots_total,
            leases: watch::Sender::new(0),
            ready: AtomicBool::new(ready),
            draining: AtomicBool::new(false),
        }
    }

    pub fn leases(&self) -> usize {
        *self.leases.borrow()
    }

    pub fn slots_free(&self) -> usize {
        self.slots_total.saturating_sub(self.leases())
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Says whether that is news.
    pub fn set_ready(&self, ready: bool) -> bool {
        self.ready.swap(ready, Ordering::Relaxed) != ready
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// No new job from here on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Resolves when no job runs on it.
    pub async fn idle(&self) {
        let mut leases = self.leases.subscribe();
        // The sender is `self`'s, so this ends only because nothing runs.
        let _ = leases.wait_for(|leases| *leases == 0).await;
    }

    fn takes(&self, model: Option<&str>) -> bool {
        self.is_ready() && !self.is_draining() && model.is_none_or(|model| self.models.iter().any(|own| own == model))
    }
}

/// Why a running job is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Cancelled,
    Draining,
}

/// A job's right to a slot, for as long as it lives.
#[derive(Debug)]
pub struct Lease {
    pub replica: Arc<Replica>,
    pub job_id: Option<String>,
    /// Turns to a cause when somebody stops the job.
    pub stop: watch::Receiver<Option<Cause>>,
    ticket: u64,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(job_id) = &self.job_id {
            let mut jobs = lock(&self.pool.jobs);
            if jobs.get(job_id).is_some_and(|job| job.ticket == self.ticket) {
                jobs.remove(job_id);
            }
        }
        self.replica.leases.send_modify(|leases| *leases -= 1);
    }
}

#[derive(Debug)]
struct ActiveJob {
    ticket: u64,
    replica: Arc<Replica>,
    stop: watch::Sender<Option<Cause>>,
}

#[derive(Debug)]
pub struct Pool {
    pub id: String,
    replicas: Mutex<Vec<Arc<Replica>>>,
    /// Jobs with an id, each there once. Never longer than the leases that are out.
    jobs: Mutex<HashMap<String, ActiveJob>>,
    draining: AtomicBool,
    tickets: AtomicU64,
    /// What is or was done to make the pool ready.
    pub preparation: Preparation,
    /// Held by the one drain, reload or purge that runs.
    pub rebuilding: Arc<tokio::sync::Mutex<()>>,
    last_error: Mutex<Option<String>>,
}

impl Pool {
    fn new(id: String) -> Self {
        Self {
            id,
            replicas: Mutex::default(),
            jobs: Mutex::default(),
            draining: AtomicBool::new(false),
            tickets: AtomicU64::new(0),
            preparation: Preparation::default(),
            rebuilding: Arc::default(),
            last_error: Mutex::default(),
        }
    }

    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        lock(&self.replicas).clone()
    }

    /// Adds a replica, in the place of one with its id.
    pub fn add(&self, replica: Arc<Replica>) {
        let mut replicas = lock(&self.replicas);
        replicas.retain(|other| other.id != replica.id);
        replicas.push(replica);
        *lock(&self.last_error) = None;
    }

    /// Removes exactly this one: another may have taken its id. Jobs that run on it keep their lease to their end.
    pub fn remove(&self, replica: &Arc<Replica>) {
        lock(&self.replicas).retain(|other| !Arc::ptr_eq(other, replica));
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    pub fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    pub fn set_error(&self, error: impl Into<String>) {
        *lock(&self.last_error) = Some(error.into());
    }

    /// Jobs that run, over all replicas, those on removed ones included where they have an id.
    pub fn running(&self) -> usize {
        self.replicas().iter().map(|replica| replica.leases()).sum()
    }

    /// Takes a job in: on the ready replica of its model with most slots free.
    pub fn admit(self: &Arc<Self>, job_id: Option<&str>, model: Option<&str>) -> Result<Lease, PoolError> {
        if self.is_draining() {
            return Err(PoolError::refused(Code::Draining, format!("pool {} is draining", self.id)));
        }
        let replicas = lock(&self.replicas);
        let mut jobs = lock(&self.jobs);
        if let Some(job_id) = job_id.filter(|id| jobs.contains_key(*id)) {
            return Err(PoolError::refused(Code::DuplicateJob, format!("the job {job_id} is active already")));
        }
        let able = replicas.iter().filter(|replica| replica.takes(model));
        let Some(replica) = able.max_by_key(|replica| (replica.slots_free(), usize::MAX - replica.leases())) else {
            return Err(self.why_not(&replicas, model));
        };
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (stop, stopped) = watch::channel(None);
        if let Some(job_id) = job_id {
            jobs.insert(job_id.to_owned(), ActiveJob { ticket, replica: replica.clone(), stop });
        }
        replica.leases.send_modify(|leases| *leases += 1);
        Ok(Lease {
            replica: replica.clone(),
            job_id: job_id.map(str::to_owned),
            stop: stopped,
            ticket,
            pool: self.clone(),
        })
    }

    fn why_not(&self, replicas: &[Arc<Replica>], model: Option<&str>) -> PoolError {
        match model {
            Some(model) if replicas.iter().any(|replica| replica.is_ready()) => PoolError::refused(
                Code::PoolUnready,
                format!("no ready replica of pool {} serves the model {model}", self.id),
            ),
            _ if replicas.iter().any(|replica| replica.is_draining()) => {
                PoolError::refused(Code::Draining, format!("the replicas of pool {} are draining", self.id))
            }
            _ => PoolError::refused(Code::PoolUnready, format!("pool {} has no ready replica", self.id)),
        }
    }

    /// Tells a running job to stop, and says where it runs.
    pub fn stop_job(&self, job_id: &str, cause: Cause) -> Option<Arc<Replica>> {
        let jobs = lock(&self.jobs);
        let job = jobs.get(job_id)?;
        job.stop.send_modify(|stop| _ = stop.get_or_insert(cause));
        Some(job.replica.clone())
    }

    /// Tells every job of a replica to stop, or of all: the deadline of a drain.
    pub fn stop_jobs(&self, replica: Option<&Arc<Replica>>, cause: Cause) {
        for job in lock(&self.jobs).values() {
            if replica.is_none_or(|replica| Arc::ptr_eq(replica, &job.replica)) {
                job.stop.send_modify(|stop| _ = stop.get_or_insert(cause));
            }
        }
    }
}

/// The pools of this node; which ones there are never changes.
#[derive(Debug)]
pub struct Registry {
    pools: Vec<Arc<Pool>>,
    /// Something that the orchestrator should hear of at once.
    pub changed: Notify,
}

impl Registry {
    pub fn new(pools: &[String]) -> Self {
        Self { pools: pools.iter().cloned().map(Pool::new).map(Arc::new).collect(), changed: Notify::new() }
    }

    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    pub fn find(&self, id: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| pool.id == id)
    }

    pub fn pool(&self, id: &str) -> Result<&Arc<Pool>, PoolError> {
        self.find(id).ok_or_else(|| PoolError::refused(Code::NotFound, "this node has no such pool".to_owned()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
