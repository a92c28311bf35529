//! What a worker tells its node: `POST /v2/internal/workers/ready`, and `/failed`.
//!
//! The spawn token says who speaks: each start of a worker has its own, and it is no use for anything else.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::{State, Worker, spawn};
use crate::http::body;
use crate::pool::error::{Code, PoolError, Refusal};
use crate::pool::node::Node;
use crate::worker::error::{ApiError, InvalidRequest};

const REACH_PATIENCE: Duration = Duration::from_secs(3);

/// What is read of a ready callback; the rest of the contract's fields is welcome.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Ready {
    worker_id: String,
    /// The model as it was commanded.
    model_ref: String,
    /// Where the worker listens: `http://` and a loopback address.
    uri: String,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct Failed {
    worker_id: String,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Noted {
    worker_id: String,
    #[serde(rename = "status")]
    state: State,
}

/// A worker is ready: taken when it is one that starts, shows the token of this start, serves the model that was
/// commanded, and answers where it says it does.
#[utoipa::path(
    post,
    path = "/v2/internal/workers/ready",
    request_body(content = Ready, content_type = "application/json"),
    responses(
        (status = 200, description = "Taken", body = Noted),
        (status = 400, description = "The body is wrong, or the worker is not what was commanded", body = InvalidRequest),
        (status = 401, description = "Not this start's token", body = Refusal),
        (status = 404, description = "No such worker", body = Refusal),
        (status = 409, description = "The worker does not start just now", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn ready(Shared(node): Shared<Arc<Node>>, request: Request) -> Result<Json<Noted>, PoolError> {
    let (head, body) = request.into_parts();
    let ready: Ready = read(&body::read_json(&head.headers, body).await.map_err(ApiError::from)?)?;
    let worker = starting(&node, &ready.worker_id, &head.headers)?;
    let commanded = spawn::commanded_model(&worker.life.borrow());
    if ready.model_ref != commanded {
        let message = format!("the worker was told to serve {commanded}");
        return Err(wrong("model_ref", "commanded", message));
    }
    let uri = sound_uri(&ready.uri)?;
    let answered = reach(&node, &uri, &worker.id).await;
    let health = answered.map_err(|reason| wrong("uri", "reachable", reason))?;
    let context_length = health["context_length"].as_u64().and_then(|length| u32::try_from(length).ok());
    // Looked at again: while it was reached, the worker may have ended, and another start of it has another token.
    let worker = starting(&node, &ready.worker_id, &head.headers)?;
    worker.life.send_modify(|life| {
        life.uri = Some(uri);
        life.context_length = context_length;
        life.state = State::Ready;
    });
    Ok(Json(Noted { worker_id: worker.id.clone(), state: State::Ready }))
}

/// A worker says that it failed: it is ended, and its failure reported.
#[utoipa::path(
    post,
    path = "/v2/internal/workers/failed",
    request_body(content = Failed, content_type = "application/json"),
    responses(
        (status = 202, description = "Noted", body = Noted),
        (status = 400, description = "The body is wrong", body = InvalidRequest),
        (status = 401, description = "Not this start's token", body = Refusal),
        (status = 404, description = "No such worker", body = Refusal),
        (status = 409, description = "The worker does not start just now", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn failed(Shared(node): Shared<Arc<Node>>, request: Request) -> Result<(StatusCode, Json<Noted>), PoolError> {
    let (head, body) = request.into_parts();
    let failed: Failed = read(&body::read_json(&head.headers, body).await.map_err(ApiError::from)?)?;
    let worker = starting(&node, &failed.worker_id, &head.headers)?;
    let said = [failed.code, failed.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let cut: String = said.chars().take(500).collect();
    worker.life.send_modify(|life| {
        life.error = Some(if cut.is_empty() { "it said that it failed".to_owned() } else { cut });
        life.state = State::Failed;
    });
    Ok((StatusCode::ACCEPTED, Json(Noted { worker_id: worker.id.clone(), state: State::Failed })))
}

fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, PoolError> {
    // These fields are no secrets; the parser names the one that is missing or of a wrong type.
    serde_json::from_slice(bytes).map_err(|error| ApiError::body("json", error.to_string()).into())
}

/// The worker of this id, if it starts just now and these headers carry this start's token.
fn starting(node: &Node, id: &str, headers: &HeaderMap) -> Result<Arc<Worker>, PoolError> {
    let worker = node
        .workers
        .find(id)
        .ok_or_else(|| PoolError::refused(Code::NotFound, "this node has no such worker".to_owned()))?;
    let presented = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let (state, expected) = {
        let life = worker.life.borrow();
        (life.state, format!("Bearer {}", life.spawn_token))
    };
    if !bool::from(expected.as_bytes().ct_eq(presented)) {
        return Err(PoolError::refused(Code::Unauthorized, "the spawn token of this start is needed".to_owned()));
    }
    if state != State::Starting {
        return Err(PoolError::refused(Code::Conflict, "the worker does not start just now".to_owned()));
    }
    Ok(worker)
}

fn wrong(field: &str, constraint: &str, message: impl Into<String>) -> PoolError {
    ApiError::Invalid(vec![crate::http::fields::FieldError::new(field, constraint, message)]).into()
}

/// A worker listens on this machine's loopback; nothing else is asked on its word.
fn sound_uri(text: &str) -> Result<Url, PoolError> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.path() == "/");
    let loopback = |url: &Url| match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    };
    url.filter(loopback).ok_or_else(|| wrong("uri", "loopback", "expected http:// and a loopback address with a port"))
}

/// What the worker of this id says of itself there.
async fn reach(node: &Node, uri: &Url, worker_id: &str) -> Result<Value, String> {
    let url = uri.join("health").map_err(|error| error.to_string())?;
    let answer = node.client.get(url).timeout(REACH_PATIENCE).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|_| "its /health does not answer")?;
    let health: Value = answer.json().await.map_err(|_| "its /health is not JSON")?;
    match health.get("worker_id").and_then(Value::as_str) {
        Some(id) if id == worker_id => Ok(health),
        _ => Err("another worker answers there".to_owned()),
    }
}
