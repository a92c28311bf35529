//! `POST /execute`: from a request to an admitted job and its open stream.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use tracing::warn;

use super::correlation::CorrelationId;
use super::error::{ApiError, Code, InvalidRequest, Refusal};
use super::jobs::{Outlet, draining};
use super::service::Service;
use super::{body, sse, validate};

/// Runs one job and streams what it computes.
#[utoipa::path(
    post,
    path = "/execute",
    request_body(content = super::openapi::ExecuteRequest, content_type = "application/json"),
    responses(
        (status = 200, description = super::openapi::STREAM, content_type = "text/event-stream", body = String),
        (status = 400, description = "Everything that is wrong with the request", body = InvalidRequest),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 409, description = "A job of this id waits or runs", body = Refusal),
        (status = 415, description = "Not JSON", body = InvalidRequest),
        (status = 500, description = "This worker failed", body = Refusal),
        (status = 503, description = "Busy, or shutting down; see Retry-After", body = Refusal),
    )
)]
pub async fn execute(
    State(service): State<Arc<Service>>,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
) -> Result<Response, ApiError> {
    match admit(&service, &correlation, request).await {
        Ok(outlet) => Ok(sse::response(service, outlet)),
        Err(error) => {
            warn!(
                event = "error",
                code = error.code().word(),
                correlation_id = correlation.as_str(),
                fields = error.fields(),
                "Job refused"
            );
            Err(error)
        }
    }
}

async fn admit(service: &Arc<Service>, correlation: &CorrelationId, request: Request) -> Result<Outlet, ApiError> {
    if service.jobs.is_draining() {
        return Err(draining());
    }
    let (head, body) = request.into_parts();
    let body = body::read_json(&head.headers, body).await?;
    // A long prompt takes a while to read and to encode: not on the thread that serves. One such thread keeps the order.
    let checker = service.clone();
    let job = tokio::task::spawn_blocking(move || validate::job(&body, &checker.limits, checker.tokenizer.as_deref()))
        .await
        .map_err(|_| ApiError::Refused(Code::Internal, "the request could not be checked".to_owned()))??;
    service.jobs.admit(job, correlation.clone())
}
