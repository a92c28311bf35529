//! An engine asked in its own words: the form of its streams, what it counts, what it refuses, and whether its slots rest
//! when their client has gone.

use std::time::Duration;

use serde_json::{Value, json};

use super::job::{Job, PATIENCE};
use super::start::Kind;
use super::{Scene, cell};
use crate::harness::api::slots::Engine;
use crate::harness::api::{self, Api, reply, rules};
use crate::harness::http::{self, Request};
use crate::harness::stream::{Caps, Opened};
use crate::harness::transcript::Transcript;
use crate::harness::{Finding, Verdict};

const PROMPT: &str = "Once upon a time";
/// Few enough that the limit ends the text.
const TOKENS: u64 = 12;
/// More than any job needs to be seen at work.
const LONG: u64 = 2000;
/// How long an abandoned slot is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// How long it took until no slot worked any more, once its client had gone.
#[derive(Default)]
pub struct Abandoned(Option<Result<Duration, Finding>>);

impl Scene {
    fn api(&self) -> Api {
        self.session.api()
    }

    /// On a model whose steps take milliseconds, or on what the engine brings.
    pub fn start_where_steps_take_time(&mut self) -> Result<(), Finding> {
        match self.start_on_model_of_milliseconds() {
            Err(finding) if finding.verdict == Verdict::Unimplemented => self.start(Kind::Any, false, &[]),
            outcome => outcome,
        }
    }

    fn greedy(&self, stream: bool) -> Value {
        let job = json!({ "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0.0, "seed": 7 });
        api::completion(self.api(), &job, stream)
    }

    fn own_request(&self, path: &str, body: &Value) -> Result<Request, Finding> {
        Ok(self.worker()?.authorized(Request::post(path).json(body)))
    }

    fn own_stream(&self, path: &str, body: &Value) -> Result<Transcript, Finding> {
        let stream = self.worker()?.open(&self.own_request(path, body)?, Caps::within(PATIENCE))?.stream()?;
        Ok(stream.finish(PATIENCE))
    }

    /// One greedy text, streamed as the API streams it.
    pub fn own_stream_obeys(&mut self, route: &str, rule: &str) -> Result<(), Finding> {
        let transcript = match route {
            "chat" => self.chat()?,
            _ => self.own_stream(self.api().path(), &self.greedy(true))?,
        };
        rules::judge(self.api(), &transcript, rule)
    }

    fn chat(&self) -> Result<Transcript, Finding> {
        let mut body = self.greedy(true);
        let message = json!([{ "role": "user", "content": PROMPT }]);
        if let Some(fields) = body.as_object_mut() {
            fields.shift_remove("prompt");
            fields.insert("messages".into(), message);
        }
        let request = self.own_request("/v1/chat/completions", &body)?;
        match self.worker()?.open(&request, Caps::within(PATIENCE))? {
            Opened::Refused(answer) if matches!(answer.status, 404 | 501) => {
                let found = format!("POST /v1/chat/completions answers {}", answer.status);
                Err(Finding::unimplemented("a server that chats", found))
            }
            opened => opened.stream().map(|stream| stream.finish(PATIENCE)),
        }
    }

    /// Asked for at once, the same text comes, with the same counts and the same reason.
    pub fn whole_answer_is_the_stream(&mut self) -> Result<(), Finding> {
        let api = self.api();
        let streamed = self.own_stream(api.path(), &self.greedy(true))?;
        let messages: Vec<Value> = streamed.frames.iter().filter_map(|frame| frame.json().ok()).collect();
        let text: String = messages.iter().map(|data| reply::text(api, data)).collect();
        let count = messages.iter().rev().find_map(|data| reply::counted(api, data));
        let reason = messages.iter().find_map(|data| reply::reason(api, data));
        let answer = self.worker()?.send(&self.own_request(api.path(), &self.greedy(false))?)?;
        let whole = answer.expect_status(200)?.json()?;
        let found = (reply::text(api, &whole), reply::counted(api, &whole), reply::reason(api, &whole));
        if !text.is_empty() && found == (text.clone(), count, reason) {
            return Ok(());
        }
        let expected = format!("{:?}, as it is streamed", (text, count, reason));
        Err(streamed.evidence(answer.evidence(Finding::fail(expected, format!("{found:?}")))))
    }

    /// The tokens of the prompt, counted by the same file's own tokenizer.
    pub fn prompt_is_counted(&mut self) -> Result<(), Finding> {
        let expected = self.reference()?.encode(PROMPT).len() as u64;
        let answer = self.worker()?.send(&self.own_request(self.api().path(), &self.greedy(false))?)?;
        let count = reply::counted(self.api(), &answer.expect_status(200)?.json()?);
        if count.is_some_and(|count| count.prompt == expected) {
            return Ok(());
        }
        Err(answer.evidence(Finding::fail(format!("{expected} tokens counted for {PROMPT:?}"), format!("{count:?}"))))
    }

    pub fn refuses_field(&mut self, field: &str, value: &str) -> Result<(), Finding> {
        let mut body = self.greedy(true);
        if let Some(fields) = body.as_object_mut() {
            let name = if field == "max_tokens" && self.api() == Api::Llamacpp { "n_predict" } else { field };
            cell::change(fields, &[(name.to_owned(), value.to_owned())])?;
        }
        self.refuses(body.to_string().into_bytes())
    }

    pub fn refuses_body(&mut self, body: &str) -> Result<(), Finding> {
        self.refuses(cell::body(body)?)
    }

    /// A prompt with a token more than the context has room for, at least.
    pub fn refuses_prompt_over_context(&mut self) -> Result<(), Finding> {
        let context = Engine::at(self.worker()?.base()).context().ok_or_else(|| {
            Finding::unimplemented("a server that says how long its context is", "neither /props nor /v1/models does")
        })?;
        let mut body = self.greedy(true);
        body["prompt"] = " w1".repeat(context as usize + 1).into();
        self.refuses(body.to_string().into_bytes())
    }

    /// A status from 400 to 499, and an error with a message; and no slot works on it.
    fn refuses(&mut self, body: Vec<u8>) -> Result<(), Finding> {
        let worker = self.worker()?;
        // A server that refuses everything refuses nothing in particular.
        worker.send(&self.own_request(self.api().path(), &self.greedy(false))?)?.expect_status(200)?;
        let request = worker.authorized(Request::post(self.api().path()).body("application/json", body));
        let answer = worker.open(&request, Caps::within(PATIENCE))?.refused()?;
        if !(400..500).contains(&answer.status) {
            let found = format!("status {}: {}", answer.status, http::excerpt(&answer.body, 160));
            return Err(answer.evidence(Finding::fail("a refusal, status 400 to 499", found)));
        }
        let told = answer.json()?["error"]["message"].as_str().is_some_and(|message| !message.is_empty());
        if !told {
            let found = http::excerpt(&answer.body, 160);
            return Err(answer.evidence(Finding::fail("an object `error` with a `message`", found)));
        }
        match Engine::at(worker.base()).wait_until(0, PATIENCE) {
            Err(finding) if finding.verdict == Verdict::Fail => Err(finding),
            _ => Ok(()),
        }
    }

    /// Begins a long answer, sees a slot work on it, and hangs up.
    pub fn abandon_answer(&mut self, streamed: bool) -> Result<(), Finding> {
        let job = json!({ "prompt": PROMPT, "max_tokens": LONG, "temperature": 0.0, "seed": 7 });
        let mut body = api::completion(self.api(), &job, streamed);
        body["ignore_eos"] = true.into();
        let request = self.own_request(self.api().path(), &body)?;
        let engine = Engine::at(self.worker()?.base());
        engine.wait_until(0, PATIENCE)?;
        let mut job = Job::send(&engine.base, "abandoned", "", request);
        let seen = engine.wait_until(1, Duration::from_secs(5));
        if streamed {
            job.wait_for_frames(2)?;
        }
        let working = engine.working()?;
        job.disconnect();
        if seen.is_err() || working == 0 {
            let found = "it was over before a client could hang up";
            return Err(Finding::unimplemented("a job that works for long enough to be abandoned", found));
        }
        self.abandoned = Abandoned(Some(engine.wait_until(0, WATCHED)));
        Ok(())
    }

    pub fn slot_rests_within(&mut self, within: Duration) -> Result<(), Finding> {
        let took = self.abandoned.0.clone().ok_or_else(|| Finding::error("an abandoned answer", "there was none"))?;
        let expected = format!("no slot that works {within:.0?} after the client has gone");
        match took {
            Ok(took) if took <= within => Ok(()),
            Ok(took) => Err(Finding::fail(expected, format!("it rested after {took:.2?}"))),
            Err(finding) => Err(Finding::fail(expected, finding.found)),
        }
    }
}
