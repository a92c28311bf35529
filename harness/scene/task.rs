//! Tasks: submitted to a chain's orchestrator, read, read again from after any event.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::job::Job;
use super::{Scene, cell};
use crate::harness::Finding;
use crate::harness::chain::rules;
use crate::harness::chain::tasks::{base_task, events};
use crate::harness::http::Request;
use crate::harness::target::SILENCE;
use crate::harness::transcript::Transcript;

/// A prediction counts as right within this much of what happened, as a share of it.
const OFF_BY: f64 = 0.5;
/// And this, whatever it predicts: two processes, two looks at the clock and a busy machine stand between.
const SLACK: Duration = Duration::from_millis(400);

impl Scene {
    /// Submits one task, and reads its stream where it is admitted.
    pub fn submit(&mut self, label: &str, changes: &[(String, String)]) -> Result<(), Finding> {
        let (model_ref, headers) = (self.chain()?.default_model().to_owned(), headers(changes));
        let mut task: Map<String, Value> = base_task(&model_ref, self.chain()?.default_engine());
        let filled = changes.iter().filter(|(name, _)| !name.starts_with("header "));
        let filled = filled.map(|(name, cell)| Ok((name.clone(), self.fill(cell)?)));
        cell::change(&mut task, &filled.collect::<Result<Vec<_>, Finding>>()?)?;
        let text = |name: &str| task.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (task_id, session_id) = (text("task_id"), text("session_id"));
        self.sessions.push((label.to_owned(), session_id));
        let add = |request: Request| headers.iter().fold(request, |all, (name, value)| all.header(name, value));
        let request = add(Request::post("/v2/tasks").json(&Value::Object(task)));
        let request = self.chain()?.authorized(request);
        self.ask_chain(&request)?;
        let admitted = Instant::now();
        if self.answer()?.status == 202 {
            let predicted = self.answer()?.json()?["predicted_start_ms"].as_u64().unwrap_or(u64::MAX);
            self.predicted.push((label.to_owned(), predicted));
            let request = add(self.chain()?.authorized(events(&task_id, None, false)));
            self.listen(label, &task_id, request, admitted)?;
        }
        Ok(())
    }

    fn listen(&mut self, label: &str, task_id: &str, request: Request, since: Instant) -> Result<(), Finding> {
        let mut job = Job::send(&self.chain()?.base(), label, task_id, request);
        job.sent = since;
        job.silence = 3 * SILENCE;
        self.jobs.push(job);
        Ok(())
    }

    /// The stream of a task from after an event, under a label of its own: `from its beginning`, `after event 3`, `after
    /// the last`; `verbosely` too.
    pub fn read_again(&mut self, label: &str, as_label: &str, from: &str, verbose: bool) -> Result<(), Finding> {
        let job = self.job(label)?;
        let task_id = job.job_id.clone();
        let last = job.frames().last().and_then(|frame| frame.id.as_deref()?.parse::<u64>().ok());
        let after = match from {
            "" | "from its beginning" => None,
            "after the last" => last,
            other => other.strip_prefix("after event ").and_then(|number| number.parse().ok()),
        };
        let request = self.chain()?.authorized(events(&task_id, after, verbose));
        self.listen(as_label, &task_id, request, Instant::now())
    }

    /// Both parts of a stream that was cut are the whole one, to the byte.
    pub fn parts_make_up(&mut self, first: &str, second: &str, whole: &str) -> Result<(), Finding> {
        let mut bytes = |label: &str| -> Result<Vec<u8>, Finding> {
            let transcript = self.transcript(label)?;
            Ok(transcript.frames.iter().flat_map(|frame| frame.raw.clone()).collect())
        };
        let joined = [bytes(first)?, bytes(second)?].concat();
        if joined == bytes(whole)? {
            return Ok(());
        }
        let transcript = self.transcript(second)?;
        let expected = format!("{first:?} and {second:?}, joined, to be {whole:?}");
        Err(transcript.evidence(Finding::fail(expected, transcript.summary())))
    }

    /// After every event, of this stream and of its verbose form.
    pub fn resumes_everywhere(&mut self, label: &str) -> Result<(), Finding> {
        let task_id = self.job(label)?.job_id.clone();
        let chain = self.chain()?;
        let (plain, verbose) = (chain.resumes_everywhere(&task_id, false)?, chain.resumes_everywhere(&task_id, true)?);
        if plain >= 5 && verbose > plain {
            return Ok(());
        }
        let found = format!("{plain} events, {verbose} in the verbose form");
        Err(Finding::fail("five events or more to resume after, and more in the verbose form", found))
    }

    /// By the rules for tasks.
    pub(super) fn obeys_task_rules(&mut self, label: &str, rule: Option<&str>) -> Result<(), Finding> {
        let transcript = self.transcript(label)?;
        match rule {
            None => rules::judge(transcript),
            Some("ids-rise") => rules::ids_rise(transcript),
            Some(rule) => transcript.judge(rule),
        }
    }

    pub(super) fn cancel_task(&mut self, task_id: &str) -> Result<(), Finding> {
        let request = Request::post(&format!("/v2/tasks/{task_id}/cancel"));
        let request = self.chain()?.authorized(request);
        self.ask_chain(&request)
    }

    /// What admission predicted, held against when the stream's `started` came.
    pub fn started_as_predicted(&mut self, label: &str) -> Result<(), Finding> {
        let predicted = self.predicted.iter().find(|(known, _)| known == label).map(|(_, predicted)| *predicted);
        let job = self.job(label)?;
        job.wait_for_event("started", super::job::PATIENCE)?;
        let (submitted, started) = (job.sent, job.arrival_of("started"));
        let took = started.unwrap_or(submitted).saturating_duration_since(submitted);
        let transcript = self.transcript(label)?;
        let told = transcript.need("started", "predicted_start_ms")?.as_u64().unwrap_or_default();
        let told_twice = predicted == Some(told);
        let predicted = Duration::from_millis(told);
        let allowed = took.mul_f64(OFF_BY) + SLACK;
        if predicted.abs_diff(took) <= allowed && told_twice {
            return Ok(());
        }
        let expected = format!("{label:?} predicted to start after {took:.1?}, give or take {allowed:.1?}");
        Err(transcript.evidence(Finding::fail(
            expected,
            format!("predicted after {predicted:.1?}, by the admission too: {told_twice}"),
        )))
    }

    pub fn ran_in_the_same_pool(&mut self, one: &str, other: &str, same: bool) -> Result<(), Finding> {
        let mut pool = |label: &str| -> Result<Value, Finding> {
            let id = self.job(label)?.job_id.clone();
            Ok(self.chain()?.get(&format!("/v2/tasks/{id}"))?["place"].clone())
        };
        let (one, other) = (pool(one)?, pool(other)?);
        let holds = one.is_object() && other.is_object() && (one == other) == same;
        let expected = if same { "the same pool" } else { "two different pools" };
        if holds { Ok(()) } else { Err(Finding::fail(expected, format!("{one} and {other}"))) }
    }

    /// The texts of these streams, all the same or all different.
    pub fn task_texts_are(&mut self, labels: &[String], equal: bool) -> Result<(), Finding> {
        let mut texts = Vec::new();
        for label in labels {
            let transcript = self.transcript(label)?;
            transcript.completed()?;
            texts.push(transcript.text());
        }
        let holds = texts.len() > 1
            && texts
                .iter()
                .enumerate()
                .all(|(index, text)| texts[..index].iter().all(|other| (other == text) == equal));
        let word = if equal { "equal" } else { "different" };
        if holds { Ok(()) } else { Err(Finding::fail(format!("{word} texts"), format!("{texts:?}"))) }
    }

    /// How much a sum over streams is: their `tokens_out`.
    pub(super) fn tokens_out_of(&mut self, labels: &[String]) -> Result<u64, Finding> {
        let mut sum = 0;
        for label in labels {
            let transcript: &Transcript = self.transcript(label)?;
            sum += transcript.need("end", "tokens_out")?.as_u64().unwrap_or_default();
        }
        Ok(sum)
    }
}

/// Rows whose name is `header NAME` are headers of the request.
fn headers(changes: &[(String, String)]) -> Vec<(String, String)> {
    let named = changes.iter().filter_map(|(name, value)| Some((name.strip_prefix("header ")?, value)));
    named.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}
