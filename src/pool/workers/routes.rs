//! `POST /v2/workers/start`, and the routes of one worker.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::engine::BACKEND as ENGINE;
use super::requests::{self, DrainRequest, StartRequest};
use super::{Order, State, Worker, WorkerSpec, WorkerView, spawn};
use crate::pool::configuration::WorkerSettings;
use crate::pool::error::{Code, PoolError, Refusal};
use crate::pool::models;
use crate::pool::node::Node;
use crate::pool::routes::Id;
use crate::worker::error::{ApiError, InvalidRequest};

/// A worker, and what is being done with it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkerStarted)]
pub struct Started {
    pub worker_id: String,
    pub status: State,
}

pub fn refuse_field(field: &str, constraint: &str, message: impl Into<String>) -> PoolError {
    ApiError::Invalid(vec![crate::http::fields::FieldError::new(field, constraint, message)]).into()
}

/// From what was asked for to a checked spec: the pool is ours, the backend has a program, the model is here or may come.
pub async fn check(node: &Node, asked: StartRequest) -> Result<WorkerSpec, PoolError> {
    let pool_id = asked.pool_id.unwrap_or_else(|| node.configuration.pools.first().cloned().unwrap_or_default());
    node.registry.pool(&pool_id)?;
    let backend = asked.backend.unwrap_or_else(|| node.configuration.backend.clone());
    if backend != ENGINE {
        let program = spawn::program(&backend, &node.configuration.programs, &node.program);
        program.map_err(|refusal| refuse_field("backend", "enum", refusal))?;
    }
    let model_ref = match asked.model_ref {
        Some(model_ref) => model_ref,
        None if backend == "stub" => "stub".to_owned(),
        None => return Err(refuse_field("model_ref", "required", "model_ref is missing")),
    };
    let model = models::locate(node, &pool_id, &model_ref, &backend).await?;
    Ok(WorkerSpec {
        pool_id,
        model_ref,
        model,
        backend,
        gpu_id: asked.gpu_id,
        supervise: asked.supervise.unwrap_or(false),
    })
}

impl From<WorkerSettings> for StartRequest {
    fn from(settings: WorkerSettings) -> Self {
        Self {
            model_ref: Some(settings.model_ref),
            backend: Some(settings.backend),
            gpu_id: settings.gpu_id,
            pool_id: settings.pool_id,
            supervise: Some(settings.supervise),
        }
    }
}

/// Lets a worker of this spec live, under an id of its own.
pub fn start_worker(node: &Arc<Node>, spec: WorkerSpec) -> Result<Arc<Worker>, PoolError> {
    let id = uuid::Uuid::new_v4().to_string();
    let log = log_folder(node).map_err(|error| PoolError::refused(Code::Internal, error))?.join(format!("{id}.log"));
    Ok(node.start(Worker::new(id, spec, log)))
}

pub fn log_folder(node: &Node) -> Result<PathBuf, String> {
    let folder = node.configuration.runtime_dir.join("logs");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{} can't be made: {error}", folder.display()))?;
    Ok(folder)
}

/// Starts a worker. The answer does not wait for it to be ready.
#[utoipa::path(
    post,
    path = "/v2/workers/start",
    request_body(content = StartRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "It starts", body = Started),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool; or the model is not here, and may not be fetched", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
        (status = 500, description = "This node failed", body = Refusal),
    )
)]
pub async fn start(Shared(node): Shared<Arc<Node>>, request: Request) -> Result<Json<Started>, PoolError> {
    let (head, body) = request.into_parts();
    let spec = check(&node, requests::read(&head.headers, body).await?).await?;
    let worker = start_worker(&node, spec)?;
    Ok(Json(Started { worker_id: worker.id.clone(), status: State::Starting }))
}

fn find(node: &Node, id: &str) -> Result<Arc<Worker>, PoolError> {
    node.workers.find(id).ok_or_else(|| PoolError::refused(Code::NotFound, "this node has no such worker".to_owned()))
}

/// A worker as it stands; one that has ended is remembered for a while.
#[utoipa::path(
    get,
    path = "/v2/workers/{id}",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The worker", body = WorkerView),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such worker", body = Refusal),
    )
)]
pub async fn get(Shared(node): Shared<Arc<Node>>, Id(id): Id) -> Result<Json<WorkerView>, PoolError> {
    Ok(Json(WorkerView::of(find(&node, &id)?.as_ref())))
}

/// Ends a worker; its running job is cancelled. Also one that has ended: the answer is the same.
#[utoipa::path(
    post,
    path = "/v2/workers/{id}/stop",
    params(("id" = String, Path)),
    responses(
        (status = 202, description = "It ends, if it has not", body = Started),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such worker", body = Refusal),
    )
)]
pub async fn stop(Shared(node): Shared<Arc<Node>>, Id(id): Id) -> Result<(StatusCode, Json<Started>), PoolError> {
    ordered(find(&node, &id)?.as_ref(), Order::Stop)
}

/// Ends a worker once its running job has ended, or at the deadline. No new job from here on.
#[utoipa::path(
    post,
    path = "/v2/workers/{id}/drain",
    params(("id" = String, Path)),
    request_body(content = Option<DrainRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "It drains, then ends", body = Started),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such worker", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn drain(
    Shared(node): Shared<Arc<Node>>,
    Id(id): Id,
    request: Request,
) -> Result<(StatusCode, Json<Started>), PoolError> {
    let worker = find(&node, &id)?;
    let (head, body) = request.into_parts();
    let asked: DrainRequest = requests::read_optional(&head.headers, body).await?;
    ordered(&worker, Order::Drain(requests::deadline(asked.deadline_ms, &node)))
}

fn ordered(worker: &Worker, order: Order) -> Result<(StatusCode, Json<Started>), PoolError> {
    if let (Some(replica), false) = (&worker.life.borrow().replica, order == Order::Run) {
        replica.drain(); // from this answer on, not from when the worker's task gets its turn
    }
    worker.order(order);
    let status = if worker.state().is_over() { worker.state() } else { State::Draining };
    Ok((StatusCode::ACCEPTED, Json(Started { worker_id: worker.id.clone(), status })))
}
