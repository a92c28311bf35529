//! A contract's job in an engine's words.

use serde_json::{Map, Value, json};

use super::Api;
use crate::harness::http::Request;

/// The contract's field, llama-server's, OpenAI's. What OpenAI's list does not have is sent under llama-server's name,
/// which other servers with that API know as well, or ignore.
const FIELDS: [(&str, &str, &str); 8] = [
    ("max_tokens", "n_predict", "max_tokens"),
    ("temperature", "temperature", "temperature"),
    ("top_p", "top_p", "top_p"),
    ("top_k", "top_k", "top_k"),
    ("min_p", "min_p", "min_p"),
    ("repetition_penalty", "repeat_penalty", "repeat_penalty"),
    ("stop", "stop", "stop"),
    ("seed", "seed", "seed"),
];

/// The penalty is over everything that a job of a case can have.
const PENALISED: u32 = 8192;

/// The same request, as the engine is sent it.
pub fn spell(api: Api, request: &Request) -> Request {
    let job = request.body_json().unwrap_or_default();
    let mut spelled = Request::post(api.path()).json(&completion(api, &job, true));
    let others = request.headers.0.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    spelled.headers.0.extend(others.cloned());
    spelled
}

/// The body that asks for what the job asks for: every sampler that the job does not name is off, nothing is remembered
/// of earlier prompts.
pub fn completion(api: Api, job: &Value, stream: bool) -> Value {
    let mut body = Map::new();
    let off = json!({ "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0 });
    body.insert("prompt".into(), job["prompt"].clone());
    for (field, llamacpp, openai) in FIELDS {
        let value = if job[field].is_null() { &off[field] } else { &job[field] };
        let name = if api == Api::Llamacpp { llamacpp } else { openai };
        if !value.is_null() {
            body.insert(name.into(), if field == "seed" { seed(value) } else { value.clone() });
        }
    }
    body.insert("stream".into(), stream.into());
    body.insert("cache_prompt".into(), false.into());
    match api {
        Api::Openai => {
            if stream {
                body.insert("stream_options".into(), json!({ "include_usage": true }));
            }
        }
        _ => {
            body.insert("return_tokens".into(), true.into());
            body.insert("repeat_last_n".into(), PENALISED.into());
            let samplers = ["penalties", "temperature", "top_k", "top_p", "min_p"]; // in the contract's order
            body.insert("samplers".into(), json!(samplers));
        }
    }
    Value::Object(body)
}

/// Engines have seeds of 32 bits, and the largest means "draw one".
fn seed(value: &Value) -> Value {
    value.as_u64().map_or_else(|| value.clone(), |seed| (seed % u64::from(u32::MAX)).into())
}
