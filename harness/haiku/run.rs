//! One haiku, asked of a worker or of an orchestrator, with everything kept that a verdict needs.

use std::time::{Duration, Instant};

use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use super::Asked;
use crate::harness::Finding;
use crate::harness::exposition::Scrape;
use crate::harness::http::{self, Base, Request};
use crate::harness::proof::checks;
use crate::harness::proof::{Facts, Form, Record, Source};
use crate::harness::stream::{Caps, Stream};
use crate::harness::target::{Worker, unique};
use crate::harness::transcript::Transcript;

/// What the haiku is asked with.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub form: Form,
    pub subject: String,
    /// Unix time where none is given.
    pub seed: Option<u64>,
    pub max_tokens: u32,
    pub temperature: f64,
    pub top_p: f64,
    /// Why the word rule does not apply.
    pub word_rule_not_applicable: Option<String>,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            form: Form::Minute,
            subject: "GPU computing".into(),
            seed: None,
            max_tokens: 100,
            temperature: 0.7,
            top_p: 0.95,
            word_rule_not_applicable: None,
        }
    }
}

/// Longer than a haiku may take, so that a slow one is judged by its time and not cut.
const PATIENCE: Duration = Duration::from_secs(45);

/// Whoever answers: how a job is sent, and what the counters say.
pub trait Chain {
    fn source(&self) -> Source;
    /// Sends the job and reads its stream to the end; also what an admission answered.
    fn ask(&self, body: &Value, correlation_id: &str) -> Result<(Transcript, Option<Value>), Finding>;
    /// The text of `/metrics`.
    fn metrics(&self) -> Result<String, Finding>;
}

impl Chain for Worker {
    fn source(&self) -> Source {
        Source::Worker
    }

    fn ask(&self, body: &Value, correlation_id: &str) -> Result<(Transcript, Option<Value>), Finding> {
        let request = self.authorized(Request::post("/execute").json(body).correlation_id(correlation_id));
        let stream = self.open(&request, Caps::within(PATIENCE))?.stream()?;
        Ok((stream.finish(PATIENCE), None))
    }

    fn metrics(&self) -> Result<String, Finding> {
        scrape(self.base())
    }
}

/// The whole chain behind an orchestrator.
#[derive(Clone, Debug)]
pub struct Orchestrator {
    pub base: Base,
    pub token: Option<String>,
    pub model_ref: String,
    pub engine: String,
}

impl Chain for Orchestrator {
    fn source(&self) -> Source {
        Source::Orchestrator
    }

    fn ask(&self, body: &Value, correlation_id: &str) -> Result<(Transcript, Option<Value>), Finding> {
        let authorized = |request: Request| match &self.token {
            Some(token) => request.bearer(token),
            None => request,
        };
        let mut task = json!({
            "task_id": identifier(), "session_id": identifier(), "workload": "completion",
            "model_ref": self.model_ref, "engine": self.engine, "ctx": 256, "priority": "interactive",
            "deadline_ms": 45_000,
        });
        if let (Some(task), Some(body)) = (task.as_object_mut(), body.as_object()) {
            task.extend(
                body.iter().filter(|(key, _)| *key != "job_id").map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        let request = authorized(Request::post("/v2/tasks").json(&task).correlation_id(correlation_id));
        let answer = http::send(&self.base, &request, PATIENCE)?;
        let admission = json!({ "status": answer.status, "headers": answer.headers.0, "body": answer.json().ok() });
        answer.expect_status(202)?;
        let path = format!("/v2/tasks/{}/events", task["task_id"].as_str().unwrap_or_default());
        let events = authorized(Request::get(&path).correlation_id(correlation_id));
        let mut transcript = Stream::open(&self.base, &events, Caps::within(PATIENCE))?.stream()?.finish(PATIENCE);
        // what was asked is the task, and that is what a bundle keeps
        transcript.request = request;
        Ok((transcript, Some(admission)))
    }

    fn metrics(&self) -> Result<String, Finding> {
        scrape(&self.base)
    }
}

fn scrape(base: &Base) -> Result<String, Finding> {
    let answer = http::send(base, &Request::get("/metrics"), Duration::from_secs(10))?;
    Ok(answer.expect_status(200)?.text())
}

/// Asks for one haiku; once more when the minute flipped before the stream started.
pub fn run(chain: &dyn Chain, wanted: &Wanted, correlation_id: &str) -> Result<Record, Finding> {
    let first = once(chain, wanted, correlation_id, false)?;
    if first.facts.minute == first.facts.minute_at_start || wanted.form == Form::Plain {
        return Ok(first);
    }
    once(chain, wanted, correlation_id, true)
}

fn once(chain: &dyn Chain, wanted: &Wanted, correlation_id: &str, retried: bool) -> Result<Record, Finding> {
    let before = chain.metrics().ok();
    let sent_at = Timestamp::now();
    let asked = Asked::new(&wanted.subject, minute(sent_at));
    let unix = u64::try_from(sent_at.as_second()).unwrap_or_default();
    let body = match wanted.form {
        Form::Minute => json!({
            "job_id": unique("haiku"), "prompt": asked.prompt(), "max_tokens": wanted.max_tokens,
            "temperature": wanted.temperature, "top_p": wanted.top_p, "seed": wanted.seed.unwrap_or(unix),
        }),
        Form::Plain => json!({
            "job_id": unique("haiku"), "prompt": format!("Write a haiku about {}", wanted.subject), "max_tokens": 50,
            "temperature": 0.7, "seed": 42,
        }),
    };
    let (transcript, admission) = chain.ask(&body, correlation_id)?;
    let after = settled(chain, before.as_deref(), &transcript);
    let started = transcript.events("started").next().map(|frame| frame.at).unwrap_or_default();
    let minute_at_start = minute(sent_at + Span::try_from(started).unwrap_or_default());
    // The plain form is asked for twice, outside what the counters are held against.
    let second_text = match wanted.form {
        Form::Minute => None,
        Form::Plain => {
            let mut again = body;
            again["job_id"] = unique("haiku").into();
            Some(chain.ask(&again, correlation_id)?.0.text())
        }
    };
    let facts = Facts {
        source: chain.source(),
        form: wanted.form,
        subject: wanted.subject.clone(),
        minute: asked.minute,
        minute_at_start,
        nonce: asked.nonce,
        sent_at: sent_at.to_string(),
        retried,
        second_text,
        word_rule_not_applicable: wanted.word_rule_not_applicable.clone(),
    };
    Ok(Record { facts, transcript, admission, metrics: before.zip(after) })
}

/// The counters after the run. They may follow the stream's end by a moment: asked again until they have, or time is up.
pub fn settled(chain: &dyn Chain, before: Option<&str>, transcript: &Transcript) -> Option<String> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let after = chain.metrics().ok()?;
        let scrapes = before.and_then(|before| Some((Scrape::parse(before).ok()?, Scrape::parse(&after).ok()?)));
        let name = checks::tokens_counter(chain.source());
        let risen = scrapes.map(|(before, after)| after.sum(name) - before.sum(name));
        let told = transcript.tokens_out().map(|out| out as f64);
        if risen.is_none() || risen >= told || Instant::now() >= until {
            return Some(after);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn minute(at: Timestamp) -> u8 {
    u8::try_from(at.as_second().rem_euclid(3600) / 60).unwrap_or_default()
}

fn identifier() -> String {
    uuid::Uuid::new_v4().to_string()
}
