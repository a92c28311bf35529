//! A stream with a mistake in it, frame by frame.

use serde_json::{Value, json};

use super::mistakes::Slip;
use crate::harness::sse::Frame;

pub fn add(body: &mut Value, name: &str, more: u64) {
    if let Some(number) = body.get(name).and_then(Value::as_u64) {
        body[name] = (number + more).into();
    }
}

/// How far a stream is, for the mistakes that are made once in it.
#[derive(Default)]
pub struct Edits {
    tokens: u64,
    last_id: String,
    /// Written later, or at the end.
    pub held: String,
}

impl Edits {
    pub fn frame(&mut self, slip: Slip, frame: &Frame) -> String {
        let name = frame.name().to_owned();
        let mut data = frame.json().unwrap_or_default();
        let mut id = frame.id.clone().unwrap_or_default();
        self.tokens += u64::from(name == "token");
        let third = name == "token" && self.tokens == 3;
        let code = data["code"].as_str().unwrap_or_default().to_owned();
        let mut drop_field = |event: &str, field: &str| {
            if let (true, Value::Object(data)) = (name == event, &mut data) {
                data.remove(field);
            }
        };
        match slip {
            Slip::FrameDropped if third => return String::new(),
            Slip::StartedMissing if name == "started" => return String::new(),
            Slip::EndMissing if name == "end" => return String::new(),
            Slip::GoneIsSilent if code == "NOT_RESUMABLE" => return String::new(),
            Slip::IdRepeated if third => id.clone_from(&self.last_id),
            Slip::IndexFromOne => add(&mut data, "i", 1),
            Slip::TokenRenamed if name == "token" => {
                data = json!({ "text": data["t"], "i": data["i"] });
            }
            Slip::StartedWithoutPosition => drop_field("started", "queue_position"),
            Slip::EndWithoutSeed => drop_field("end", "seed"),
            Slip::EndWithoutDecodeMs => drop_field("end", "decode_ms"),
            Slip::ErrorWithoutRetriable => drop_field("error", "retriable"),
            Slip::TokensOutInflated => add(&mut data, "tokens_out", u64::from(name == "end")),
            Slip::RewriteNotFollowed if name == "token" => {
                data["t"] = data["t"].as_str().unwrap_or_default().replace("two", "one").into();
            }
            Slip::StepsNeverDone if name == "metrics" => {
                for step in data["prep"].as_object_mut().into_iter().flat_map(|prep| prep.values_mut()) {
                    step["status"] = "running".into();
                }
            }
            Slip::DropSaidCancelled if code == "QUEUE_FULL_DROP_LRU" => data["code"] = "CANCELLED".into(),
            Slip::BudgetSaidDeadline if code == "BUDGET_EXCEEDED" => data["code"] = "DEADLINE_UNMET".into(),
            Slip::TimeoutSaidInternal if code == "DECODE_TIMEOUT" => data["code"] = "INTERNAL".into(),
            Slip::AbsentSaidInternal if code == "MODEL_NOT_AVAILABLE" => data["code"] = "INTERNAL".into(),
            Slip::ResetSaidInternal if code == "WORKER_RESET" => {
                data["code"] = "INTERNAL".into();
                data["retriable"] = false.into();
            }
            _ => {}
        }
        self.last_id.clone_from(&id);
        let id_line = if slip == Slip::IdMissing { String::new() } else { format!("id: {id}\n") };
        let mut text = format!("{id_line}event: {name}\ndata: {data}\n\n");
        let cancelled = name == "error" && data["code"] == "CANCELLED";
        let next_id = id.parse::<u64>().unwrap_or(0) + 1;
        match slip {
            Slip::EndTwice if name == "end" => text.push_str(&text.replacen(&id, &next_id.to_string(), 1)),
            Slip::TokenAfterCancel if cancelled => {
                let i = self.tokens;
                text.push_str(&format!("id: {next_id}\nevent: token\ndata: {{\"t\":\"more\",\"i\":{i}}}\n\n"));
            }
            Slip::CancelledWithEnd if cancelled => {
                let end = json!({
                    "tokens_out": self.tokens, "decode_ms": 1, "decode_time_ms": 1, "stop_reason": "EOS",
                    "stop_sequence_matched": null, "seed": 1,
                });
                return format!("id: {id}\nevent: end\ndata: {end}\n\n");
            }
            Slip::FramesSwapped if third => {
                self.held = text;
                return String::new();
            }
            Slip::FramesSwapped if !self.held.is_empty() => text.push_str(&std::mem::take(&mut self.held)),
            Slip::Burst => {
                self.held.push_str(&text);
                return String::new();
            }
            _ => {}
        }
        text
    }
}
