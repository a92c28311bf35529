//! Requests of both APIs as the worker behind reads them, and its events as both APIs write them.

use serde_json::{Map, Value, json};

use crate::harness::api::Api;

/// The contract's job, in a request's words; an id for the job is drawn.
pub fn job(api: Api, body: &Value) -> Value {
    let mut job = Map::new();
    let names: [(&str, &[&str]); 9] = [
        ("prompt", &["prompt"]),
        ("max_tokens", &["n_predict", "max_tokens"]),
        ("temperature", &["temperature"]),
        ("top_p", &["top_p"]),
        ("top_k", &["top_k"]),
        ("min_p", &["min_p"]),
        ("repetition_penalty", &["repeat_penalty"]),
        ("stop", &["stop"]),
        ("seed", &["seed"]),
    ];
    job.insert("job_id".into(), uuid::Uuid::new_v4().to_string().into());
    for (field, spellings) in names {
        if let Some(value) = spellings.iter().find_map(|name| body.get(name)).filter(|value| !value.is_null()) {
            job.insert(field.into(), value.clone());
        }
    }
    // Ids are a prompt too.
    if body["prompt"].is_array() {
        let ids = job.shift_remove("prompt").unwrap_or_default();
        job.insert("prompt_ids".into(), ids);
    }
    if let (Api::Openai, Some(messages)) = (api, body["messages"].as_array()) {
        let said: Vec<&str> = messages.iter().filter_map(|message| message["content"].as_str()).collect();
        job.insert("prompt".into(), said.join("\n").into());
    }
    Value::Object(job)
}

/// One answer, as its messages name it.
pub struct Answer {
    pub api: Api,
    pub chat: bool,
    pub id: String,
    pub model: String,
    pub asked: Value,
    pub prompt_tokens: u64,
    pub created: i64,
}

/// What is known at the end.
pub struct Ending<'a> {
    /// `limit`, `eos`, `word`.
    pub reason: &'a str,
    pub word: &'a str,
    pub made: u64,
    pub milliseconds: f64,
}

impl Answer {
    fn openai(&self, choices: Value) -> Value {
        let object = if self.chat { "chat.completion.chunk" } else { "text_completion" };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    pub fn text(&self, text: &str, ids: &Value, made: u64) -> Value {
        match self.api {
            Api::Openai if self.chat => {
                self.openai(json!([{ "index": 0, "delta": { "content": text }, "finish_reason": null }]))
            }
            Api::Openai => self.openai(json!([{ "index": 0, "text": text, "finish_reason": null }])),
            _ => json!({
                "index": 0, "content": text, "tokens": ids, "stop": false, "id_slot": -1,
                "tokens_predicted": made, "tokens_evaluated": self.prompt_tokens,
            }),
        }
    }

    /// The last message, or, with the whole text, the only one.
    pub fn end(&self, ending: &Ending<'_>, text: &str, ids: &Value) -> Value {
        let timings = json!({ "predicted_n": ending.made, "predicted_ms": ending.milliseconds });
        if self.api == Api::Openai {
            let reason = if ending.reason == "limit" { "length" } else { "stop" };
            let choice = match self.chat {
                true => json!({ "index": 0, "delta": {}, "finish_reason": reason }),
                false => json!({ "index": 0, "text": text, "finish_reason": reason }),
            };
            let mut message = self.openai(json!([choice]));
            message["usage"] = json!({
                "prompt_tokens": self.prompt_tokens, "completion_tokens": ending.made,
                "total_tokens": self.prompt_tokens + ending.made,
            });
            message["timings"] = timings;
            return message;
        }
        let asked = |name: &str| self.asked[name].clone();
        json!({
            "index": 0, "content": text, "tokens": ids, "id_slot": 0, "stop": true, "model": self.model,
            "tokens_predicted": ending.made, "tokens_evaluated": self.prompt_tokens,
            "generation_settings": {
                "seed": asked("seed"), "temperature": asked("temperature"), "n_predict": asked("n_predict"),
            },
            "stop_type": ending.reason, "stopping_word": ending.word, "timings": timings,
        })
    }
}

pub fn error(status: u16, message: &str) -> Value {
    json!({ "error": { "code": status, "message": message, "type": "invalid_request_error" } })
}
