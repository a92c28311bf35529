//! The routes, who may use them, and the ids in their paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use super::error::{ApiError, Code, envelop};
use super::service::Orchestrator;
use super::{admission, catalog, meta, node_routes, openapi, pools, sessions, task_routes};
use crate::http::access::Tokens;
use crate::http::{correlation, fields};

pub fn router(service: Arc<Orchestrator>) -> Router {
    let nodes = Router::new()
        .route("/v2/nodes/register", post(node_routes::register))
        .route("/v2/nodes/{id}/heartbeat", post(node_routes::heartbeat))
        .route("/v2/nodes/{id}", delete(node_routes::remove))
        .route_layer(from_fn_with_state(service.clone(), admit_node));
    let clients = Router::new()
        .route("/v2/tasks", post(admission::submit))
        .route("/v2/tasks/{id}", get(task_routes::get).delete(task_routes::delete))
        .route("/v2/tasks/{id}/events", get(task_routes::events))
        .route("/v2/tasks/{id}/cancel", post(task_routes::cancel))
        .route("/v2/nodes", get(node_routes::list))
        .route("/v2/pools/{id}/health", get(pools::health))
        .route("/v2/pools/{id}/drain", post(pools::drain))
        .route("/v2/pools/{id}/reload", post(pools::reload))
        .route("/v2/pools/{id}/purge", post(pools::purge))
        .route("/v2/catalog/models", post(catalog::create))
        .route("/v2/catalog/models/{id}", get(catalog::get).delete(catalog::delete))
        .route("/v2/catalog/models/{id}/verify", post(catalog::verify))
        .route("/v2/catalog/models/{id}/state", post(catalog::set_state))
        .route("/v2/catalog/availability", get(catalog::availability))
        .route("/v2/sessions/{id}", get(sessions::get).put(sessions::put).delete(sessions::delete))
        .route("/v2/meta/capabilities", get(meta::capabilities))
        .route("/v2/meta/version", get(meta::version))
        .route("/openapi.json", get(openapi::document))
        .route_layer(from_fn_with_state(service.clone(), admit_client));
    Router::new()
        .route("/health", get(meta::health))
        .route("/metrics", get(meta::metrics))
        .merge(nodes)
        .merge(clients)
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "the route has no such method").into_response()
        })
        .fallback(async || ApiError::new(Code::NotFound, "there is no such route").into_response())
        .layer(from_fn(envelop))
        .layer(from_fn(correlation::correlate))
        .with_state(service)
}

async fn admit_client(State(service): State<Arc<Orchestrator>>, request: Request, next: Next) -> Response {
    admit(&service.configuration.client_tokens, request, next).await
}

async fn admit_node(State(service): State<Arc<Orchestrator>>, request: Request, next: Next) -> Response {
    admit(&service.configuration.node_tokens, request, next).await
}

/// Lets a request through whose bearer token is known; one answer for a missing and a wrong one.
async fn admit(tokens: &Tokens, request: Request, next: Next) -> Response {
    if tokens.admit(request.headers()) {
        return next.run(request).await;
    }
    ApiError::new(Code::Unauthorized, "a valid bearer token is needed").into_response()
}

/// The id in a path.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(fields::path_id(parts, state).await?))
    }
}
