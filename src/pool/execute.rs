//! `POST /pools/{id}/execute` and `/cancel`: the worker contract at the node's address.
//!
//! A request is given to a replica of the pool. A worker speaks the contract itself, so what it says is relayed; an engine
//! is spoken to through its adapter. Either way one task owns the job, the slot's lease and the way to the upstream, and
//! hands frames to the client's connection through a short channel: a slow client holds up its own job and nobody
//! else's memory, and a client that goes away is noticed at once, because the channel closes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, StreamExt as _};
use tracing::{info, warn};
use utoipa::ToSchema;

use super::error::{PoolError, Refusal};
use super::metrics::Outcome;
use super::node::Node;
use super::registry::{Cause, Lease, Pool, Upstream};
use super::routes::Id;
use super::{relay, translate};
use crate::http::body;
use crate::http::correlation::CorrelationId;
use crate::worker::error::{ApiError, InvalidRequest};
use crate::worker::openapi::{CancelRequest, ExecuteRequest, STREAM};
use crate::worker::validate;

/// Frames between a job's task and the client's connection.
const FRAMES: usize = 16;
/// A comment keeps connections open that somebody in between would close for silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client may take over a frame of a job that was stopped: the contract's hard limit.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What every job carries along, whoever runs it.
pub struct Errand {
    pub node: Arc<Node>,
    pub pool: Arc<Pool>,
    pub lease: Lease,
    pub correlation: CorrelationId,
}

impl Errand {
    /// The last word on a job, in the log and the metrics.
    pub fn ended(&self, outcome: Outcome, tokens_out: u64) {
        self.node.metrics.ended(&self.pool.id, outcome);
        self.node.metrics.tokens_out.with_label_values(&[self.pool.id.as_str()]).inc_by(tokens_out);
        info!(
            actor = "pool-managerd",
            action = "execute_end",
            target = self.lease.replica.id,
            pool_id = self.pool.id,
            job_id = self.lease.job_id,
            correlation_id = self.correlation.as_str(),
            outcome = outcome.word(),
            tokens_out,
            human = "A job has ended",
            "A job has ended"
        );
    }
}

/// What of a request decides where it goes. A body that can't be read is for the worker to refuse, with all its reasons.
#[derive(Default)]
struct Addressed {
    job_id: Option<String>,
    model_ref: Option<String>,
}

impl Addressed {
    fn read(body: &[u8]) -> Self {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return Self::default() };
        let mut text = |field: &str| match fields.remove(field) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Self { job_id: text("job_id").filter(|id| validate::is_job_id(id)), model_ref: text("model_ref") }
    }
}

/// Runs one job on a replica of the pool and streams what it computes. `model_ref` in the body, if it is there, chooses
/// among replicas of different models.
#[utoipa::path(
    post,
    path = "/pools/{id}/execute",
    params(("id" = String, Path)),
    request_body(content = ExecuteRequest, content_type = "application/json"),
    responses(
        (status = 200, description = STREAM, content_type = "text/event-stream", body = String),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool", body = Refusal),
        (status = 409, description = "A job of this id waits or runs", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
        (status = 499, description = "Cancelled before it started", body = Refusal),
        (status = 500, description = "The worker failed", body = Refusal),
        (status = 503, description = "Busy, draining, not ready, or the worker went away; see Retry-After", body = Refusal),
    )
)]
pub async fn execute(
    State(node): State<Arc<Node>>,
    Id(id): Id,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
) -> Result<Response, PoolError> {
    let answer = dispatch(&node, &id, &correlation, request).await;
    if let Err(error) = &answer {
        if let Some(pool) = node.registry.find(&id) {
            node.metrics.ended(&pool.id, Outcome::Refused);
        }
        warn!(
            actor = "pool-managerd",
            action = "execute_refused",
            target = id,
            correlation_id = correlation.as_str(),
            code = error.code(),
            human = "A job was refused",
            "A job was refused"
        );
    }
    answer
}

async fn dispatch(
    node: &Arc<Node>,
    id: &str,
    correlation: &CorrelationId,
    request: Request,
) -> Result<Response, PoolError> {
    let pool = node.registry.pool(id)?.clone();
    let (head, body) = request.into_parts();
    let body = body::read_json(&head.headers, body).await.map_err(ApiError::from)?;
    let addressed = Addressed::read(&body);
    let lease = pool.admit(addressed.job_id.as_deref(), addressed.model_ref.as_deref())?;
    info!(
        actor = "pool-managerd",
        action = "execute_start",
        target = lease.replica.id,
        pool_id = pool.id,
        job_id = lease.job_id,
        correlation_id = correlation.as_str(),
        human = "A job goes to a replica",
        "A job goes to a replica"
    );
    let upstream = lease.replica.upstream.clone();
    let errand = Errand { node: node.clone(), pool, lease, correlation: correlation.clone() };
    match upstream {
        Upstream::Worker { uri, token } => relay::execute(errand, &uri, token, body).await,
        Upstream::LlamaCpp(engine) => translate::execute(errand, engine, &body).await,
    }
}

/// The other end of a job's task: what the client reads.
pub fn streaming() -> (Frames, Response) {
    let (sender, receiver) = mpsc::channel(FRAMES);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"), // nginx would collect the frames
    ];
    (Frames { sender }, (headers, Body::from_stream(kept_alive(receiver))).into_response())
}

fn kept_alive(frames: mpsc::Receiver<String>) -> impl Stream<Item = Result<String, Infallible>> {
    let frames = tokio_stream::wrappers::ReceiverStream::new(frames)
        .timeout_repeating(tokio::time::interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE));
    frames.map(|frame| Ok(frame.unwrap_or_else(|_| ": keep-alive\n\n".to_owned())))
}

/// Frames on their way to a client.
pub struct Frames {
    sender: mpsc::Sender<String>,
}

/// The client has gone.
#[derive(Debug)]
pub struct Gone;

impl Frames {
    /// As `send_while`, of a value. These hold strings and numbers only, which JSON can always spell.
    pub async fn send_json(
        &self,
        stop: &watch::Receiver<Option<Cause>>,
        name: &str,
        data: &impl Serialize,
    ) -> Result<(), Gone> {
        self.send_while(stop, name, &serde_json::to_string(data).unwrap_or_default()).await
    }

    /// Hands a frame on, and waits for a client that reads slowly: not for ever once its job is to stop.
    pub async fn send_while(&self, stop: &watch::Receiver<Option<Cause>>, name: &str, data: &str) -> Result<(), Gone> {
        let frame = match self.sender.try_send(frame(name, data)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Gone),
            Err(TrySendError::Full(frame)) => frame,
        };
        let mut stop = stop.clone();
        let late = async {
            stopped(&mut stop).await;
            tokio::time::sleep(STOP_PATIENCE).await;
        };
        tokio::select! {
            sent = self.sender.send(frame) => sent.map_err(|_| Gone),
            () = late => Err(Gone),
        }
    }

    /// Resolves when the client goes away.
    pub async fn gone(&self) {
        self.sender.closed().await;
    }
}

/// One frame. A line break in the data begins another `data` line, as the format has it.
fn frame(name: &str, data: &str) -> String {
    let mut frame = format!("event: {name}\n");
    for line in data.split('\n') {
        frame.push_str("data: ");
        frame.push_str(line);
        frame.push('\n');
    }
    frame.push('\n');
    frame
}

/// Resolves when somebody stops the job.
pub async fn stopped(stop: &mut watch::Receiver<Option<Cause>>) -> Cause {
    match stop.wait_for(Option::is_some).await.map(|cause| *cause) {
        Ok(Some(cause)) => cause,
        // A job without an id can't be stopped by anybody but its client.
        _ => std::future::pending().await,
    }
}

/// What was asked for is under way, or was done already.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cancelling {
    status: &'static str,
}

/// Stops a job. Also for an id that is unknown or over: the answer is the same.
#[utoipa::path(
    post,
    path = "/pools/{id}/cancel",
    params(("id" = String, Path)),
    request_body(content = CancelRequest, content_type = "application/json"),
    responses(
        (status = 202, description = "The job ends, if it has not", body = Cancelling),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn cancel(
    State(node): State<Arc<Node>>,
    Id(id): Id,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
) -> Result<(StatusCode, Json<Cancelling>), PoolError> {
    let pool = node.registry.pool(&id)?;
    let (head, body) = request.into_parts();
    let body = body::read_json(&head.headers, body).await.map_err(ApiError::from)?;
    let job_id = validate::job_id(&body)?;
    let replica = pool.stop_job(&job_id, Cause::Cancelled);
    info!(
        actor = "pool-managerd",
        action = "cancel",
        target = replica.map(|replica| replica.id.clone()),
        job_id,
        correlation_id = correlation.as_str(),
        human = "A job is to stop",
        "A job is to stop"
    );
    Ok((StatusCode::ACCEPTED, Json(Cancelling { status: "cancelling" })))
}
