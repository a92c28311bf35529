//! What the worker has written to its output.

use std::time::Duration;

use super::Scene;
use super::calls::message_called;
use crate::harness::Finding;
use crate::harness::contract;
use crate::harness::log::Log;
use crate::harness::process::Output;
use crate::harness::session::API_TOKEN;

/// A line may come a moment after the answer that it is about.
const SOON: Duration = Duration::from_secs(10);

impl Scene {
    fn log(&self) -> Result<Log, Finding> {
        Ok(Log::read(&self.process()?.lines()))
    }

    /// The log of a worker that has been told to stop is whole once it has gone.
    fn whole_log(&self) -> Result<Log, Finding> {
        let _ = self.process()?.wait_for_exit(SOON);
        self.log()
    }

    pub fn log_carries_in_order(&mut self, messages: &[String]) -> Result<(), Finding> {
        if let Some(last) = messages.last() {
            let _ = self.process()?.wait_for_line("the last message", SOON, |line| line.text.contains(last));
        }
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
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
        log.is_free_of("wrong token that a client tried", &wrong)
    }

    pub fn log_has_events(&mut self, events: &[String], label: &str) -> Result<(), Finding> {
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
        // Under which key is for another case: another worker's log has keys of its own.
        let what = format!("one with the correlation id {id:?}");
        self.process()?.wait_for_line(&what, SOON, |line| line.text.contains(id)).map(drop)
    }
}
