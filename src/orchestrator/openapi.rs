//! `GET /openapi.json`: the document, from the code.
//!
//! The routes say what is theirs alone; what every route of a kind answers is added here, once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::configuration::NAME;
use super::node_routes::ADDRESS;
use super::service::Orchestrator;
use super::task_request::MODEL_REF;
use super::task_routes::EVENT_ID;
use super::{admission, catalog, meta, node_routes, pools, sessions, task_routes};
use crate::http::document::{name_operations, name_unsigned};

pub const STREAM: &str = "Server-sent events, relayed as they arrive, each with an id: `started`, `token`s with `metrics` \
    between, then exactly one of `end` and `error`. The data of each is one line of JSON. Comments keep the stream open \
    and are no events.";

#[derive(OpenApi)]
#[openapi(
    info(title = "llorch orchestrator", description = "Tasks for inference workers on any number of nodes."),
    paths(
        admission::submit,
        task_routes::get,
        task_routes::events,
        task_routes::cancel,
        task_routes::delete,
        node_routes::register,
        node_routes::heartbeat,
        node_routes::remove,
        node_routes::list,
        pools::health,
        pools::drain,
        pools::reload,
        pools::purge,
        catalog::create,
        catalog::get,
        catalog::delete,
        catalog::verify,
        catalog::set_state,
        catalog::availability,
        sessions::get,
        sessions::put,
        sessions::delete,
        meta::capabilities,
        meta::version,
        meta::health,
        meta::metrics,
        document
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Value)))]
pub async fn document(State(service): State<Arc<Orchestrator>>) -> Json<Value> {
    Json(build(&service))
}

/// Routes that nobody needs a token for.
const OPEN: [&str; 2] = ["/health", "/metrics"];

fn build(service: &Orchestrator) -> Value {
    let Ok(mut document) = serde_json::to_value(Document::openapi()) else { return json!({}) };
    let guarded = !service.configuration.client_tokens.is_empty() || !service.configuration.node_tokens.is_empty();
    if guarded {
        document["components"]["securitySchemes"] = json!({"bearer": {"type": "http", "scheme": "bearer"}});
    }
    let model = document["components"]["schemas"]["NewModel"]["properties"]["id"]["pattern"].clone();
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        for operation in operations.as_object_mut().into_iter().flat_map(|operations| operations.values_mut()) {
            complete(path, operation, guarded);
            let of_catalog = path.starts_with("/v2/catalog/");
            name_in_path(operation, if of_catalog { model.clone() } else { json!(NAME) });
        }
    }
    let body = &mut document["components"]["schemas"]["TaskBody"];
    body["additionalProperties"] = json!(false);
    body["properties"]["stop"]["items"] = json!({"type": "string", "minLength": 1, "maxLength": 100});
    for name in ["Placement", "NewModel", "NewState", "SessionBudgets", "DrainRequest", "ReloadRequest"] {
        document["components"]["schemas"][name]["additionalProperties"] = json!(false);
    }
    for name in ["TaskBody", "NewModel", "ReloadRequest"] {
        document["components"]["schemas"][name]["properties"]["model_ref"]["pattern"] = json!(MODEL_REF);
    }
    describe_reports(&mut document["components"]["schemas"]);
    describe_modes(&mut document["components"]["schemas"]["Placement"]);
    describe_stream(&mut document);
    link_tasks(&mut document);
    name_operations(&mut document);
    name_unsigned(&mut document);
    document
}

/// What an operation has in common with others.
fn complete(path: &str, operation: &mut Value, guarded: bool) {
    let envelope = |description: &str| {
        json!({
            "description": description,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}},
        })
    };
    let has_body = operation.get("requestBody").is_some();
    let has_parameter = path.contains('{');
    let responses = &mut operation["responses"];
    let mut add = |status: &str, description: &str| {
        if responses.get(status).is_none() {
            responses[status] = envelope(description);
        }
    };
    if has_body || has_parameter {
        add("400", "The request breaks the rules: everything that is wrong with it");
    }
    if has_body {
        add("413", "The body is too long");
        add("415", "The body is not said to be JSON");
    }
    if guarded && !OPEN.contains(&path) {
        add("401", "No token, or a wrong one");
    }
    add("500", "This orchestrator failed");
    if guarded && !OPEN.contains(&path) {
        operation["security"] = json!([{"bearer": []}]);
    }
    let correlation = json!({
        "description": "The request's own id, or a fresh UUID", "required": true,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    });
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        response["headers"]["X-Correlation-Id"] = correlation.clone();
        match status.as_str() {
            "429" => {
                response["headers"]["Retry-After"] = json!({"schema": {"type": "integer", "minimum": 1}});
                response["headers"]["X-Backoff-Ms"] = json!({"schema": {"type": "integer", "minimum": 1}});
            }
            "401" => response["headers"]["WWW-Authenticate"] = json!({"schema": {"type": "string"}}),
            _ => {}
        }
    }
    let given = json!({
        "name": "X-Correlation-Id", "in": "header", "required": false, "schema": {"type": "string"},
        "description": "Echoed, if it is 1 to 64 letters, digits and dashes",
    });
    match operation["parameters"].as_array_mut() {
        Some(parameters) => {
            // One that may be left out is left out: there is no `null` in a path, a query or a header.
            for parameter in parameters.iter_mut() {
                if let Some(kinds) = parameter["schema"]["type"].as_array_mut() {
                    kinds.retain(|kind| kind != "null");
                }
                if parameter["name"] == "Last-Event-ID" {
                    parameter["schema"]["pattern"] = json!(EVENT_ID);
                }
            }
            parameters.push(given);
        }
        None => operation["parameters"] = json!([given]),
    }
}

/// A name that nothing can have is told from one that nothing has.
fn name_in_path(operation: &mut Value, pattern: Value) {
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        let schema = &parameter["schema"];
        if parameter["in"] == "path" && schema["type"] == "string" && schema.get("format").is_none() {
            parameter["schema"]["pattern"] = pattern.clone();
        }
    }
}

/// Where what is admitted is found again.
fn link_tasks(document: &mut Value) {
    let to = |path: &str, method: &str, parameter: &str| {
        let place = path.replace('/', "~1");
        json!({ "operationRef": format!("#/paths/{place}/{method}"), "parameters": { "id": parameter } })
    };
    let (task, session) = ("$response.body#/task_id", "$request.body#/session_id");
    document["paths"]["/v2/tasks"]["post"]["responses"]["202"]["links"] = json!({
        "task": to("/v2/tasks/{id}", "get", task),
        "events": to("/v2/tasks/{id}/events", "get", task),
        "cancel": to("/v2/tasks/{id}/cancel", "post", task),
        "session": to("/v2/sessions/{id}", "get", session),
    });
}

/// What a node may send in several forms.
fn describe_reports(schemas: &mut Value) {
    let name = json!({"type": "string", "pattern": NAME});
    schemas["RegisterRequest"]["properties"]["node_id"]["pattern"] = json!(NAME);
    schemas["HeartbeatPool"]["properties"]["pool_id"]["pattern"] = json!(NAME);
    schemas["HeartbeatPool"]["properties"]["replica_id"]["pattern"] = json!(NAME);
    let named = json!({"type": "object", "required": ["pool_id"], "properties": {"pool_id": name}});
    schemas["RegisterRequest"]["properties"]["pools"]["items"] = json!({"anyOf": [name, named]});
    schemas["RegisterRequest"]["properties"]["address"]["pattern"] = json!(ADDRESS);
    schemas["HeartbeatRequest"]["properties"]["timestamp"] = json!({"type": ["string", "number", "null"]});
    let model = json!({
        "type": "object", "required": ["id"],
        "properties": {"id": {"type": "string"}, "context_length": {"type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX}},
    });
    schemas["HeartbeatPool"]["properties"]["models"]["items"] = json!({"anyOf": [{"type": "string"}, model]});
}

/// Each mode has fields of its own; without effect in another mode, they are refused there.
fn describe_modes(placement: &mut Value) {
    let nothing = || json!({"anyOf": [{"type": "null"}, {"type": "array", "maxItems": 0}]});
    let fallback = || json!({"enum": [true, null]});
    placement["properties"]["pin_pool_id"]["pattern"] = json!(NAME);
    for field in ["prefer_pools", "avoid_pools"] {
        placement["properties"][field]["items"]["pattern"] = json!(NAME);
    }
    placement["oneOf"] = json!([
        {"required": ["mode", "pin_pool_id"], "properties": {
            "mode": {"const": "pin"}, "pin_pool_id": {"type": "string"}, "prefer_pools": nothing(),
            "avoid_pools": nothing(), "allow_fallback": fallback(),
        }},
        {"required": ["mode", "prefer_pools"], "properties": {
            "mode": {"const": "prefer"}, "pin_pool_id": {"type": "null"},
            "prefer_pools": {"type": "array", "minItems": 1},
        }},
        {"properties": {
            "mode": {"enum": ["auto", null]}, "pin_pool_id": {"type": "null"}, "prefer_pools": nothing(),
            "allow_fallback": fallback(),
        }},
    ]);
}

/// The stream's schema is that of each of its events, as a reader of server-sent events hands them on.
fn describe_stream(document: &mut Value) {
    let event = |name: &str, required: &[&str], properties: Value| {
        let data = json!({"type": "object", "required": required, "properties": properties});
        let text = json!({"type": "string", "contentMediaType": "application/json", "contentSchema": data});
        json!({
            "type": "object", "required": ["id", "event", "data"],
            "properties": {"id": {"type": "string", "pattern": "^[0-9]+$"}, "event": {"const": name}, "data": text},
        })
    };
    let count = || json!({"type": "integer", "minimum": 0});
    document["components"]["schemas"]["StreamEvent"] = json!({
        "description": "One event of the stream",
        "oneOf": [
            event("started", &["queue_position", "predicted_start_ms"],
                json!({"queue_position": count(), "predicted_start_ms": count(), "seed": count()})),
            event("token", &["t", "i"], json!({"t": {"type": "string"}, "i": count()})),
            event("metrics", &[], json!({"human": {"type": "string"}, "prep": {"type": "object"}})),
            event("end", &["tokens_out", "decode_ms", "decode_time_ms", "stop_reason", "stop_sequence_matched", "seed"],
                json!({
                    "tokens_out": count(), "decode_ms": count(), "decode_time_ms": count(),
                    "stop_reason": {"enum": ["MAX_TOKENS", "EOS", "STOP_SEQUENCE"]},
                    "stop_sequence_matched": {"type": ["string", "null"]},
                    "seed": {"type": ["integer", "null"], "minimum": 0},
                })),
            event("error", &["code", "message", "engine", "retriable", "retry_after_ms"], json!({
                "code": {"$ref": "#/components/schemas/Code"}, "message": {"type": "string"},
                "engine": {"type": "string"}, "retriable": {"type": "boolean"},
                "retry_after_ms": {"type": ["integer", "null"], "minimum": 0},
            })),
        ],
    });
    document["paths"]["/v2/tasks/{id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"] =
        json!({"$ref": "#/components/schemas/StreamEvent"});
}
