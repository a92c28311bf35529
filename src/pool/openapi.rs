//! `GET /openapi.json`: the document, from the code.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::models::reference::{MOST_CHARACTERS, PATTERN};
use super::node::Node;
use super::workers::engine::BACKEND as ENGINE;
use super::workers::{callback, routes, spawn};
use super::{error, execute, rebuild, status};
use crate::http::document::{name_operations, name_unsigned};
use crate::worker::openapi::describe_execute;
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
        error::Failure,
        worker_error::Code,
        crate::http::fields::FieldError,
        error::Code,
    ))
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Value)))]
pub async fn document(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(build(&node))
}

/// Open to everybody, whatever the tokens.
const OPEN: [&str; 5] =
    ["/health", "/metrics", "/openapi.json", "/v2/internal/workers/ready", "/v2/internal/workers/failed"];

fn build(node: &Node) -> Value {
    let Ok(mut document) = serde_json::to_value(Document::openapi()) else { return json!({}) };
    let guarded = !node.configuration.access.is_empty();
    let correlation = json!({
        "description": "The request's own id, or a fresh UUID", "required": true,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    });
    if guarded {
        document["components"]["securitySchemes"] = json!({"bearer": {"type": "http", "scheme": "bearer"}});
    }
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            if path.contains('{') && operation["responses"].get("400").is_none() {
                operation["responses"]["400"] = json!({
                    "description": "The id in the path is not UTF-8",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InvalidRequest"}}},
                });
            }
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
    describe_requests(&mut document, node);
    describe_execute(&mut document, "/pools/{id}/execute", "PoolFailure");
    name_operations(&mut document);
    name_unsigned(&mut document);
    document
}

/// What this node takes, which the types don't say.
fn describe_requests(document: &mut Value, node: &Node) {
    let programs = &node.configuration.programs;
    let known = ["cpu", "stub", "cuda", "metal"].into_iter().chain(programs.keys().map(String::as_str));
    let here = known.filter(|backend| spawn::program(backend, programs, &node.program).is_ok());
    let backends: Vec<Value> = here.chain([ENGINE]).map(Value::from).chain([Value::Null]).collect();
    let schemas = &mut document["components"]["schemas"];
    for name in ["StartRequest", "ReloadRequest", "DrainRequest"] {
        let schema = &mut schemas[name];
        schema["additionalProperties"] = json!(false);
        if name != "DrainRequest" {
            schema["properties"]["model_ref"]["pattern"] = json!(PATTERN);
            schema["properties"]["model_ref"]["maxLength"] = json!(MOST_CHARACTERS);
            schema["properties"]["backend"]["enum"] = json!(backends);
        }
    }
    // A model, or what needs none. A preload that names nothing is that of the configuration.
    let named = json!({"required": ["model_ref"], "properties": {"model_ref": {"type": "string"}}});
    let stub = json!({"required": ["backend"], "properties": {"backend": {"const": "stub"}}});
    let nothing = json!({"properties": {"model_ref": {"type": "null"}, "backend": {"type": "null"}}});
    schemas["PreloadRequest"] = schemas["StartRequest"].clone();
    schemas["PreloadRequest"]["anyOf"] = json!([named, stub, nothing]);
    if node.configuration.backend != "stub" {
        schemas["StartRequest"]["anyOf"] = json!([named, stub]);
    }
    document["paths"]["/pools/{id}/preload"]["post"]["requestBody"]["content"]["application/json"]["schema"] =
        json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/PreloadRequest"}]});
}
