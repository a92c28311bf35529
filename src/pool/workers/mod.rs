//! Workers that this node starts, each in a process of its own.
//!
//! A worker's way: `spawn` turns what was asked for into a command, `life` runs it from its start to its end (and again,
//! where it is supervised), `callback` hears that it is ready, `supervision` says when it may be started again.

pub mod callback;
pub mod engine;
pub mod life;
pub mod requests;
pub mod routes;
pub mod spawn;
pub mod supervision;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use reqwest::Url;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::children::Exit;
use super::models::Source;
use super::registry::Replica;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSpec {
    pub pool_id: String,
    /// The model as it was asked for.
    pub model_ref: String,
    pub model: Source,
    pub backend: String,
    pub gpu_id: Option<u32>,
    /// Started again when it fails.
    pub supervise: bool,
}

/// `busy` is seen from outside only: a ready worker with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Starting,
    Ready,
    Busy,
    Draining,
    Gone,
    Failed,
}

impl State {
    pub fn is_over(self) -> bool {
        matches!(self, State::Gone | State::Failed)
    }
}

/// What its maker wants of it. The later wins; a stop is never taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Run,
    /// No new job; ends when the running ones have, at the latest then.
    Drain(Instant),
    Stop,
}

/// How it stands.
#[derive(Clone, Debug)]
pub struct Life {
    pub state: State,
    pub pid: Option<u32>,
    /// Where its model lies; none for the stub, which needs none, and none while it is fetched.
    pub model_path: Option<PathBuf>,
    pub uri: Option<Url>,
    /// As the worker's health has it.
    pub context_length: Option<u32>,
    /// Of this start: the next one has another.
    pub spawn_token: String,
    /// What its `/execute` asks for, where this node is guarded.
    pub access_token: Option<String>,
    pub starts: u32,
    pub last_exit: Option<Exit>,
    pub error: Option<String>,
    /// The supervision has given it up.
    pub circuit_open: bool,
    pub replica: Option<Arc<Replica>>,
}

#[derive(Debug)]
pub struct Worker {
    pub id: String,
    pub spec: WorkerSpec,
    pub log: PathBuf,
    pub life: watch::Sender<Life>,
    order: watch::Sender<Order>,
}

impl Worker {
    pub fn new(id: String, spec: WorkerSpec, log: PathBuf) -> Self {
        let life = Life {
            state: State::Starting,
            pid: None,
            model_path: None,
            uri: None,
            context_length: None,
            spawn_token: String::new(),
            access_token: None,
            starts: 0,
            last_exit: None,
            error: None,
            circuit_open: false,
            replica: None,
        };
        Self { id, spec, log, life: watch::Sender::new(life), order: watch::Sender::new(Order::Run) }
    }

    pub fn order(&self, order: Order) {
        self.order.send_if_modified(|current| {
            let news = *current != Order::Stop && *current != order;
            if news {
                *current = order;
            }
            news
        });
    }

    pub fn orders(&self) -> watch::Receiver<Order> {
        self.order.subscribe()
    }

    pub fn current_order(&self) -> Order {
        *self.order.borrow()
    }

    /// As seen from outside.
    pub fn state(&self) -> State {
        let life = self.life.borrow();
        match (&life.state, &life.replica) {
            (State::Ready, Some(replica)) if replica.leases() > 0 => State::Busy,
            (state, _) => *state,
        }
    }

    /// Waits for the first answer that `reached` gives.
    pub async fn until<T>(&self, mut reached: impl FnMut(&Life) -> Option<T>) -> T {
        let mut life = self.life.subscribe();
        loop {
            if let Some(value) = reached(&life.borrow_and_update()) {
                return value;
            }
            // The sender is `self`'s.
            if life.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// One worker, as `GET /v2/workers/{id}` and `GET /v2/state` show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WorkerView {
    pub worker_id: String,
    pub pool_id: String,
    pub model_ref: String,
    pub backend: String,
    pub gpu_id: Option<u32>,
    pub status: State,
    pub pid: Option<u32>,
    pub uri: Option<String>,
    /// How often it was started.
    pub starts: u32,
    /// How it ended last, if it has.
    pub last_exit: Option<Exit>,
    pub error: Option<String>,
    pub circuit_open: bool,
    pub log: String,
}

impl WorkerView {
    pub fn of(worker: &Worker) -> Self {
        let status = worker.state();
        let life = worker.life.borrow();
        Self {
            worker_id: worker.id.clone(),
            pool_id: worker.spec.pool_id.clone(),
            model_ref: worker.spec.model_ref.clone(),
            backend: worker.spec.backend.clone(),
            gpu_id: worker.spec.gpu_id,
            status,
            pid: life.pid,
            uri: life.uri.as_ref().map(|uri| uri.as_str().trim_end_matches('/').to_owned()),
            starts: life.starts,
            last_exit: life.last_exit,
            error: life.error.clone(),
            circuit_open: life.circuit_open,
            log: worker.log.display().to_string(),
        }
    }
}

/// Workers whose life is over that are still shown.
const REMEMBERED: usize = 64;

/// Every worker of this node, the newest last.
#[derive(Debug, Default)]
pub struct Workers {
    all: Mutex<Vec<Arc<Worker>>>,
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, worker: Arc<Worker>) {
        let mut all = self.lock();
        let mut over = all.iter().filter(|worker| worker.state().is_over()).count();
        all.retain(|worker| {
            let forget = over >= REMEMBERED && worker.state().is_over();
            over -= usize::from(forget);
            !forget
        });
        all.push(worker);
    }

    pub fn find(&self, id: &str) -> Option<Arc<Worker>> {
        self.lock().iter().find(|worker| worker.id == id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Worker>> {
        self.lock().clone()
    }

    /// Those of a pool that live.
    pub fn of_pool(&self, pool_id: &str) -> Vec<Arc<Worker>> {
        let mut workers = self.all();
        workers.retain(|worker| worker.spec.pool_id == pool_id && !worker.state().is_over());
        workers
    }

    /// Forgets the ones of a pool whose life is over.
    pub fn forget_ended(&self, pool_id: &str) {
        self.lock().retain(|worker| worker.spec.pool_id != pool_id || !worker.state().is_over());
    }
}
