//! Changing what a pool runs, while it is there: preload, drain, reload and purge. One of the last three at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::OwnedMutexGuard;
use tokio::time::sleep_until;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::error::{Code, PoolError, Refusal};
use super::node::Node;
use super::preparation::StepKind;
use super::registry::{Cause, Pool};
use super::routes::Id;
use super::workers::requests::{self, DrainRequest, ReloadRequest, StartRequest, read_optional};
use super::workers::routes::{check, start_worker};
use super::workers::{Order, State as WorkerState, Worker, WorkerSpec};
use crate::worker::error::InvalidRequest;

/// How long a cancelled job may hold on to its slot.
const CANCEL_PATIENCE: Duration = Duration::from_secs(6);
/// How long a worker that was told to stop may take, cancelled jobs included.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// What was asked for is under way; `/pools/{id}/status` says how far it has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnderWay {
    pool_id: String,
    /// `preloading`, `draining`, `reloading`, `purging`.
    status: &'static str,
    /// Workers that start for it.
    workers: Vec<String>,
}

type Accepted = (StatusCode, Json<UnderWay>);

fn under_way(pool: &Pool, status: &'static str, workers: Vec<String>) -> Accepted {
    (StatusCode::ACCEPTED, Json(UnderWay { pool_id: pool.id.clone(), status, workers }))
}

fn begin(pool: &Pool) -> Result<OwnedMutexGuard<()>, PoolError> {
    pool.rebuilding.clone().try_lock_owned().map_err(|_| {
        PoolError::refused(Code::Conflict, format!("pool {} is being drained, reloaded or purged already", pool.id))
    })
}

/// Starts what the pool is to serve: the model that is named, or the workers that the configuration gives to this pool.
/// What runs already is left as it is.
#[utoipa::path(
    post,
    path = "/pools/{id}/preload",
    params(("id" = String, Path)),
    request_body(content = Option<StartRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "Under way", body = UnderWay),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool; or the model is not here, and may not be fetched", body = Refusal),
        (status = 409, description = "No model is named, and the configuration gives this pool no worker; or another pool is", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn preload(State(node): State<Arc<Node>>, Id(id): Id, request: Request) -> Result<Accepted, PoolError> {
    let pool = node.registry.pool(&id)?.clone();
    let (head, body) = request.into_parts();
    let asked: StartRequest = read_optional(&head.headers, body).await?;
    if asked.pool_id.as_ref().is_some_and(|named| *named != id) {
        return Err(PoolError::refused(Code::Conflict, "the body names another pool than the route".to_owned()));
    }
    let mut specs = Vec::new();
    if asked.model_ref.is_some() || asked.backend.is_some() {
        specs.push(check(&node, StartRequest { pool_id: Some(id.clone()), ..asked }).await?);
    } else {
        specs.extend(configured(&node, &id).await?);
    }
    if specs.is_empty() {
        let message = "the request names no model, and the configuration gives this pool no worker".to_owned();
        return Err(PoolError::refused(Code::Conflict, message));
    }
    let mut started = Vec::new();
    for spec in specs {
        let runs = node.workers.of_pool(&id).into_iter().find(|worker| worker.spec == spec);
        let worker = match runs {
            Some(worker) => worker,
            None => start_worker(&node, spec)?,
        };
        started.push(worker.id.clone());
    }
    Ok(under_way(&pool, "preloading", started))
}

async fn configured(node: &Node, pool_id: &str) -> Result<Vec<WorkerSpec>, PoolError> {
    let first = node.configuration.pools.first();
    let mut specs = Vec::new();
    for settings in &node.configuration.workers {
        if settings.pool_id.as_ref().or(first).is_some_and(|own| own == pool_id) {
            specs.push(check(node, settings.clone().into()).await?);
        }
    }
    Ok(specs)
}

/// No new job from here on; running ones may end, up to the deadline. The pool stays so until it is reloaded.
#[utoipa::path(
    post,
    path = "/pools/{id}/drain",
    params(("id" = String, Path)),
    request_body(content = Option<DrainRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "Under way", body = UnderWay),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool", body = Refusal),
        (status = 409, description = "The pool is being drained, reloaded or purged already", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn drain(State(node): State<Arc<Node>>, Id(id): Id, request: Request) -> Result<Accepted, PoolError> {
    let pool = node.registry.pool(&id)?.clone();
    let (head, body) = request.into_parts();
    let asked: DrainRequest = read_optional(&head.headers, body).await?;
    let deadline = requests::deadline(asked.deadline_ms, &node);
    let guard = begin(&pool)?;
    pool.set_draining(true);
    node.registry.changed.notify_one();
    narrate(&pool, "pool_drain", "A pool takes no new job");
    let drained = pool.clone();
    tokio::spawn(async move {
        let _guard = guard;
        empty(&drained, deadline).await;
        narrate(&drained, "pool_drained", "A pool has no job any more");
    });
    Ok(under_way(&pool, "draining", Vec::new()))
}

/// Waits until no job runs; at the deadline, those that do are cancelled.
async fn empty(pool: &Arc<Pool>, deadline: Instant) {
    let idle = async {
        for replica in pool.replicas() {
            replica.idle().await;
        }
    };
    tokio::pin!(idle);
    tokio::select! {
        () = &mut idle => return,
        () = sleep_until(deadline.into()) => pool.stop_jobs(None, Cause::Draining),
    }
    let _ = tokio::time::timeout(CANCEL_PATIENCE, idle).await;
}

/// Drains the pool, stops its workers and starts them again, on another model where one is named. What fails on the way
/// is rolled back: the pool then serves what it served before, and its status says what went wrong.
#[utoipa::path(
    post,
    path = "/pools/{id}/reload",
    params(("id" = String, Path)),
    request_body(content = Option<ReloadRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "Under way", body = UnderWay),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool; or the model is not here, and may not be fetched", body = Refusal),
        (status = 409, description = "Nothing here that this node could start again, or another change runs", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn reload(State(node): State<Arc<Node>>, Id(id): Id, request: Request) -> Result<Accepted, PoolError> {
    let pool = node.registry.pool(&id)?.clone();
    let (head, body) = request.into_parts();
    let asked: ReloadRequest = read_optional(&head.headers, body).await?;
    let deadline = requests::deadline(asked.deadline_ms, &node);
    let before: Vec<Arc<Worker>> = node.workers.of_pool(&id);
    let mut after = Vec::new();
    let specs: Vec<WorkerSpec> = if before.is_empty() {
        configured(&node, &id).await?
    } else {
        before.iter().map(|worker| worker.spec.clone()).collect()
    };
    for spec in &specs {
        let request = StartRequest {
            model_ref: asked.model_ref.clone().or_else(|| Some(spec.model_ref.clone())),
            backend: asked.backend.clone().or_else(|| Some(spec.backend.clone())),
            gpu_id: asked.gpu_id.or(spec.gpu_id),
            pool_id: Some(id.clone()),
            supervise: Some(spec.supervise),
        };
        after.push(check(&node, request).await?);
    }
    if after.is_empty() {
        let message = format!("pool {id} has no worker that this node started");
        return Err(PoolError::refused(Code::Conflict, message));
    }
    let guard = begin(&pool)?;
    pool.set_draining(true);
    node.registry.changed.notify_one();
    narrate(&pool, "pool_reload", "A pool is reloaded");
    let (reloading, reloaded) = (pool.clone(), node.clone());
    tokio::spawn(async move {
        let _guard = guard;
        carry_out(&reloaded, &reloading, before, after, deadline).await;
        reloading.set_draining(false);
        reloaded.registry.changed.notify_one();
    });
    Ok(under_way(&pool, "reloading", Vec::new()))
}

/// drain → stage → stop → start → health → ready; and back, where that does not come to its end.
async fn carry_out(
    node: &Arc<Node>,
    pool: &Arc<Pool>,
    before: Vec<Arc<Worker>>,
    after: Vec<WorkerSpec>,
    deadline: Instant,
) {
    let step = pool.preparation.begin(StepKind::PoolWarmup, "reload", format!("Reload pool {}", pool.id));
    step.phase("drain", "Waiting for running jobs");
    empty(pool, deadline).await;
    step.phase("stage", "Bringing the model");
    for spec in &after {
        if let Err(reason) = super::models::bring(node, &pool.id, &spec.model).await {
            let reason = format!("reload failed, nothing was stopped: {reason}");
            pool.set_error(reason.clone());
            return step.fail(reason);
        }
    }
    step.phase("stop", "Stopping workers");
    for worker in &before {
        stop_and_wait(worker).await;
    }
    step.phase("start", "Starting workers");
    let Err(reason) = start_all(node, after).await else {
        narrate(pool, "pool_reloaded", "A pool serves again");
        return step.complete();
    };
    warn!(
        actor = "pool-managerd",
        action = "pool_roll_back",
        target = pool.id,
        reason,
        human = "A reload is rolled back"
    );
    step.phase("roll_back", "Starting what ran before");
    let back = start_all(node, before.iter().map(|worker| worker.spec.clone()).collect()).await;
    let message = match back {
        Ok(()) => format!("reload failed and was rolled back: {reason}"),
        Err(worse) => format!("reload failed: {reason}; and what ran before does not start: {worse}"),
    };
    pool.set_error(message.clone());
    step.fail(message);
}

async fn stop_and_wait(worker: &Worker) {
    worker.order(Order::Stop);
    let over = worker.until(|life| life.state.is_over().then_some(()));
    let _ = tokio::time::timeout(STOP_PATIENCE, over).await;
}

/// Starts workers and waits until each is ready; if one is not, the others are stopped again.
async fn start_all(node: &Arc<Node>, specs: Vec<WorkerSpec>) -> Result<(), String> {
    let mut started = Vec::new();
    let mut outcome = Ok(());
    for spec in specs {
        match start_worker(node, spec) {
            Ok(worker) => started.push(worker),
            Err(error) => outcome = outcome.and(Err(error.to_string())),
        }
    }
    for worker in &started {
        let ready = worker.until(|life| match life.state {
            WorkerState::Ready | WorkerState::Busy => Some(Ok(())),
            WorkerState::Starting => None,
            _ => Some(Err(life.error.clone().unwrap_or_else(|| "it ended".to_owned()))),
        });
        outcome = outcome.and(ready.await);
    }
    if outcome.is_err() {
        for worker in &started {
            stop_and_wait(worker).await;
        }
    }
    outcome
}

/// Ends everything that the pool runs, now: jobs are cancelled, workers stopped, ended ones forgotten.
#[utoipa::path(
    post,
    path = "/pools/{id}/purge",
    params(("id" = String, Path)),
    responses(
        (status = 202, description = "Under way", body = UnderWay),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool", body = Refusal),
        (status = 409, description = "The pool is being drained, reloaded or purged already", body = Refusal),
    )
)]
pub async fn purge(State(node): State<Arc<Node>>, Id(id): Id) -> Result<Accepted, PoolError> {
    let pool = node.registry.pool(&id)?.clone();
    let guard = begin(&pool)?;
    pool.stop_jobs(None, Cause::Draining);
    let workers = node.workers.of_pool(&id);
    for worker in &workers {
        worker.order(Order::Stop);
    }
    narrate(&pool, "pool_purge", "A pool is emptied");
    let purged = pool.clone();
    tokio::spawn(async move {
        let _guard = guard;
        for worker in &workers {
            stop_and_wait(worker).await;
        }
        node.workers.forget_ended(&purged.id);
        node.registry.changed.notify_one();
    });
    Ok(under_way(&pool, "purging", Vec::new()))
}

fn narrate(pool: &Pool, action: &str, human: &str) {
    info!(actor = "pool-managerd", action, target = pool.id, human, "{human}");
}
