//! `POST /v2/tasks`: a task is held against the catalog, the nodes as they are and the queue, stored, and queued.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{ApiError, Code, Envelope};
use super::event_log::EventLog;
use super::life;
use super::narration::narrate;
use super::placement::Obstacle;
use super::preparation::{self, Step};
use super::queue::Policy;
use super::scheduler::Full;
use super::service::Orchestrator;
use super::store::{Record, StoreError};
use super::task::{Admitted, Task, TaskSpec, now_ms};
use super::task_request::{self, TaskBody, TaskRequest};
use crate::http::body;
use crate::http::correlation::CorrelationId;

/// The task is admitted.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdmissionResponseV2 {
    task_id: Uuid,
    /// How many tasks of its priority are before it.
    queue_position: usize,
    /// When it is expected to start, from how long tasks were measured to take.
    predicted_start_ms: u64,
    /// How long to wait before the next task, so that it is not refused: 0 while the queue has room.
    backoff_ms: u64,
    streams: Streams,
    preparation: Preparation,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Streams {
    sse: String,
    sse_verbose: String,
}

/// What has to be done before the task can run. Empty, where nothing has.
#[derive(Debug, Serialize, ToSchema)]
pub struct Preparation {
    steps: Vec<Step>,
}

/// Admits a task, or says why not.
#[utoipa::path(
    post,
    path = "/v2/tasks",
    request_body(content = TaskBody, content_type = "application/json"),
    responses(
        (status = 202, description = "Admitted: its stream is open", body = AdmissionResponseV2),
        (status = 409, description = "The task id is in use", body = Envelope),
        (status = 429, description = "The queue is full", body = Envelope),
        (status = 503, description = "No pool can take the task", body = Envelope),
    )
)]
pub async fn submit(
    State(service): State<Arc<Orchestrator>>,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
) -> Result<(StatusCode, HeaderMap, Json<AdmissionResponseV2>), ApiError> {
    let (head, body) = request.into_parts();
    let answer = match body::read_json(&head.headers, body).await {
        Ok(bytes) => match task_request::read(&bytes) {
            Ok(request) => admit(&service, correlation.as_str(), request).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error.into()),
    };
    answer.inspect_err(|error| {
        service.metrics.rejected(error.code.word());
        let human = format!("Refuses a task with {}", error.code.word());
        narrate("admission", "queue", correlation.as_str(), &human);
    })
}

async fn admit(
    service: &Arc<Orchestrator>,
    correlation: &str,
    TaskRequest { spec, budgets }: TaskRequest,
) -> Result<(StatusCode, HeaderMap, Json<AdmissionResponseV2>), ApiError> {
    if !service.scheduler.is_dispatching() {
        return Err(ApiError::new(Code::PoolUnavailable, "the orchestrator is shutting down"));
    }
    let task_id = spec.task_id;
    let in_use = || ApiError::new(Code::Conflict, format!("the task id {task_id} is in use"));
    if service.tasks.contains(task_id) {
        return Err(in_use());
    }
    let model_names = service.catalog.names(&spec.model_ref)?;
    check_context(service, &spec, &model_names)?;
    let (mut steps, preparation) = match check_pools(service, &spec, &model_names) {
        Ok(()) => (Vec::new(), None),
        Err(error) if error.code == Code::ModelNotAvailable => match preparation::plan(service, &spec, &model_names) {
            Some((steps, target)) => (steps, Some(target)),
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let (session, is_new) = service.sessions.get_or_create(spec.session_id, budgets);
    let undo_session = || {
        if is_new {
            service.sessions.remove(spec.session_id);
        }
    };
    if !is_new && !budgets.is_empty() && session.budgets() != budgets {
        let message = "a session's budget is set by its first task, and changed by PUT /v2/sessions/{id}";
        let name = if budgets.tokens.is_some() { "tokens_budget" } else { "time_budget_ms" };
        return Err(ApiError::field(name, "session", message));
    }
    if let Err(error) = session.admits(spec.max_tokens) {
        let remaining = session.remaining();
        undo_session();
        return Err(error.engine(&spec.engine).budgets(remaining));
    }
    let make = |queue_position, predicted_start_ms| {
        let admitted = Admitted {
            spec: spec.clone(),
            model_names: model_names.clone(),
            correlation: correlation.to_owned(),
            admitted_at_ms: now_ms(),
            queue_position,
            predicted_start_ms: predicted_start_ms + steps.iter().map(|step| step.estimated_ms).sum::<u64>(),
            preparation: preparation.clone(),
        };
        let task = Arc::new(Task::new(admitted, EventLog::new(service.configuration.event_log)));
        if !service.tasks.insert(task.clone()) {
            return Err(in_use());
        }
        // Told before anybody can place it.
        let human = format!("Admits the task as {} number {queue_position} in the queue", spec.priority.word());
        narrate("admission", &task_id.to_string(), correlation, &human);
        Ok(task)
    };
    let (task, turn) = match service.scheduler.admit(&spec, &model_names, &session, make) {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(error)) => {
            undo_session();
            return Err(error);
        }
        Err(full) => {
            undo_session();
            return Err(queue_full(service, &full).engine(&spec.engine));
        }
    };
    let (done, stored) = oneshot::channel();
    let record = Record::Task(Box::new(task.admitted.clone()));
    service.store.append(&record, Box::new(move |outcome| drop(done.send(outcome))));
    session.task_admitted();
    service.session_changed(&session);
    life::begin(service, task.clone(), session.clone(), turn, false);
    service.scheduler.dispatch();
    if let Err(error) = stored.await.unwrap_or(Err(StoreError::Closed)) {
        task.stop(super::task::Cause::Storage);
        return Err(ApiError::new(Code::Internal, format!("failed to store the task: {error}")));
    }
    service.metrics.enqueued(&spec.engine, spec.priority);
    let position = task.admitted.queue_position;
    let path = format!("/v2/tasks/{task_id}/events");
    let answer = AdmissionResponseV2 {
        task_id,
        queue_position: position,
        predicted_start_ms: task.admitted.predicted_start_ms,
        backoff_ms: service.scheduler.state().backoff_ms(),
        streams: Streams { sse_verbose: format!("{path}?verbose=true"), sse: path },
        preparation: Preparation { steps: std::mem::take(&mut steps) },
    };
    Ok((StatusCode::ACCEPTED, session.remaining().headers(), Json(answer)))
}

fn queue_full(service: &Orchestrator, full: &Full) -> ApiError {
    service.metrics.backpressure(full.policy.word());
    let code = match full.policy {
        Policy::Reject => Code::AdmissionReject,
        Policy::DropLru => Code::QueueFullDropLru, // and no batch task there to drop
    };
    ApiError::new(code, "the queue is full").policy(full.policy.word(), full.retry_after_ms)
}

/// Whether a pool could take the task, now or when it has a slot.
fn check_pools(service: &Orchestrator, spec: &TaskSpec, model_names: &[String]) -> Result<(), ApiError> {
    let Some(obstacle) = service.scheduler.state().obstacle(spec, model_names) else { return Ok(()) };
    let model = &spec.model_ref;
    let pin = spec.placement.pin_pool_id.as_deref().unwrap_or_default();
    let field = "placement.pin_pool_id";
    let (label, error) = match obstacle {
        Obstacle::NoModel => (
            "no_model",
            ApiError::new(
                Code::ModelNotAvailable,
                format!("no node that is online has the model '{model}' for the engine {}", spec.engine),
            ),
        ),
        Obstacle::NoSuchPool => {
            ("no_such_pool", ApiError::field(field, "unknown_pool", format!("no node has a pool '{pin}'")))
        }
        Obstacle::PinWithoutModel => (
            "pin_without_model",
            ApiError::field(field, "model", format!("pool '{pin}' does not serve '{model}' with {}", spec.engine)),
        ),
        Obstacle::PinRuledOut => (
            "pin_ruled_out",
            ApiError::field(field, "contradiction", format!("pool '{pin}' is not as the task requires")),
        ),
        Obstacle::NotReady if pin.is_empty() => {
            ("not_ready", ApiError::new(Code::PoolUnready, format!("no pool that has '{model}' is ready")))
        }
        Obstacle::NotReady => ("not_ready", ApiError::new(Code::PoolUnready, format!("pool '{pin}' is not ready"))),
        Obstacle::RuledOut => (
            "ruled_out",
            ApiError::new(
                Code::PoolUnavailable,
                format!("no pool that has '{model}' is as the task's placement requires"),
            ),
        ),
        Obstacle::NoSlot => return Ok(()),
    };
    service.metrics.not_placed(service.configuration.strategy, label);
    Err(error.engine(&spec.engine))
}

/// The task's context fits the model's, as far as a node or the catalog says how long that is.
fn check_context(service: &Orchestrator, spec: &TaskSpec, model_names: &[String]) -> Result<(), ApiError> {
    let by_nodes = service.scheduler.state().context_length(model_names);
    match by_nodes.or_else(|| service.catalog.context_length(&spec.model_ref)) {
        Some(length) if spec.ctx > length => {
            Err(ApiError::field("ctx", "context", format!("the model's context is {length}, and ctx is {}", spec.ctx)))
        }
        _ => Ok(()),
    }
}

/// Queues what was admitted before a restart and had not started.
pub fn readmit(service: &Arc<Orchestrator>, task: Arc<Task>) {
    let (session, _) = service.sessions.get_or_create(task.spec().session_id, Default::default());
    let turn = service.scheduler.readmit(&task, &session, None, false);
    life::begin(service, task, session, turn, true);
}
