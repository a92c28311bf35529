//! What the worker has written to its output.

use std::time::Duration;

use super::calls::message_called;
use super::chain::OTHER_TOKEN;
use super::{Scene, wait_for};
use crate::harness::Finding;
use crate::harness::contract;
use crate::harness::log::Log;
use crate::harness::process::Output;
use crate::harness::session::API_TOKEN;

/// A line may come a moment after the answer that it is about.
const SOON: Duration = Duration::from_secs(10);

impl Scene {
    /// Of the worker, or of all daemons of a chain.
    fn log(&self) -> Result<Log, Finding> {
        if self.has_chain() {
            let logs = self.chain()?.logs().into_iter();
            return Ok(Log { lines: logs.flat_map(|(_, log)| log.lines).collect() });
        }
        Ok(Log::read(&self.process()?.lines()))
    }

    /// The log of a worker that has been told to stop is whole once it has gone.
    fn whole_log(&self) -> Result<Log, Finding> {
        if !self.has_chain() {
            let _ = self.process()?.wait_for_exit(SOON);
        }
        self.log()
    }

    pub fn log_carries_in_order(&mut self, messages: &[String]) -> Result<(), Finding> {
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        if self.has_chain() {
            return wait_for(SOON, || self.log()?.messages_in_order(&messages));
        }
        if let Some(last) = messages.last() {
            let _ = self.process()?.wait_for_line("the last message", SOON, |line| line.text.contains(last));
        }
        self.log()?.messages_in_order(&messages)
    }

    pub fn log_lines_match(&mut self, message: &str) -> Result<(), Finding> {
        let log = self.whole_log()?;
        log.is_json()?;
        let message = message_called(message)?;
        for line in log.lines.iter().filter(|line| line.from == Output::Stdout) {
            if let Some(fields) = &line.fields {
                let checked = contract::check(message, &serde_json::Value::Object(fields.clone()));
                checked.map_err(|finding| finding.with("log line", &line.raw))?;
                if let Some((key, _)) = fields.iter().find(|(_, value)| value.is_object()) {
                    let finding = Finding::fail("flat keys", format!("more keys nested under {key:?}"));
                    return Err(finding.with("log line", &line.raw));
                }
            }
        }
        Ok(())
    }

    /// Without this text, or without what the last job generated.
    pub fn log_lacks(&mut self, text: Option<&str>) -> Result<(), Finding> {
        let log = self.whole_log()?;
        match text {
            Some(text) => log.is_free_of("prompt", text),
            None => {
                let job = self.jobs.last_mut().ok_or_else(|| Finding::error("a job", "none was sent"))?;
                let generated = job.transcript(SOON)?.text();
                if generated.trim().chars().count() < 8 {
                    let found = format!("the text {generated:?}");
                    return Err(Finding::unimplemented("a generated text that can be looked for", found));
                }
                log.is_free_of("generated text", generated.trim())
            }
        }
    }

    pub fn log_lacks_tokens(&mut self) -> Result<(), Finding> {
        let wrong: String = API_TOKEN.chars().rev().collect();
        let log = self.log()?;
        log.is_free_of("API token", API_TOKEN)?;
        log.is_free_of("other token", OTHER_TOKEN)?;
        log.is_free_of("wrong token that a client tried", &wrong)
    }

    pub fn log_has_events(&mut self, events: &[String], label: &str) -> Result<(), Finding> {
        if self.has_chain() {
            return self.log_narrates(events, label);
        }
        let job_id = self.job(label)?.job_id.clone();
        let log = self.whole_log()?;
        for event in events {
            if !log.events(event).any(|line| line.text("job_id") == Some(&job_id)) {
                let finding = Finding::fail(format!("the event {event:?} with job_id {job_id:?}"), "no such line");
                return Err(log.evidence(finding));
            }
        }
        Ok(())
    }

    /// The orchestrator's log: each action once at least, under the correlation id that the task was submitted with, and
    /// in this order.
    fn log_narrates(&mut self, actions: &[String], label: &str) -> Result<(), Finding> {
        let job = self.job(label)?;
        let id = job.request.headers.get("x-correlation-id").unwrap_or_default().to_owned();
        wait_for(SOON, || {
            let log = self.chain()?.logs().remove(0).1;
            let told: Vec<&str> = log.with("correlation_id", &id).filter_map(|line| line.text("action")).collect();
            let mut rest = told.iter();
            let in_order = actions.iter().all(|action| rest.any(|told| told == action));
            if in_order { Ok(()) } else { Err(log.evidence(Finding::fail(actions.join(", "), told.join(", ")))) }
        })
    }

    /// Every daemon's, and a worker's of each node that has one.
    fn every_log_carries(&mut self, id: &str) -> Result<(), Finding> {
        wait_for(SOON, || {
            let mut logs = self.chain()?.logs();
            if self.chain()?.has_llama() {
                // A real engine's own log knows no ids.
                logs.retain(|(name, _)| !name.starts_with("the workers"));
            }
            let lacks = |(_, log): &&(String, Log)| log.with("correlation_id", id).next().is_none();
            match logs.iter().find(lacks) {
                None => Ok(()),
                Some((name, log)) => {
                    let expected = format!("the correlation id {id:?} in the log of {name}");
                    Err(log.evidence(Finding::fail(expected, "no such line")))
                }
            }
        })
    }

    /// Each sentence of the orchestrator's story.
    pub fn narration_is_as_described(&mut self) -> Result<(), Finding> {
        let log = self.chain()?.logs().remove(0).1;
        let sentences: Vec<_> = log.lines.iter().filter(|line| line.text("actor").is_some()).collect();
        if sentences.is_empty() {
            return Err(log.evidence(Finding::fail("a story in the log", "not a sentence")));
        }
        for line in sentences {
            let fields = line.fields.clone().unwrap_or_default();
            let checked = contract::check(contract::Message::Narration, &fields.into());
            checked.map_err(|finding| finding.with("log line", &line.raw))?;
        }
        Ok(())
    }

    pub fn log_shows_no_start(&mut self, label: &str) -> Result<(), Finding> {
        let job_id = self.job(label)?.job_id.clone();
        let log = self.log()?;
        let started = log.events("execute_start").find(|line| line.text("job_id") == Some(&job_id));
        match started {
            None => Ok(()),
            Some(line) => {
                let finding = Finding::fail("a job whose client has gone is never started", "it was started");
                Err(finding.with("log line", &line.raw))
            }
        }
    }

    pub fn log_carries_correlation_id(&mut self, id: &str) -> Result<(), Finding> {
        if self.has_chain() {
            return self.every_log_carries(id);
        }
        // Under which key is for another case: another worker's log has keys of its own.
        let what = format!("one with the correlation id {id:?}");
        self.process()?.wait_for_line(&what, SOON, |line| line.text.contains(id)).map(drop)
    }
}
