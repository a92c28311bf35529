//! A worker's life: starting, ready, draining, gone; failed from anywhere, and started again where it is supervised.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::supervision::{Supervision, chance};
use super::{Life, Order, State, Worker, engine, spawn};
use crate::pool::children::{Child, Exit};
use crate::pool::engine::server;
use crate::pool::models;
use crate::pool::node::Node;
use crate::pool::preparation::StepKind;
use crate::pool::registry::{Cause, Parts, Replica, Upstream};

/// Between TERM and KILL for one that should not have a job any more.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long a cancelled job may take to let go of its slot.
const CANCEL_PATIENCE: Duration = Duration::from_secs(6);
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);
const MISSES: u32 = 3;

/// How one start ended.
enum Ended {
    /// Because it was told to.
    Stopped,
    /// By itself, with exit code 0.
    Finished,
    Failed(String),
}

/// Runs a worker until it is over.
pub async fn live(node: Arc<Node>, worker: Arc<Worker>) {
    let mut supervision = Supervision::default();
    loop {
        let (ended, ready_for) = run_once(&node, &worker).await;
        clean(&node, &worker);
        let message = match ended {
            Ended::Stopped | Ended::Finished => return over(&node, &worker, State::Gone, None),
            Ended::Failed(message) => message,
        };
        let again = worker.spec.supervise && worker.current_order() == Order::Run;
        over(&node, &worker, State::Failed, Some(&message));
        if !again {
            return;
        }
        let Some(wait) = supervision.failed(ready_for, chance()) else {
            worker.life.send_modify(|life| life.circuit_open = true);
            return narrate(&worker, "circuit_open", "A worker failed too often and is not started again");
        };
        let mut orders = worker.orders();
        tokio::select! {
            () = sleep(wait) => {}
            _ = told(&mut orders) => return,
        }
    }
}

/// One start, to its end; and how long it was ready.
async fn run_once(node: &Arc<Node>, worker: &Arc<Worker>) -> (Ended, Duration) {
    let started = begin(node, worker).await;
    let (process, replica) = match started {
        Ok(started) => started,
        Err(ended) => return (ended, Duration::ZERO),
    };
    let ready_since = Instant::now();
    let ended = serve(node, worker, process.child(), &replica).await;
    (ended, ready_since.elapsed())
}

/// What runs for a worker. An engine leaves traces on disk, which go when it does.
enum Process {
    Worker(Child),
    Engine(Box<server::Running>),
}

impl Process {
    fn child(&self) -> &Child {
        match self {
            Process::Worker(child) => child,
            Process::Engine(running) => &running.child,
        }
    }
}

async fn begin_engine(node: &Arc<Node>, worker: &Arc<Worker>) -> Result<(Process, Arc<Replica>), Ended> {
    let mut orders = worker.orders();
    tokio::select! {
        started = engine::begin(node, worker) => match started {
            Ok((running, replica)) => Ok((Process::Engine(Box::new(running)), replica)),
            Err(reason) => Err(Ended::Failed(reason)),
        },
        // Dropping the start takes back what it had begun.
        _ = told(&mut orders) => Err(Ended::Stopped),
    }
}

/// From the model to ready.
async fn begin(node: &Arc<Node>, worker: &Arc<Worker>) -> Result<(Process, Arc<Replica>), Ended> {
    worker.life.send_modify(|life| {
        life.state = State::Starting;
        life.uri = None;
        life.replica = None;
        life.starts += 1;
        life.spawn_token = token();
        life.access_token = (!node.configuration.access.is_empty()).then(token);
    });
    let mut orders = worker.orders();
    let path = tokio::select! {
        path = models::bring(node, &worker.spec.pool_id, &worker.spec.model) => path.map_err(Ended::Failed)?,
        _ = told(&mut orders) => return Err(Ended::Stopped),
    };
    worker.life.send_modify(|life| life.model_path = path);
    if worker.spec.backend == engine::BACKEND {
        return begin_engine(node, worker).await;
    }
    let pool = node.registry.find(&worker.spec.pool_id);
    let pool = pool.ok_or_else(|| Ended::Failed("this node has no such pool".to_owned()))?;
    let human = format!("Load {} into pool {}", worker.spec.model_ref, pool.id);
    let step = pool.preparation.begin(StepKind::PoolWarmup, "worker", human);
    let begun = begin_worker(node, worker, &mut orders).await;
    match &begun {
        Ok(_) => step.complete(),
        Err(Ended::Failed(reason)) => step.fail(reason),
        Err(Ended::Stopped | Ended::Finished) => step.fail("The worker was stopped before it was ready"),
    }
    begun
}

/// A worker's process, from the spawn to its own word that it is ready.
async fn begin_worker(
    node: &Arc<Node>,
    worker: &Arc<Worker>,
    orders: &mut watch::Receiver<Order>,
) -> Result<(Process, Arc<Replica>), Ended> {
    let program = spawn::program(&worker.spec.backend, &node.configuration.programs, &node.program);
    let program = program.map_err(Ended::Failed)?;
    let command = spawn::command(&program, worker, &worker.life.borrow(), &node.callback_url());
    let deadline = Instant::now() + node.configuration.ready_deadline;
    let child = Child::spawn(command)
        .map_err(|error| Ended::Failed(format!("{} can't be started: {error}", program.path.display())))?;
    worker.life.send_modify(|life| life.pid = Some(child.id()));
    narrate(worker, "worker_start", "A worker starts");
    tokio::select! {
        life = worker.until(|life| (life.state != State::Starting).then(|| life.clone())) => {
            if let (State::Ready, Some(uri)) = (life.state, &life.uri) {
                let replica = enlist(node, worker, &life, uri);
                return Ok((Process::Worker(child), replica));
            }
            let said = life.error.unwrap_or_else(|| "it said that it failed".to_owned());
            child.stop(STOP_PATIENCE).await;
            Err(Ended::Failed(said))
        }
        exit = child.ended() => Err(crashed(worker, exit)),
        () = sleep_until(deadline.into()) => {
            child.signal(Signal::SIGKILL);
            let exit = child.ended().await;
            worker.life.send_modify(|life| life.last_exit = Some(exit));
            Err(Ended::Failed(format!("it was not ready within {} ms", node.configuration.ready_deadline.as_millis())))
        }
        _ = told(orders) => {
            let exit = child.stop(STOP_PATIENCE).await;
            worker.life.send_modify(|life| life.last_exit = Some(exit));
            Err(Ended::Stopped)
        }
    }
}

/// Puts a ready worker where jobs can reach it.
fn enlist(node: &Node, worker: &Worker, life: &Life, uri: &Url) -> Arc<Replica> {
    let mut models = vec![worker.spec.model_ref.clone()];
    if let Some(path) = &life.model_path {
        models.push(format!("file:{}", path.display()));
        models.dedup();
    }
    let parts = Parts {
        id: worker.id.clone(),
        pool_id: worker.spec.pool_id.clone(),
        upstream: Upstream::Worker { uri: uri.clone(), token: life.access_token.clone() },
        engine: "llorch".to_owned(),
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        models,
        context_length: life.context_length,
        device_mask: worker.spec.gpu_id.map(|gpu| gpu.to_string()),
        pid: life.pid,
        slots_total: 1, // one job runs; the worker itself holds a short queue
    };
    let replica = Arc::new(Replica::new(parts, true));
    publish(node, worker, &replica);
    replica
}

/// Makes a replica known.
pub fn publish(node: &Node, worker: &Worker, replica: &Arc<Replica>) {
    if let Some(pool) = node.registry.find(&worker.spec.pool_id) {
        pool.add(replica.clone());
    }
    worker.life.send_modify(|life| {
        life.state = State::Ready;
        life.error = None;
        life.replica = Some(replica.clone());
    });
    narrate(worker, "worker_ready", "A worker is ready");
    node.registry.changed.notify_one();
}

/// While it is ready: jobs come and go; watched are its process, its health, and what is wanted of it.
async fn serve(node: &Arc<Node>, worker: &Arc<Worker>, child: &Child, replica: &Arc<Replica>) -> Ended {
    let mut orders = worker.orders();
    let mut misses = 0;
    loop {
        let order = tokio::select! {
            exit = child.ended() => return crashed(worker, exit),
            order = told(&mut orders) => order,
            () = sleep(node.configuration.health_interval) => {
                misses = if is_healthy(node, replica).await { 0 } else { misses + 1 };
                if misses == 0 {
                    continue;
                }
                warn!(actor = "pool-managerd", action = "health_miss", target = worker.id, misses, "A worker did not answer");
                if misses < MISSES {
                    continue;
                }
                child.signal(Signal::SIGKILL);
                let exit = child.ended().await;
                worker.life.send_modify(|life| life.last_exit = Some(exit));
                return Ended::Failed(format!("{MISSES} health checks in a row had no answer"));
            }
        };
        worker.life.send_modify(|life| life.state = State::Draining);
        replica.drain();
        node.registry.changed.notify_one();
        return match end(node, worker, order, child, replica).await {
            Some(exit) => crashed(worker, exit),
            None => Ended::Stopped,
        };
    }
}

async fn is_healthy(node: &Node, replica: &Replica) -> bool {
    match &replica.upstream {
        Upstream::Worker { uri, .. } => {
            let Ok(url) = uri.join("health") else { return false };
            let answer = node.client.get(url).timeout(HEALTH_PATIENCE).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        }
        Upstream::LlamaCpp(engine) => {
            timeout(HEALTH_PATIENCE, engine.health()).await.is_ok_and(|health| health.is_ok())
        }
    }
}

/// A drain lets the running jobs end, up to its deadline; then, as with a stop, they are cancelled. Gives how the process
/// ended if it did so by itself meanwhile.
async fn end(node: &Node, worker: &Worker, order: Order, child: &Child, replica: &Arc<Replica>) -> Option<Exit> {
    let mut orders = worker.orders();
    if let Order::Drain(deadline) = order {
        tokio::select! {
            () = replica.idle() => {}
            () = sleep_until(deadline.into()) => {}
            () = told_to_stop(&mut orders) => {}
            exit = child.ended() => return Some(exit),
        }
    }
    // Cancelled, not cut off: each stream gets its last frame.
    if let Some(pool) = node.registry.find(&replica.pool_id) {
        pool.stop_jobs(Some(replica), Cause::Draining);
    }
    let _ = timeout(CANCEL_PATIENCE, replica.idle()).await;
    let exit = child.stop(STOP_PATIENCE).await;
    worker.life.send_modify(|life| life.last_exit = Some(exit));
    None
}

fn crashed(worker: &Worker, exit: Exit) -> Ended {
    worker.life.send_modify(|life| life.last_exit = Some(exit));
    if exit == Exit::ExitCode(0) { Ended::Finished } else { Ended::Failed(format!("the process ended: {exit}")) }
}

/// Resolves when it is to end, one way or the other.
async fn told(orders: &mut watch::Receiver<Order>) -> Order {
    orders.wait_for(|order| *order != Order::Run).await.map_or(Order::Stop, |order| *order)
}

async fn told_to_stop(orders: &mut watch::Receiver<Order>) {
    let _ = orders.wait_for(|order| *order == Order::Stop).await; // the sender is the worker's, which is here
}

/// Takes everything back that a start had put anywhere.
fn clean(node: &Node, worker: &Worker) {
    let replica = worker.life.borrow().replica.clone();
    if let Some(replica) = replica {
        replica.set_ready(false);
        if let Some(pool) = node.registry.find(&replica.pool_id) {
            pool.remove(&replica);
        }
    }
}

fn over(node: &Node, worker: &Worker, state: State, error: Option<&str>) {
    worker.life.send_modify(|life| {
        life.state = state;
        life.pid = None;
        life.uri = None;
        life.replica = None;
        life.error = error.map(str::to_owned);
    });
    if let Some(error) = error {
        let exit = worker.life.borrow().last_exit.map(|exit| exit.to_string());
        warn!(
            actor = "pool-managerd",
            action = "worker_failed",
            target = worker.id,
            exit,
            reason = error,
            human = "A worker failed",
            "A worker failed"
        );
        node.report_failure(worker, error);
    } else {
        narrate(worker, "worker_gone", "A worker has ended");
    }
    node.registry.changed.notify_one();
}

pub fn narrate(worker: &Worker, action: &str, human: &str) {
    info!(actor = "pool-managerd", action, target = worker.id, pool_id = worker.spec.pool_id, human, "{human}");
}

/// 244 random bits.
pub fn token() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
