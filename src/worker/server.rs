//! The routes of a worker.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use super::error::{ApiError, Code};
use super::service::Service;
use super::{control, correlation, execute, health, openapi};

pub fn router(service: Arc<Service>) -> Router {
    let work = Router::new()
        .route("/execute", post(execute::execute))
        .route("/cancel", post(control::cancel))
        .route("/shutdown", post(control::shutdown))
        .route_layer(from_fn_with_state(service.clone(), control::admit));
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::document))
        .merge(work)
        .method_not_allowed_fallback(async || {
            ApiError::Refused(Code::MethodNotAllowed, "the route has no such method".to_owned())
        })
        .fallback(async || ApiError::Refused(Code::NotFound, "there is no such route".to_owned()))
        .layer(from_fn(correlation::correlate))
        .with_state(service)
}
