//! `GET /openapi.json`: the document, from the code, with the numbers of this worker's model and flags.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

use super::service::Service;
use super::{callback, control, error, events, execute, health};
use crate::http::document::{name_operations, name_unsigned};

pub const STREAM: &str = "Server-sent events, sent as they are computed: `started` (Started), `token` (Token) with \
    `metrics` (Metrics) between, then exactly one of `end` (End) and `error` (ErrorEvent). The data of each is one line \
    of JSON. Comments keep the stream open and are no events.";

/// The body of `/execute`. Read by hand, so that every failure is listed; this type describes it.
#[derive(ToSchema)]
#[schema(example = json!({"job_id": "job-1", "prompt": "Once upon a time", "max_tokens": 16, "seed": 1}))]
#[allow(dead_code)] // only its schema is used
pub struct ExecuteRequest {
    /// Neither `.` nor `..`, which are folders.
    #[schema(pattern = "^([A-Za-z0-9_:-]|\\.[A-Za-z0-9_:-]|\\.\\.[A-Za-z0-9._:-])[A-Za-z0-9._:-]*$", max_length = 128)]
    job_id: String,
    /// Required, unless `prompt_ids` is there.
    #[schema(min_length = 1, max_length = 32768)]
    prompt: Option<String>,
    /// The prompt as token ids, instead of `prompt`.
    #[schema(min_items = 1, max_items = 32768)]
    prompt_ids: Option<Vec<u32>>,
    #[schema(minimum = 1)]
    max_tokens: Option<u32>,
    #[schema(minimum = 0.0, maximum = 2.0, default = 1.0)]
    temperature: Option<f32>,
    /// 1.0 is off.
    #[schema(minimum = 0.0, maximum = 1.0, default = 1.0)]
    top_p: Option<f32>,
    /// 0 is off.
    #[schema(minimum = 0, default = 0)]
    top_k: Option<u32>,
    /// 0.0 is off.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.0)]
    min_p: Option<f32>,
    /// 1.0 is off.
    #[schema(exclusive_minimum = 0.0, maximum = 2.0, default = 1.0)]
    repetition_penalty: Option<f32>,
    /// Each 1 to 100 bytes and at most 32 tokens.
    #[schema(max_items = 4)]
    stop: Option<Vec<String>>,
    /// Drawn by the system when absent, and reported.
    #[schema(minimum = 0)]
    seed: Option<u64>,
}

/// The body of `/cancel`.
#[derive(ToSchema)]
#[schema(example = json!({"job_id": "job-1"}))]
#[allow(dead_code)] // only its schema is used
pub struct CancelRequest {
    #[schema(pattern = "^([A-Za-z0-9_:-]|\\.[A-Za-z0-9_:-]|\\.\\.[A-Za-z0-9._:-])[A-Za-z0-9._:-]*$", max_length = 128)]
    job_id: String,
}

/// Words that a backend, which knows nothing of this document, spells as text.
macro_rules! words {
    ($(#[doc = $doc:literal] $name:ident: $($word:ident = $text:literal),+;)+) => {$(
        #[doc = $doc]
        #[derive(ToSchema)]
        #[allow(dead_code)] // only its schema is used
        pub enum $name { $(#[schema(rename = $text)] $word),+ }
    )+};
}

words! {
    /// Where the weights are.
    MemoryArchitecture: Cpu = "cpu", VramOnly = "vram-only", Unified = "unified";
    /// What computes.
    WorkerType: Cpu = "cpu", Cuda = "cuda", Metal = "metal";
    /// How text becomes tokens; `none` for the stub.
    TokenizerKind: HfJson = "hf-json", GgufBpe = "gguf-bpe", None = "none";
    /// What this worker can do.
    Capability: TextGen = "text-gen";
    /// How it answers.
    Protocol: Sse = "sse";
}

#[derive(OpenApi)]
#[openapi(
    info(title = "llorch worker", description = "One model, one queue, tokens as they are computed."),
    paths(execute::execute, control::cancel, control::shutdown, health::health, health::metrics, document),
    components(schemas(
        callback::ReadyCallback,
        events::Started,
        events::Token,
        events::Metrics,
        events::End,
        events::StopReasonName,
        events::Failure,
        error::Code,
        error::FieldError
    ))
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Value)))]
pub async fn document(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(build(&service))
}

fn build(service: &Service) -> Value {
    let Ok(mut document) = serde_json::to_value(Document::openapi()) else { return json!({}) };
    let limits = &service.limits;
    let fields = &mut document["components"]["schemas"]["ExecuteRequest"];
    fields["properties"]["max_tokens"]["maximum"] = json!(limits.max_tokens);
    fields["properties"]["max_tokens"]["default"] = json!(limits.max_tokens);
    fields["properties"]["top_k"]["maximum"] = json!(limits.vocab_size);
    fields["properties"]["prompt_ids"]["items"]["maximum"] = json!(limits.vocab_size.saturating_sub(1));
    describe_execute(&mut document, "/execute", "ErrorEvent");
    describe_headers(&mut document);
    name_operations(&mut document);
    name_unsigned(&mut document);
    if !service.configuration.access.is_empty() {
        document["components"]["securitySchemes"] = json!({"bearer": {"type": "http", "scheme": "bearer"}});
        for path in ["/execute", "/cancel", "/shutdown"] {
            document["paths"][path]["post"]["security"] = json!([{"bearer": []}]);
        }
    }
    document
}

/// What the types don't say of a job and its stream, whose errors have this schema. The stream's is that of each of its
/// events, as a reader of server-sent events hands them on.
pub fn describe_execute(document: &mut Value, path: &str, error: &str) {
    let fields = &mut document["components"]["schemas"]["ExecuteRequest"];
    fields["properties"]["seed"]["maximum"] = json!(u64::MAX);
    fields["properties"]["stop"]["items"]["minLength"] = json!(1);
    fields["properties"]["stop"]["items"]["maxLength"] = json!(100);
    // Exactly one of the two prompts, and `null` is none.
    fields["oneOf"] = json!([
        {"required": ["prompt"], "properties": {"prompt": {"type": "string"}, "prompt_ids": {"type": "null"}}},
        {"required": ["prompt_ids"], "properties": {"prompt_ids": {"type": "array"}, "prompt": {"type": "null"}}},
    ]);
    let event = |name: &str, schema: &str| {
        let data = json!({
            "type": "string", "contentMediaType": "application/json",
            "contentSchema": {"$ref": format!("#/components/schemas/{schema}")},
        });
        json!({"type": "object", "required": ["event", "data"], "properties": {"event": {"const": name}, "data": data}})
    };
    document["components"]["schemas"]["StreamEvent"] = json!({
        "description": "One event of the stream",
        "oneOf": [
            event("started", "Started"), event("token", "Token"), event("metrics", "Metrics"), event("end", "End"),
            event("error", error),
        ],
    });
    document["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]["schema"] =
        json!({"$ref": "#/components/schemas/StreamEvent"});
}

/// What every answer carries, and what some do.
fn describe_headers(document: &mut Value) {
    let correlation = json!({
        "description": "The request's own id, or a fresh UUID", "required": true,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    });
    let given = json!({
        "name": "X-Correlation-Id", "in": "header", "required": false, "schema": {"type": "string"},
        "description": "Echoed, if it is 1 to 64 letters, digits and dashes",
    });
    let operations = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in operations.flat_map(|path| path.as_object_mut().into_iter().flat_map(|path| path.values_mut())) {
        operation["parameters"] = json!([given]);
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
