//! An engine's stream as the contract's events. Only what the engine said is said: the text of each of its events, with
//! its ids where it sends them, and at the end what it told of counts, time and reason. There is no `started`, since
//! nothing of the kind came.

use serde_json::{Map, Value, json};

use super::{Api, reply};
use crate::harness::sse::Frame;

#[derive(Debug)]
pub struct Translator {
    api: Api,
    /// Whether the job named stop sequences: an engine that calls every end "stop" does not say which it was.
    has_stops: bool,
    next: u64,
    ids: Vec<Value>,
    /// What is known of the end so far.
    end: Map<String, Value>,
}

impl Translator {
    pub fn new(api: Api, job: &Value) -> Translator {
        let has_stops = job["stop"].as_array().is_some_and(|stops| !stops.is_empty());
        Translator { api, has_stops, next: 0, ids: Vec::new(), end: Map::new() }
    }

    /// The events that one frame stands for: none, one, or a token and the end.
    pub fn read(&mut self, frame: &Frame) -> Vec<Frame> {
        if frame.data.trim() == reply::DONE {
            let end = Value::Object(std::mem::take(&mut self.end));
            return if self.api == Api::Openai { vec![event(frame, "end", &end)] } else { Vec::new() };
        }
        let Ok(data) = frame.json() else { return vec![frame.clone()] };
        if let Some(error) = data.get("error").filter(|error| !error.is_null()) {
            let data = json!({ "code": "INTERNAL", "message": error["message"], "retriable": false });
            return vec![event(frame, "error", &data)];
        }
        let mut events = Vec::new();
        self.ids.extend(data["tokens"].as_array().into_iter().flatten().cloned());
        let text = reply::text(self.api, &data);
        if !text.is_empty() {
            let mut token = json!({ "t": text, "i": self.next });
            if self.api == Api::Llamacpp {
                token["ids"] = std::mem::take(&mut self.ids).into();
            }
            self.next += 1;
            events.push(event(frame, "token", &token));
        }
        self.learn(&data);
        if self.api == Api::Llamacpp && data["stop"] == true {
            let end = Value::Object(std::mem::take(&mut self.end));
            events.push(event(frame, "end", &end));
        }
        events
    }

    fn learn(&mut self, data: &Value) {
        let mut know = |name: &str, value: Option<Value>| {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                self.end.insert(name.into(), value);
            }
        };
        know("tokens_out", reply::counted(self.api, data).map(|count| count.made.into()));
        know("decode_time_ms", data["timings"]["predicted_ms"].as_f64().map(|time| (time.round() as u64).into()));
        let word = |word: &str| Some(Value::from(word));
        let reason = match (reply::reason(self.api, data), self.has_stops) {
            (Some("limit" | "length"), _) => word("MAX_TOKENS"),
            (Some("eos"), _) | (Some("stop"), false) => word("EOS"),
            (Some("word"), _) => word("STOP_SEQUENCE"),
            _ => None,
        };
        know("stop_reason", reason);
        if self.api == Api::Llamacpp {
            know("seed", data["generation_settings"].get("seed").cloned());
            let matched = data["stopping_word"].as_str().filter(|word| !word.is_empty());
            know("stop_sequence_matched", matched.map(Value::from));
        }
    }
}

fn event(frame: &Frame, name: &str, data: &Value) -> Frame {
    Frame { event: Some(name.into()), data: data.to_string(), ..frame.clone() }
}
