//! `GET /openapi.json`: the document, from the code.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::node::Node;
use super::workers::{callback, routes};
use super::{error, execute, rebuild, status};
use crate::worker::{error as worker_error, events};

#[derive(OpenApi)]
#[openapi(
    info(title = "llorch pool manager", description = "One node: its pools, what runs in them, and the jobs on it."),
    paths(
        status::health,
        status::metrics,
        document,
        status::pool,
        status::state,
        rebuild::preload,
        rebuild::drain,
        rebuild::reload,
        rebuild::purge,
        execute::execute,
        execute::cancel,
        routes::start,
        routes::get,
        routes::stop,
        routes::drain,
        callback::ready,
        callback::failed,
    ),
    components(schemas(
        events::Started,
        events::Token,
        events::Metrics,
        events::End,
        events::StopReasonName,
        events::Failure,
        worker_error::Code,
        crate::http::fields::FieldError,
        error::Code,
    ))
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Value)))]
pub async fn document(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(build(!node.configuration.access.is_empty()))
}

/// Open to everybody, whatever the tokens.
const OPEN: [&str; 5] =
    ["/health", "/metrics", "/openapi.json", "/v2/internal/workers/ready", "/v2/internal/workers/failed"];

pub fn build(guarded: bool) -> Value {
    let Ok(mut document) = serde_json::to_value(Document::openapi()) else { return json!({}) };
    let correlation = json!({
        "description": "The request's own id, or a fresh UUID", "required": true,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    });
    if guarded {
        document["components"]["securitySchemes"] = json!({"bearer": {"type": "http", "scheme": "bearer"}});
    }
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            if guarded && !OPEN.contains(&path.as_str()) {
                operation["security"] = json!([{"bearer": []}]);
            }
            for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
                response["headers"]["X-Correlation-Id"] = correlation.clone();
                match status.as_str() {
                    "503" => response["headers"]["Retry-After"] = json!({"schema": {"type": "integer", "minimum": 0}}),
                    "401" => response["headers"]["WWW-Authenticate"] = json!({"schema": {"type": "string"}}),
                    _ => {}
                }
            }
        }
    }
    document
}
