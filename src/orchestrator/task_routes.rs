//! A task under way: its stream, its state, its cancelling.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{ApiError, Envelope};
use super::server::Id;
use super::service::Orchestrator;
use super::stream;
use super::task::{Cause, Phase, Priority, Target, Task, rfc_3339};

/// A cancelled task has its ending within this, or the worker's own end closes it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// A task as its route shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskView {
    task_id: Uuid,
    session_id: Uuid,
    state: Phase,
    priority: Priority,
    model_ref: String,
    engine: String,
    /// While it is queued: how many tasks of its priority are before it now.
    #[schema(required)]
    queue_position: Option<usize>,
    /// While it is queued: when it will start, from now.
    #[schema(required)]
    predicted_start_ms: Option<u64>,
    /// Where it runs or ran last.
    #[schema(required)]
    place: Option<Target>,
    /// How often it was placed.
    attempts: u32,
    /// Token events so far.
    tokens: u64,
    #[schema(required)]
    seed: Option<u64>,
    #[schema(format = DateTime)]
    admitted_at: String,
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
    /// The data of its `end` or `error` event.
    ending: Value,
}

fn find(service: &Orchestrator, id: &str) -> Result<Arc<Task>, ApiError> {
    let parsed = Uuid::parse_str(id).ok();
    parsed.and_then(|id| service.tasks.get(id)).ok_or_else(|| ApiError::not_found("task", id))
}

/// How far a task is.
#[utoipa::path(
    get,
    path = "/v2/tasks/{id}",
    params(("id" = Uuid, Path, description = "The task's UUID")),
    responses((status = 200, description = "The task", body = TaskView), (status = 404, description = "No such task", body = Envelope))
)]
pub async fn get(State(service): State<Arc<Orchestrator>>, Id(id): Id) -> Result<Json<TaskView>, ApiError> {
    let task = find(&service, &id)?;
    let progress = task.progress().clone();
    let spec = task.spec();
    let (queue_position, predicted) = if progress.phase == Phase::Queued {
        let state = service.scheduler.state();
        let position = state.position(task.id());
        (position, position.map(|_| state.predict(spec, &task.admitted.model_names, Some(task.id()))))
    } else {
        (None, None)
    };
    let ending = progress.ending.unwrap_or_default();
    Ok(Json(TaskView {
        task_id: spec.task_id,
        session_id: spec.session_id,
        state: progress.phase,
        priority: spec.priority,
        model_ref: spec.model_ref.clone(),
        engine: spec.engine.clone(),
        queue_position,
        predicted_start_ms: predicted,
        place: progress.target,
        attempts: progress.attempts,
        tokens: progress.tokens,
        seed: ending.get("seed").and_then(Value::as_u64).or(spec.seed),
        admitted_at: rfc_3339(task.admitted.admitted_at_ms),
        started_at: progress.started_at_ms.map(rfc_3339),
        ended_at: progress.ended_at_ms.map(rfc_3339),
        ending,
    }))
}

/// The stream of a task, from its beginning or from after `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/v2/tasks/{id}/events",
    params(
        ("id" = Uuid, Path, description = "The task's UUID"),
        ("verbose" = Option<bool>, Query, description = "With narration and the progress of preparation in `metrics`"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client has"),
    ),
    responses(
        (status = 200, description = super::openapi::STREAM, content_type = "text/event-stream", body = String),
        (status = 404, description = "No such task", body = Envelope),
    )
)]
pub async fn events(
    State(service): State<Arc<Orchestrator>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let task = find(&service, &id)?;
    let verbose = verbose(query.as_deref().unwrap_or_default())?;
    let after = last_event_id(&headers)?;
    let budgets = service.sessions.get(task.spec().session_id).map(|session| session.remaining().headers());
    let mut response = stream::response(service, task, after, verbose);
    response.headers_mut().extend(budgets.unwrap_or_default());
    Ok(response)
}

fn verbose(query: &str) -> Result<bool, ApiError> {
    let mut verbose = false;
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=').or(Some((pair, "")))) {
        match (name, value) {
            ("verbose", "true" | "1") => verbose = true,
            ("verbose", "false" | "0") => verbose = false,
            ("verbose", _) => return Err(ApiError::field("verbose", "enum", "expected true or false")),
            _ => {}
        }
    }
    Ok(verbose)
}

/// As the OpenAPI document has `Last-Event-ID`.
pub const EVENT_ID: &str = "^[0-9]{0,18}$";

fn last_event_id(headers: &HeaderMap) -> Result<u64, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let text = value.to_str().unwrap_or("?");
    if text.is_empty() {
        return Ok(0); // as a client that has seen no event sends it
    }
    let digits = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|_| digits);
    id.ok_or_else(|| ApiError::field("Last-Event-ID", "format", "expected the id of an event of this task"))
}

/// Ends a task. Also one that has ended: nothing more happens to it.
#[utoipa::path(
    post,
    path = "/v2/tasks/{id}/cancel",
    params(("id" = Uuid, Path, description = "The task's UUID")),
    responses((status = 204, description = "No token comes any more"), (status = 404, description = "No such task", body = Envelope))
)]
pub async fn cancel(State(service): State<Arc<Orchestrator>>, Id(id): Id) -> Result<StatusCode, ApiError> {
    let task = find(&service, &id)?;
    if !task.log.has_ended() {
        task.stop(Cause::Cancelled);
        // Answered when the ending is in the stream: no token comes after this answer.
        let _ = timeout(CANCEL_PATIENCE, task.log.ended()).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The same as `POST /v2/tasks/{id}/cancel`.
#[utoipa::path(
    delete,
    path = "/v2/tasks/{id}",
    params(("id" = Uuid, Path, description = "The task's UUID")),
    responses((status = 204, description = "No token comes any more"), (status = 404, description = "No such task", body = Envelope))
)]
pub async fn delete(state: State<Arc<Orchestrator>>, id: Id) -> Result<StatusCode, ApiError> {
    cancel(state, id).await
}
