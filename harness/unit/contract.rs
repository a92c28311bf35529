//! The contract's schemas: a right example of each message, wrong ones, and violations in plain words.

use llorch::harness::contract::{Message, check, violations};
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn())] = &[
    ("contract/right_examples", right_examples),
    ("contract/every_field_is_checked", every_field_is_checked),
    ("contract/wrong_values", wrong_values),
    ("contract/plain_words", plain_words),
    ("contract/unknown_fields_are_legal", unknown_fields_are_legal),
    ("contract/names", names),
];

const TASK: &str = "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a01";

fn example(message: Message) -> Value {
    match message {
        Message::Health => json!({
            "status": "healthy", "model_loaded": true, "model": "tiny", "resident": true, "quant_kind": "F32",
            "memory_bytes": 10, "vram_bytes": 0, "vram_bytes_used": 0, "memory_type": "cpu",
            "memory_architecture": "cpu", "capabilities": ["text-gen"], "protocol": "sse", "worker_type": "cpu",
            "tokenizer_kind": "hf-json", "vocab_size": 50257, "context_length": 1024, "uptime_seconds": 1.5,
            "worker_id": "w-1", "version": "0.1.0",
        }),
        Message::ExecuteRequest => json!({
            "job_id": "j-1", "prompt": "Hello.", "max_tokens": 5, "temperature": 0.5, "top_p": 1, "top_k": 0, "min_p": 0,
            "repetition_penalty": 1.1, "stop": ["a"], "seed": u64::MAX,
        }),
        Message::Started => {
            json!({ "job_id": "j-1", "model": "m", "started_at": "2026-01-02T03:04:05Z", "seed": u64::MAX })
        }
        Message::Token => json!({ "t": "a", "i": 0 }),
        Message::Metrics => json!({
            "tokens_per_sec": 1.5, "tokens_out": 1, "memory_bytes": 1, "vram_bytes": 0, "decode_time_ms": 1,
        }),
        Message::End => json!({
            "tokens_out": 2, "decode_time_ms": 0, "stop_reason": "MAX_TOKENS", "stop_sequence_matched": null, "seed": 1,
        }),
        Message::ErrorEvent => json!({ "code": "CANCELLED", "message": "cancelled", "retriable": true }),
        Message::ErrorBody => json!({
            "code": "INVALID_REQUEST", "message": "2 fields", "errors": [
                { "field": "max_tokens", "constraint": "1–2048", "message": "too large", "value": 5000 },
                { "field": "prompt", "constraint": "1–32768 characters", "message": "empty" },
            ],
        }),
        Message::SimpleErrorBody => json!({ "code": "BUSY", "message": "try later" }),
        Message::CancelRequest => json!({ "job_id": "j-1" }),
        Message::ShutdownAnswer => json!({}),
        Message::ReadyCallback => json!({
            "worker_id": "w-1", "model_ref": "file:tiny", "memory_bytes": 1, "vram_bytes": 0, "memory_architecture": "cpu",
            "uri": "http://127.0.0.1:8001", "worker_type": "cpu", "capabilities": ["text-gen"], "protocol": "sse",
        }),
        Message::LogLine => json!({
            "timestamp": "2026-01-02T03:04:05.1Z", "level": "INFO", "message": "ready", "event": "ready", "worker_id": "w-1",
        }),
        Message::TaskRequest => json!({
            "task_id": TASK, "session_id": TASK, "workload": "completion", "model_ref": "file:/m.gguf",
            "engine": "llorch", "ctx": 64, "priority": "batch", "prompt": "Hello.", "max_tokens": 5, "deadline_ms": 1000,
            "seed": 1, "temperature": 0.5, "top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1.1, "stop": ["a"],
            "determinism": "strict", "expected_tokens": 5, "kv_hint": "cold", "placement": { "mode": "auto" },
            "tokens_budget": 9, "time_budget_ms": 9,
        }),
        Message::TaskAdmission => json!({
            "task_id": TASK, "queue_position": 0, "predicted_start_ms": 5, "backoff_ms": 0,
            "streams": {
                "sse": format!("/v2/tasks/{TASK}/events"), "sse_verbose": format!("/v2/tasks/{TASK}/events?verbose=true"),
            },
            "preparation": { "steps": [] },
        }),
        Message::TaskRefusal => json!({ "error": {
            "code": "ADMISSION_REJECT", "message": "the queue is full", "retriable": true, "retry_after_ms": 1000,
            "policy_label": "reject", "engine": null, "correlation_id": "c-1", "details": {},
        } }),
        Message::TaskStarted => json!({ "queue_position": 0, "predicted_start_ms": 5, "seed": 1 }),
        Message::TaskMetrics => {
            json!({ "tokens_per_sec": 1.5, "tokens_out": 1, "human": "Places the task", "prep": {} })
        }
        Message::TaskEnd => json!({
            "tokens_out": 2, "decode_ms": 1, "decode_time_ms": 1, "stop_reason": "EOS", "stop_sequence_matched": null,
            "seed": 1,
        }),
        Message::TaskError => json!({
            "code": "WORKER_RESET", "message": "the worker was lost", "engine": "llorch", "retriable": true,
            "retry_after_ms": null,
        }),
        Message::Narration => json!({
            "actor": "orchestratord", "action": "admission", "target": "queue", "human": "Admits a task",
            "correlation_id": "c-1",
        }),
    }
}

fn right_examples() {
    for message in Message::ALL {
        assert_eq!(check(*message, &example(*message)), Ok(()), "{}", message.name());
        assert!(check(*message, &json!([])).is_err(), "{}", message.name());
    }
}

/// Each field of each example, taken away where it is required, and given a wrong type.
fn every_field_is_checked() {
    for message in Message::ALL {
        let schema: Value = serde_json::from_str(message.schema()).unwrap();
        let required: Vec<&str> = schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let whole = example(*message);
        for field in whole.as_object().unwrap().keys() {
            let mut wrong = whole.clone();
            // No text, number or list, nor an object that any message may hold.
            wrong[field] = if whole[field].is_object() { json!(["wrong"]) } else { json!({ "wrong": [] }) };
            let found = violations(*message, &wrong).unwrap();
            assert!(found.iter().all(|violation| violation.field() == field), "{found:?}");
            assert!(!found.is_empty(), "{}.{field} takes any type", message.name());
        }
        for field in required {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().shift_remove(field).expect(field);
            let found = violations(*message, &less).unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].path, field);
        }
    }
}

fn wrong_values() {
    let table: &[(Message, &str, Value)] = &[
        (Message::Started, "job_id", json!("a b")),
        (Message::Started, "started_at", json!("2026-01-02 03:04:05")),
        (Message::Started, "started_at", json!("2026-01-02T03:04:05+02:00")),
        (Message::Started, "seed", json!(-1)),
        (Message::Started, "seed", json!(1.5)),
        (Message::Token, "i", json!(-1)),
        (Message::Token, "t", json!("")),
        (Message::End, "stop_reason", json!("max_tokens")),
        (Message::Health, "status", json!("ok")),
        (Message::Health, "capabilities", json!([])),
        (Message::ErrorEvent, "code", json!("cancelled")),
        (Message::ErrorBody, "errors", json!([])),
        (
            Message::ErrorBody,
            "errors",
            json!([{ "field": "prompt", "constraint": "c", "message": "m", "value": "secret" }]),
        ),
        (
            Message::ErrorBody,
            "errors",
            json!([{ "field": "stop[0]", "constraint": "c", "message": "m", "value": "secret" }]),
        ),
        (Message::ErrorBody, "errors", json!([{ "field": "seed" }])),
        (Message::ReadyCallback, "uri", json!("127.0.0.1:80")),
        (Message::ExecuteRequest, "temperature", json!(2.1)),
        (Message::ExecuteRequest, "repetition_penalty", json!(0)),
        (Message::ExecuteRequest, "stop", json!(["a", "b", "c", "d", "e"])),
        (Message::LogLine, "timestamp", json!("now")),
    ];
    for (message, field, value) in table {
        let mut wrong = example(*message);
        wrong[field] = value.clone();
        let found = violations(*message, &wrong).unwrap();
        assert!(
            !found.is_empty() && found.iter().all(|violation| violation.field() == *field),
            "{field} {value}: {found:?}"
        );
    }
    let mut both = example(Message::ExecuteRequest);
    both["prompt_ids"] = json!([1]);
    assert!(check(Message::ExecuteRequest, &both).is_err());
}

fn plain_words() {
    let mut end = example(Message::End);
    end["tokens_out"] = json!("2");
    let finding = check(Message::End, &end).unwrap_err();
    assert_eq!(finding.found, "end.tokens_out: expected an integer, found \"2\" (string)");
    let found = violations(
        Message::ErrorBody,
        &json!({ "code": "INVALID_REQUEST", "message": "m", "errors": [{ "field": "a" }] }),
    );
    let told: Vec<String> = found.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(told[0], "error_body.errors[0].constraint: expected a value, found nothing: the field is missing");
    let mut started = example(Message::Started);
    started["started_at"] = json!(5);
    assert_eq!(
        violations(Message::Started, &started).unwrap()[0].to_string(),
        "started.started_at: expected a string, found 5 (number)"
    );
    let mut end = example(Message::End);
    end["stop_sequence_matched"] = json!(true);
    let told = violations(Message::End, &end).unwrap()[0].to_string();
    assert_eq!(told, "end.stop_sequence_matched: expected null or a string, found true (boolean)");
}

fn unknown_fields_are_legal() {
    for message in Message::ALL {
        let mut more = example(*message);
        more["x_unknown"] = json!({ "any": [1, null] });
        assert_eq!(check(*message, &more), Ok(()), "{}", message.name());
    }
}

fn names() {
    for message in Message::ALL {
        assert_eq!(Message::by_name(message.name()), Some(*message));
        let schema: Value = serde_json::from_str(message.schema()).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
    assert_eq!(Message::of_event("error"), Some(Message::ErrorEvent));
    assert_eq!(Message::of_event("trace"), None);
}
