//! `POST /cancel` and `POST /shutdown`, and who may ask for work at all.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::correlation::CorrelationId;
use super::error::{ApiError, Code, InvalidRequest, Refusal};
use super::events::Cause;
use super::service::Service;
use super::{body, validate};

/// What was asked for is under way, or was done already.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    status: UnderWay,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnderWay {
    Cancelling,
    Draining,
}

/// Stops a job. Also for an id that is unknown or over: the answer is the same.
#[utoipa::path(
    post,
    path = "/cancel",
    request_body(content = super::openapi::CancelRequest, content_type = "application/json"),
    responses(
        (status = 202, description = "The job ends, if it has not", body = Accepted),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
    )
)]
pub async fn cancel(
    State(service): State<Arc<Service>>,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let (head, body) = request.into_parts();
    let job_id = validate::job_id(&body::read_json(&head.headers, body).await?)?;
    info!(event = "cancel", job_id, correlation_id = correlation.as_str(), "Cancel asked for");
    if let Some(admitted) = service.jobs.stop(&job_id, Cause::Cancelled) {
        service.end_unstarted(admitted, Cause::Cancelled);
    }
    Ok((StatusCode::ACCEPTED, Json(Accepted { status: UnderWay::Cancelling })))
}

/// Stops the worker: the running job may end, no other starts.
#[utoipa::path(
    post,
    path = "/shutdown",
    responses(
        (status = 202, description = "The worker drains, then exits", body = Accepted),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
    )
)]
pub async fn shutdown(State(service): State<Arc<Service>>) -> (StatusCode, Json<Accepted>) {
    service.shutdown.ask();
    // Refuse work from this answer on, not from when the stop gets its turn.
    service.drain();
    (StatusCode::ACCEPTED, Json(Accepted { status: UnderWay::Draining }))
}

/// Lets a request through whose bearer token is known; one answer for a missing and a wrong one.
pub async fn admit(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    if service.configuration.access.admit(request.headers()) {
        return next.run(request).await;
    }
    ApiError::Refused(Code::Unauthorized, "a valid bearer token is needed".to_owned()).into_response()
}
