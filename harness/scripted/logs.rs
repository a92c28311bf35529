//! The log: flat JSON lines on stdout. No prompt and no generated text is in it, only lengths and digests.

use std::io::Write;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::mistakes::Slip;
use super::options::Script;

pub struct Log {
    pub worker_id: String,
    pub model_ref: String,
    pub script: Script,
}

impl Log {
    pub fn info(&self, event: &str, message: &str, extra: Value) {
        self.line("INFO", event, message, extra);
    }

    pub fn error(&self, message: &str, extra: Value) {
        self.line("ERROR", "error", message, extra);
    }

    fn line(&self, level: &str, event: &str, message: &str, extra: Value) {
        let mut keys = Map::new();
        keys.insert("event".into(), json!(event));
        keys.insert("worker_id".into(), json!(self.worker_id));
        keys.insert("model_ref".into(), json!(self.model_ref));
        if let Value::Object(extra) = extra {
            keys.extend(extra);
        }
        if self.script.plays(Slip::CorrelationNotLogged) {
            keys.remove("correlation_id");
        }
        let timestamp = jiff::Timestamp::now().to_string();
        let mut line = json!({"timestamp": timestamp, "level": level, "message": message});
        let text = match self.script.mistake {
            Some(Slip::LogNotJson) => keys
                .iter()
                .fold(format!("{timestamp} {level} {message}"), |text, (key, value)| format!("{text} {key}={value}")),
            Some(Slip::LogNested) => {
                line["fields"] = Value::Object(keys);
                line.to_string()
            }
            _ => {
                line.as_object_mut().into_iter().for_each(|line| line.append(&mut keys));
                line.to_string()
            }
        };
        // Whoever stopped reading the log does not stop the worker.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}

/// What a log may say about a text: how long it is, and its digest.
pub fn fingerprint(name: &str, text: &str) -> [(String, Value); 2] {
    let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    [(format!("{name}_characters"), json!(text.chars().count())), (format!("{name}_sha256"), json!(digest))]
}
