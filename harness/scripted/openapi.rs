//! `/openapi.json`: a small description by hand.

use serde_json::{Value, json};

pub fn document() -> Value {
    let job_id = json!({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"});
    let fraction = json!({"type": "number", "minimum": 0, "maximum": 1});
    let body = |schema: Value| json!({"required": true, "content": {"application/json": {"schema": schema}}});
    let execute = json!({
        "type": "object",
        "required": ["job_id", "prompt"],
        "properties": {
            "job_id": job_id,
            "prompt": {"type": "string", "minLength": 1, "maxLength": 32768},
            "max_tokens": {"type": "integer", "minimum": 1, "maximum": 2048, "default": 2048},
            "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": 1},
            "top_p": fraction,
            "top_k": {"type": "integer", "minimum": 0},
            "min_p": fraction,
            "repetition_penalty": {"type": "number", "exclusiveMinimum": 0, "maximum": 2},
            "stop": {"type": "array", "maxItems": 4, "items": {"type": "string", "minLength": 1}},
            "seed": {"type": "integer", "minimum": 0},
        },
    });
    let cancel = json!({"type": "object", "required": ["job_id"], "properties": {"job_id": job_id}});
    let said = |text: &str| json!({"description": text});
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Scripted inference worker", "version": env!("CARGO_PKG_VERSION")},
        "paths": {
            "/health": {"get": {"responses": {"200": said("The worker's state")}}},
            "/metrics": {"get": {"responses": {"200": said("Prometheus text")}}},
            "/execute": {"post": {
                "requestBody": body(execute),
                "responses": {
                    "200": {"description": "The events of the job", "content": {"text/event-stream": {}}},
                    "400": said("Every failure of the request"),
                    "409": said("The job id is active"),
                    "415": said("Not JSON"),
                    "503": said("Busy or draining"),
                },
            }},
            "/cancel": {"post": {"requestBody": body(cancel), "responses": {"202": said("Accepted")}}},
            "/shutdown": {"post": {"responses": {"202": said("Draining")}}},
        },
    })
}
