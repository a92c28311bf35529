//! One haiku run as it happened: what was asked, what came and when, and what the counters said before and after.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::exposition::Scrape;
use crate::harness::http::{Base, Headers, Request};
use crate::harness::sse::{Frame, Problem, ProblemKind};
use crate::harness::transcript::{End, Transcript};

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Worker,
    Orchestrator,
}

/// Which haiku was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// With the minute's word and a nonce.
    Minute,
    /// The M0 form: fifty tokens, seed 42, no word.
    Plain,
}

/// What no file of the wire shows, and the verdicts need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub source: Source,
    pub form: Form,
    pub subject: String,
    /// The UTC minute when the request was sent, and when the stream started.
    pub minute: u8,
    pub minute_at_start: u8,
    pub nonce: String,
    /// RFC 3339, when the request was sent.
    pub sent_at: String,
    /// The minute flipped before the stream started, and it was asked once more.
    pub retried: bool,
    /// The text of the second run, where two must be equal.
    pub second_text: Option<String>,
    /// Why the word rule does not apply to this model, where it does not.
    pub word_rule_not_applicable: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub facts: Facts,
    pub transcript: Transcript,
    /// Admission by an orchestrator: status, headers and body.
    pub admission: Option<Value>,
    /// The text of the two scrapes; none where the metrics could not be read.
    pub metrics: Option<(String, String)>,
}

impl Record {
    /// The body as it was sent.
    pub fn request(&self) -> Value {
        self.transcript.request.body_json().unwrap_or_default()
    }

    pub fn scrapes(&self) -> Option<(Scrape, Scrape)> {
        let (before, after) = self.metrics.as_ref()?;
        Some((Scrape::parse(before).ok()?, Scrape::parse(after).ok()?))
    }

    /// The stream as lines: how it began and ended, then each frame.
    pub fn stream_lines(&self) -> Vec<Value> {
        let Transcript { status, headers, head_at, problems, end, ended_at, frames, .. } = &self.transcript;
        let problems: Vec<Value> = problems
            .iter()
            .map(|problem| json!({ "kind": format!("{:?}", problem.kind), "offset": problem.offset, "detail": problem.detail }))
            .collect();
        let meta = json!({
            "_meta": "proof_bundle", "status": status, "headers": headers.0, "head_at_ms": milliseconds(*head_at),
            "end": end.to_string(), "ended_at_ms": milliseconds(*ended_at), "problems": problems,
        });
        let frames = frames.iter().map(|frame| {
            let data = serde_json::from_str(&frame.data).unwrap_or_else(|_| Value::from(frame.data.as_str()));
            json!({ "event": frame.event, "data": data, "ts": milliseconds(frame.at) })
        });
        std::iter::once(meta).chain(frames).collect()
    }

    /// What a transcript was, from those lines and the request.
    pub fn read_stream(request: &Value, lines: &[Value]) -> Result<Transcript, String> {
        let meta =
            lines.first().filter(|line| line["_meta"] == "proof_bundle").ok_or("the first record is no _meta")?;
        let time = |value: &Value| {
            value.as_f64().filter(|ms| (0.0..1e12).contains(ms)).map(|ms| Duration::from_secs_f64(ms / 1000.0))
        };
        let status = meta["status"].as_u64().and_then(|status| u16::try_from(status).ok()).ok_or("_meta.status")?;
        let headers: Vec<(String, String)> =
            serde_json::from_value(meta["headers"].clone()).map_err(|_| "_meta.headers")?;
        let mut frames = Vec::new();
        for (number, line) in lines.iter().enumerate().skip(1) {
            let at = time(&line["ts"]).ok_or_else(|| format!("record {number}: ts"))?;
            let event = line["event"].as_str().map(str::to_owned);
            let data = match &line["data"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let raw = format!("event: {}\ndata: {data}\n\n", event.as_deref().unwrap_or_default()).into_bytes();
            frames.push(Frame {
                event,
                data,
                data_lines: 1,
                id: None,
                retry: None,
                unknown: Vec::new(),
                at,
                offset: 0,
                raw,
            });
        }
        let problems =
            meta["problems"].as_array().ok_or("_meta.problems")?.iter().map(problem).collect::<Result<_, _>>()?;
        let end = match meta["end"].as_str().ok_or("_meta.end")? {
            "closed" => End::Closed,
            other => End::Broken(other.to_owned()),
        };
        Ok(Transcript {
            base: Base::local(0),
            request: Request::post("/execute").json(request),
            status,
            headers: Headers(headers),
            head_at: time(&meta["head_at_ms"]).ok_or("_meta.head_at_ms")?,
            frames,
            comments: Vec::new(),
            problems,
            end,
            ended_at: time(&meta["ended_at_ms"]).ok_or("_meta.ended_at_ms")?,
        })
    }
}

/// To the microsecond: what is written is what is judged.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn problem(value: &Value) -> Result<Problem, String> {
    use ProblemKind::*;
    let kinds = [InvalidUtf8, NoEvent, NoData, Incomplete, LineTooLong, NulInId, RetryNotANumber, RepeatedEvent];
    let kind = kinds.into_iter().find(|kind| value["kind"] == format!("{kind:?}"));
    let detail = value["detail"].as_str().unwrap_or_default().to_owned();
    Ok(Problem {
        kind: kind.ok_or("_meta.problems: an unknown kind")?,
        offset: value["offset"].as_u64().unwrap_or_default(),
        detail,
    })
}
