//! What must hold for the stream of a task, whoever wrote it: most of a worker's rules, and those that an orchestrator
//! adds.

use crate::harness::Finding;
use crate::harness::contract::{self, Message};
use crate::harness::sse::Frame;
use crate::harness::transcript::{Transcript, is_terminal};

/// Of a worker's stream; the same hold here.
const SHARED: &[&str] = &[
    "content-type",
    "content-encoding",
    "correlation-id",
    "utf8",
    "event-line",
    "line-length",
    "one-line-data",
    "json-data",
    "frame-complete",
    "clean-end",
    "started-first",
    "started-once",
    "no-token-after-terminal",
    "terminal-last",
    "terminal-once",
    "token-text",
    "token-fields",
    "token-index",
    "tokens-out-count",
];

/// Holds when the stream, read from its beginning to its end, breaks no rule.
pub fn judge(transcript: &Transcript) -> Result<(), Finding> {
    SHARED.iter().try_for_each(|rule| transcript.judge(rule))?;
    ids_rise(transcript)?;
    steps_first(transcript)?;
    fields(transcript)
}

/// What has to be done before the task can run is done before its first token, as far as the stream tells of it.
fn steps_first(transcript: &Transcript) -> Result<(), Finding> {
    let mut open = Vec::new();
    for frame in &transcript.frames {
        let data = frame.json().unwrap_or_default();
        match (frame.name(), data["prep"].as_object()) {
            ("metrics", Some(steps)) => {
                let left = steps.iter().filter(|(_, step)| step["status"] != "completed");
                open = left.map(|(id, step)| format!("{id}: {}", step["status"])).collect();
            }
            ("token", _) if !open.is_empty() => {
                let found = format!("a token after {}", open.join(", "));
                return Err(transcript.evidence(Finding::fail("every step completed before the first token", found)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Each event has an id, a number, and each id is above the one before.
pub fn ids_rise(transcript: &Transcript) -> Result<(), Finding> {
    let mut last = 0;
    for frame in &transcript.frames {
        let id = frame.id.as_deref().and_then(|id| id.parse::<u64>().ok());
        match id {
            Some(id) if id > last => last = id,
            _ => {
                let found = format!("the id {:?} after {last}", frame.id.as_deref().unwrap_or("(none)"));
                return Err(transcript.evidence(Finding::fail("an id on each event, above the one before", found)));
            }
        }
    }
    Ok(())
}

fn message(frame: &Frame) -> Option<Message> {
    Some(match frame.name() {
        "started" => Message::TaskStarted,
        "token" => Message::Token,
        "metrics" => Message::TaskMetrics,
        "end" => Message::TaskEnd,
        "error" => Message::TaskError,
        _ => return None,
    })
}

/// Each event's data is as the contract has it, and no event is there that it does not know.
fn fields(transcript: &Transcript) -> Result<(), Finding> {
    for frame in &transcript.frames {
        let unknown = || Finding::fail("started, token, metrics, end or error", format!("{:?}", frame.name()));
        let message = message(frame).ok_or_else(|| transcript.evidence(unknown()))?;
        contract::check(message, &frame.json().unwrap_or_default()).map_err(|finding| transcript.evidence(finding))?;
    }
    Ok(())
}

/// The last event, where it is an ending.
pub fn ending(transcript: &Transcript) -> Option<&Frame> {
    transcript.frames.last().filter(|frame| is_terminal(frame))
}
