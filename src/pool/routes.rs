//! The routes of the daemon, and who may ask for them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::error::{Code, PoolError};
use super::node::Node;
use super::workers::{callback, routes as workers};
use super::{execute, openapi, rebuild, status};
use crate::http::{correlation, fields};
use crate::worker::error::ApiError;

pub fn router(node: Arc<Node>) -> Router {
    let guarded = Router::new()
        .route("/pools/{id}/status", get(status::pool))
        .route("/pools/{id}/preload", post(rebuild::preload))
        .route("/pools/{id}/drain", post(rebuild::drain))
        .route("/pools/{id}/reload", post(rebuild::reload))
        .route("/pools/{id}/purge", post(rebuild::purge))
        .route("/pools/{id}/execute", post(execute::execute))
        .route("/pools/{id}/cancel", post(execute::cancel))
        .route("/v2/workers/start", post(workers::start))
        .route("/v2/workers/{id}", get(workers::get))
        .route("/v2/workers/{id}/stop", post(workers::stop))
        .route("/v2/workers/{id}/drain", post(workers::drain))
        .route("/v2/state", get(status::state))
        .route_layer(from_fn_with_state(node.clone(), admit));
    Router::new()
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document))
        // Guarded by the spawn token of the worker that calls.
        .route("/v2/internal/workers/ready", post(callback::ready))
        .route("/v2/internal/workers/failed", post(callback::failed))
        .merge(guarded)
        .method_not_allowed_fallback(async || {
            PoolError::refused(Code::MethodNotAllowed, "the route has no such method".to_owned())
        })
        .fallback(async || PoolError::refused(Code::NotFound, "there is no such route".to_owned()))
        .layer(from_fn(correlation::correlate))
        .with_state(node)
}

/// Lets a request through whose bearer token is known; one answer for a missing and a wrong one.
async fn admit(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    if node.configuration.access.admit(request.headers()) {
        return next.run(request).await;
    }
    PoolError::refused(Code::Unauthorized, "a valid bearer token is needed".to_owned()).into_response()
}

/// The id in a path.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = PoolError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PoolError> {
        Ok(Self(fields::path_id(parts, state).await.map_err(ApiError::from)?))
    }
}
