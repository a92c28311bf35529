//! What every part of the daemon shares.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::children::Exit;
use super::configuration::Configuration;
use super::metrics::Metrics;
use super::registry::Registry;
use super::workers::{Worker, Workers, life};
use crate::http::shutdown::Shutdown;

pub struct Node {
    pub configuration: Configuration,
    /// Where it listens.
    pub address: SocketAddr,
    /// This program, which carries the workers.
    pub program: PathBuf,
    pub registry: Registry,
    pub workers: Workers,
    pub metrics: Metrics,
    /// Never keeps a connection for later: a job is sent once, on a connection of its own, or refused.
    pub client: reqwest::Client,
    pub shutdown: Shutdown,
    pub started: Instant,
    /// The lives of the workers. A stop waits for them.
    pub lives: Mutex<JoinSet<()>>,
    /// The folder of handoff files is worth a look now.
    pub look_again: Notify,
    /// The orchestrator knows this node.
    registered: AtomicBool,
    /// Not yet told to the orchestrator.
    failures: Mutex<VecDeque<FailureReport>>,
}

/// Failures that wait to be told; older ones give way.
const FAILURES: usize = 32;

/// What the orchestrator hears of a worker that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureReport {
    pub worker_id: String,
    pub pool_id: String,
    pub model_ref: String,
    #[serde(flatten)]
    pub exit: Option<Exit>,
    pub message: String,
}

impl Node {
    pub fn new(
        configuration: Configuration,
        address: SocketAddr,
        program: PathBuf,
        metrics: Metrics,
        client: reqwest::Client,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            registry: Registry::new(&configuration.pools),
            configuration,
            address,
            program,
            workers: Workers::default(),
            metrics,
            client,
            shutdown,
            started: Instant::now(),
            lives: Mutex::default(),
            look_again: Notify::new(),
            registered: AtomicBool::new(false),
            failures: Mutex::default(),
        }
    }

    /// Where workers of this node call back: they run on this machine.
    pub fn callback_url(&self) -> String {
        let host = crate::worker::callback::loopback(self.address);
        format!("http://{}/v2/internal/workers/ready", SocketAddr::new(host, self.address.port()))
    }

    /// Under which others reach it.
    pub fn public_address(&self) -> String {
        match &self.configuration.address {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.address),
        }
    }

    pub fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    pub fn set_registered(&self, registered: bool) {
        self.registered.store(registered, Ordering::Relaxed);
    }

    /// Lets a worker live.
    pub fn start(self: &Arc<Self>, worker: Worker) -> Arc<Worker> {
        let worker = Arc::new(worker);
        self.workers.add(worker.clone());
        self.metrics.workers_started.inc();
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        while lives.try_join_next().is_some() {}
        lives.spawn(life::live(self.clone(), worker.clone()));
        worker
    }

    pub fn report_failure(&self, worker: &Worker, message: &str) {
        self.metrics.workers_failed.inc();
        let exit = worker.life.borrow().last_exit;
        let report = FailureReport {
            worker_id: worker.id.clone(),
            pool_id: worker.spec.pool_id.clone(),
            model_ref: worker.spec.model_ref.clone(),
            exit,
            message: message.to_owned(),
        };
        if let Some(pool) = self.registry.find(&worker.spec.pool_id) {
            pool.set_error(format!("worker {}: {message}", worker.id));
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push_back(report);
        while failures.len() > FAILURES {
            failures.pop_front();
        }
    }

    pub fn failures(&self) -> Vec<FailureReport> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The orchestrator has heard of these.
    pub fn forget_failures(&self, told: &[FailureReport]) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|failure| !told.contains(failure));
    }
}
