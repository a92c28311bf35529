//! Single requests, and what their answers must be.

use serde_json::Value;
use uuid::Uuid;

use super::chain::OTHER_TOKEN;
use super::job::PATIENCE;
use super::{Scene, cell};
use crate::harness::Finding;
use crate::harness::contract::{self, Message};
use crate::harness::http::{Answer, Request};
use crate::harness::session::API_TOKEN;
use crate::harness::stream::{Caps, Opened};
use crate::harness::target::unique;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Credentials {
    None,
    Wrong,
    Half,
    Longer,
    /// The one that clients show, and another good one.
    Right,
    Other,
}

impl Credentials {
    pub fn of(words: &str) -> Option<Credentials> {
        match words {
            "no token" => Some(Credentials::None),
            "a wrong token" => Some(Credentials::Wrong),
            "half the token" => Some(Credentials::Half),
            "the token and more" => Some(Credentials::Longer),
            "the token" => Some(Credentials::Right),
            "the other token" => Some(Credentials::Other),
            _ => None,
        }
    }
}

impl Scene {
    pub fn ask(&mut self, method: &str, path: &str) -> Result<(), Finding> {
        let path = self.fill(path)?;
        let request = Request::new(method, &path);
        let request = if self.has_chain() { self.chain()?.authorized(request) } else { request };
        self.send(&request).map(drop)
    }

    pub fn ask_with(&mut self, method: &str, path: &str, credentials: Credentials) -> Result<(), Finding> {
        let request = Request::new(method, path);
        let request = match method {
            "POST" => request.json(&Value::Object(cell::base_job(&unique("job")))),
            _ => request,
        };
        // One id for all, so that answers that repeat it can be compared.
        let request = request.correlation_id("the-same-for-all");
        let request = match credentials {
            Credentials::None => request,
            Credentials::Wrong => request.bearer(&API_TOKEN.chars().rev().collect::<String>()),
            Credentials::Half => request.bearer(&API_TOKEN[..API_TOKEN.len() / 2]),
            Credentials::Longer => request.bearer(&format!("{API_TOKEN}0")),
            Credentials::Right => request.bearer(API_TOKEN),
            Credentials::Other => request.bearer(OTHER_TOKEN),
        };
        self.send(&request).map(drop)
    }

    pub fn post(&mut self, body: &str, path: &str, header: Option<(String, String)>) -> Result<(), Finding> {
        let body = self.fill(body)?;
        let path = self.fill(path)?;
        let mut request = Request::post(&path).body("application/json", cell::body(&body)?);
        if let Some((name, value)) = header {
            request = request.header(&name, &value);
        }
        self.send_authorized(request)
    }

    /// A job whose content type is another; a stream that is opened all the same is hung up on.
    pub fn send_as(&mut self, content_type: &str) -> Result<(), Finding> {
        let body = Value::Object(cell::base_job(&unique("job"))).to_string();
        self.send_authorized(Request::post("/execute").body(content_type, body))
    }

    /// Sends a request that may be answered with a stream: only its head is of interest then.
    fn send_authorized(&mut self, request: Request) -> Result<(), Finding> {
        if self.has_chain() {
            let request = self.chain()?.authorized(request);
            return self.send(&request).map(drop);
        }
        let worker = self.worker()?.clone();
        let request = worker.authorized(request);
        let answer = match worker.open(&request, Caps::within(PATIENCE))? {
            Opened::Refused(answer) => answer,
            Opened::Stream(stream) => Answer::of_stream(&stream.close(), worker.base()),
        };
        self.answers.push(answer);
        Ok(())
    }

    /// One of these two, which may be the same.
    pub fn answer_is(&mut self, either: [u16; 2], code: Option<&str>) -> Result<(), Finding> {
        let answer = self.latest_answer()?;
        let [status, other] = either;
        let or = if status == other { String::new() } else { format!(" or {other}") };
        let with_code = code.map(|code| format!(" with the code {code}")).unwrap_or_default();
        let expected = format!("status {status}{or}{with_code}");
        if !either.contains(&answer.status) {
            let accepted = if answer.status < 300 && status >= 400 { ": the request was accepted" } else { "" };
            let found = format!("status {}{accepted}", answer.status);
            return Err(answer.evidence(Finding::fail(expected, found)));
        }
        let Some(code) = code else { return Ok(()) };
        let body = answer.json().map_err(|finding| Finding { expected: format!("{expected}, in JSON"), ..finding })?;
        let body = unwrapped(&body);
        if body["code"] == code {
            return Ok(());
        }
        Err(answer
            .evidence(Finding::fail(expected, format!("status {} with the code {}", answer.status, body["code"]))))
    }

    /// The answer to the last request, be it a single one or a job's.
    fn latest_answer(&mut self) -> Result<Answer, Finding> {
        if self.answers.is_empty()
            && let Some(worker) = &self.worker
            && let Some(job) = self.jobs.last_mut()
        {
            let base = worker.base().clone();
            return match job.refused(PATIENCE) {
                Some(answer) => Ok(answer.clone()),
                None => Ok(Answer::of_stream(job.transcript(PATIENCE)?, &base)),
            };
        }
        self.answer().cloned()
    }

    pub fn answer_is_json(&mut self) -> Result<(), Finding> {
        let answer = self.answer()?;
        answer.json()?;
        if answer.content_type() == "application/json" {
            return Ok(());
        }
        let found = format!("{:?}", answer.content_type());
        Err(answer.evidence(Finding::fail("the content type application/json", found)))
    }

    pub fn answer_matches(&mut self, message: &str) -> Result<(), Finding> {
        let answer = self.latest_answer()?;
        let checked = contract::check(message_called(message)?, &answer.json()?);
        checked.map_err(|finding| answer.evidence(finding))
    }

    fn field(&self, field: &str) -> Result<(Value, &Answer), Finding> {
        let answer = self.answer()?;
        match answer.json()?.get(field) {
            Some(value) => Ok((value.clone(), answer)),
            None => Err(answer.evidence(Finding::fail(format!("a field {field:?}"), "an answer without it"))),
        }
    }

    /// `text`, or where that is empty, `other`: a number, true, false or null.
    pub fn field_is(&mut self, field: &str, text: &str, other: &str) -> Result<(), Finding> {
        let wanted = if other.is_empty() {
            Value::from(text)
        } else {
            serde_json::from_str(other).map_err(|error| Finding::error("a JSON value", error.to_string()))?
        };
        let (found, answer) = self.field(field)?;
        if found == wanted {
            return Ok(());
        }
        Err(answer.evidence(Finding::fail(format!("{field}: {wanted}"), format!("{field}: {found}"))))
    }

    pub fn field_is_above(&mut self, field: &str, least: u64) -> Result<(), Finding> {
        let (found, answer) = self.field(field)?;
        if found.as_f64().is_some_and(|found| found > least as f64) {
            return Ok(());
        }
        Err(answer.evidence(Finding::fail(format!("{field}: more than {least}"), format!("{field}: {found}"))))
    }

    pub fn field_is_worker_id(&mut self, field: &str) -> Result<(), Finding> {
        let Some(id) = self.worker()?.worker_id().map(str::to_owned) else {
            let found = "the worker was given as a URL: nobody knows what it was started with";
            return Err(Finding::unimplemented("a worker whose id the harness chose", found));
        };
        self.field_is(field, &id, "")
    }

    pub fn header_is(&mut self, name: &str, text: &str, kind: &str) -> Result<(), Finding> {
        let answer = self.latest_answer()?;
        let found = answer.header(name).unwrap_or_default().to_owned();
        let (holds, expected) = match kind {
            "fresh UUID" => {
                (Uuid::try_parse(&found).is_ok_and(|id| id.get_version_num() == 4), "a fresh UUIDv4".into())
            }
            "time to come back" => {
                let date = jiff::fmt::rfc2822::parse(&found).is_ok();
                (date || found.parse::<u32>().is_ok(), "a whole number of seconds, or a date".into())
            }
            _ => (found == text, format!("{text:?}")),
        };
        if holds {
            return Ok(());
        }
        let found = if answer.header(name).is_none() { "no such header".into() } else { format!("{found:?}") };
        Err(answer.evidence(Finding::fail(format!("the header {name}: {expected}"), found)))
    }

    /// The same header of each job's answer, every time another value.
    pub fn header_differs(&mut self, name: &str) -> Result<(), Finding> {
        let mut values: Vec<String> = Vec::new();
        for job in &mut self.jobs {
            let transcript = job.transcript(PATIENCE)?;
            let value = transcript.headers.get(name).unwrap_or_default().to_owned();
            if values.contains(&value) {
                let finding = Finding::fail(format!("another {name} for each request"), format!("{value:?} twice"));
                return Err(transcript.evidence(finding));
            }
            values.push(value);
        }
        Ok(())
    }

    /// A prompt of allowed length and of more tokens than the context: each rare character is one at least.
    pub fn send_beyond_context(&mut self) -> Result<(), Finding> {
        const CHARACTERS: usize = 16_384;
        let context = self.worker()?.health()?["context_length"].as_u64().unwrap_or(u64::MAX);
        if context >= CHARACTERS as u64 {
            let found = format!("a context of {context} tokens may hold every prompt of 32768 characters");
            return Err(Finding::unimplemented("a prompt that the context can't hold", found));
        }
        let mut job = cell::base_job(&unique("too-much"));
        job.insert("prompt".into(), "𠮷 ".repeat(CHARACTERS).into());
        self.send_authorized(Request::post("/execute").json(&Value::Object(job)))
    }

    /// The fields of a 400, in any order; `stop[2]` counts as `stop`.
    fn listed(&mut self) -> Result<(Vec<(String, String)>, Answer), Finding> {
        let answer = self.latest_answer()?;
        let body = answer.json()?;
        let body = unwrapped(&body);
        let Some(errors) = body["errors"].as_array().or_else(|| body["details"]["errors"].as_array()) else {
            return Err(answer.evidence(Finding::fail("a list \"errors\"", format!("{}", body["errors"]))));
        };
        let text = |error: &Value, key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let field = |error: &Value| text(error, "field").split(['[', '.']).next().unwrap_or_default().to_owned();
        let told = |error: &Value| format!("{} {}", text(error, "constraint"), text(error, "message"));
        Ok((errors.iter().map(|error| (field(error), told(error))).collect(), answer))
    }

    pub fn lists_exactly(&mut self, fields: &[String]) -> Result<(), Finding> {
        let (listed, answer) = self.listed()?;
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names.dedup();
            names
        };
        let (wanted, found) = (sorted(fields.to_vec()), sorted(listed.into_iter().map(|(field, _)| field).collect()));
        if wanted == found {
            return Ok(());
        }
        let expected = format!("failures listed for exactly: {}", wanted.join(", "));
        Err(answer.evidence(Finding::fail(expected, format!("failures listed for: {}", found.join(", ")))))
    }

    /// The whole of a long prompt may be refused for the model's context, and for nothing else.
    pub fn lists_no_length_of(&mut self, field: &str) -> Result<(), Finding> {
        let answer = self.latest_answer()?;
        if answer.status == 200 {
            return Ok(());
        }
        let (listed, answer) = self.listed()?;
        match listed.iter().find(|(name, told)| name == field && !told.contains("context")) {
            None if answer.status == 400 => Ok(()),
            None => Err(answer.evidence(Finding::fail("status 200 or 400", format!("status {}", answer.status)))),
            Some((_, told)) => {
                let expected = "a prompt of 32768 characters accepted, or refused for the model's context alone";
                Err(answer.evidence(Finding::fail(expected, format!("refused: {told}"))))
            }
        }
    }

    pub fn answer_lacks(&mut self, text: &str) -> Result<(), Finding> {
        let answer = self.latest_answer()?;
        if !answer.text().contains(text) {
            return Ok(());
        }
        Err(answer.evidence(Finding::fail(format!("an answer without {text:?}"), "an answer that repeats it")))
    }

    pub fn last_answers_are_alike(&mut self) -> Result<(), Finding> {
        let [.., first, second] = &self.answers[..] else {
            return Err(Finding::error("two answers to compare", format!("{}", self.answers.len())));
        };
        if first.body == second.body && first.status == second.status {
            return Ok(());
        }
        let found = format!("{} {} and {} {}", first.status, first.text(), second.status, second.text());
        Err(second.evidence(Finding::fail("the same status and body for a missing and a wrong token", found)))
    }
}

/// A worker's refusal is flat, and an orchestrator's is in an envelope.
fn unwrapped(body: &Value) -> &Value {
    body.get("error").filter(|inner| inner.is_object()).unwrap_or(body)
}

pub(super) fn message_called(name: &str) -> Result<Message, Finding> {
    Message::by_name(name).ok_or_else(|| Finding::error("a message of the contract", format!("{name:?}")))
}
