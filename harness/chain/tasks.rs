//! A client of an orchestrator, as the API describes it: a task is submitted, its stream is read, from its beginning or
//! from after an event.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Chain, PATIENCE};
use crate::harness::Finding;
use crate::harness::http::{Answer, Request};
use crate::harness::stream::{Caps, Stream};
use crate::harness::transcript::Transcript;

/// A task that every chain takes: short, and its own.
pub fn base_task(model_ref: &str, engine: &str) -> Map<String, Value> {
    let Value::Object(task) = json!({
        "task_id": Uuid::new_v4(), "session_id": Uuid::new_v4(), "workload": "completion", "model_ref": model_ref,
        "engine": engine, "ctx": 64, "priority": "interactive", "prompt": "Once upon a time", "max_tokens": 8,
        "deadline_ms": 60_000, "seed": 7,
    }) else {
        unreachable!("an object is written above")
    };
    task
}

/// Where a task's stream is, and from where on it is wanted.
pub fn events(task_id: &str, after: Option<u64>, verbose: bool) -> Request {
    let query = if verbose { "?verbose=true" } else { "" };
    let request = Request::get(&format!("/v2/tasks/{task_id}/events{query}"));
    match after {
        Some(id) => request.header("Last-Event-ID", &id.to_string()),
        None => request,
    }
}

impl Chain {
    pub fn submit(&self, task: &Map<String, Value>) -> Result<Answer, Finding> {
        self.send(&self.authorized(Request::post("/v2/tasks").json(&Value::Object(task.clone()))))
    }

    /// A stream from after an event to its end.
    pub fn read(&self, task_id: &str, after: Option<u64>, verbose: bool) -> Result<Transcript, Finding> {
        let request = self.authorized(events(task_id, after, verbose));
        let opened = Stream::open(&self.base(), &request, Caps::within(PATIENCE));
        Ok(opened.map_err(|error| self.evidence(error.into()))?.stream()?.finish(PATIENCE))
    }

    /// The bytes of each frame that a client could be missing after each event, held against those of the whole stream:
    /// what came before and what comes after a resume make up the stream, to the byte.
    pub fn resumes_everywhere(&self, task_id: &str, verbose: bool) -> Result<usize, Finding> {
        let whole = self.read(task_id, None, verbose)?;
        let bytes: Vec<&[u8]> = whole.frames.iter().map(|frame| frame.raw.as_slice()).collect();
        for (index, frame) in whole.frames.iter().enumerate() {
            let id = frame.id.as_deref().and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| whole.evidence(Finding::fail("a number as the id of each event", "another")))?;
            let rest = self.read(task_id, Some(id), verbose)?;
            let joined: Vec<&[u8]> =
                bytes[..=index].iter().copied().chain(rest.frames.iter().map(|frame| frame.raw.as_slice())).collect();
            if joined != bytes {
                let expected =
                    format!("after event {id}, exactly the {} events that follow it", bytes.len() - index - 1);
                return Err(rest.evidence(Finding::fail(expected, rest.summary())));
            }
        }
        Ok(bytes.len())
    }
}
