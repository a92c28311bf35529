//! Metrics, scraped before and after.

use super::{Scene, wait_for};
use crate::harness::Finding;
use crate::harness::exposition::Scrape;
use crate::harness::http::Request;
use std::time::Duration;

/// A counter may rise a moment after the stream that it counts has ended.
const SOON: Duration = Duration::from_secs(5);

impl Scene {
    pub fn scrape(&mut self) -> Result<(), Finding> {
        let scrape = self.metrics()?;
        self.scrapes.push(scrape);
        Ok(())
    }

    /// The worker's, or those of the chain's orchestrator.
    fn metrics(&self) -> Result<Scrape, Finding> {
        if !self.has_chain() {
            return self.worker()?.metrics();
        }
        let answer = self.chain()?.send(&Request::get("/metrics"))?;
        answer.expect_status(200)?;
        Scrape::parse(&answer.text()).map_err(|finding| answer.evidence(finding))
    }

    fn last_scrape(&self) -> Result<&Scrape, Finding> {
        self.scrapes.last().ok_or_else(|| Finding::error("a scrape", "none was taken"))
    }

    pub fn scrape_carries(&mut self, names: &[String]) -> Result<(), Finding> {
        let scrape = self.last_scrape()?;
        let there = |name: &String| scrape.has(name) || scrape.has(&format!("{name}_bucket"));
        let missing: Vec<&str> = names.iter().filter(|name| !there(name)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Finding::fail(format!("the metrics {}", names.join(", ")), format!("without {}", missing.join(", "))))
    }

    pub fn scrapes_are_equal(&mut self) -> Result<(), Finding> {
        let [.., first, second] = &self.scrapes[..] else {
            return Err(Finding::error("two scrapes to compare", format!("{}", self.scrapes.len())));
        };
        let changes = first.changes(second, &["worker_uptime_seconds"]);
        if changes.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
        Err(Finding::fail("two scrapes without traffic between them are equal, uptime aside", told.join("\n")))
    }

    /// Waits until `now - before` is this much, and not more.
    fn rises(&mut self, what: &str, by: f64, value: impl Fn(&Scrape) -> f64) -> Result<(), Finding> {
        let before = value(self.last_scrape()?);
        wait_for(SOON, || {
            let after = value(&self.metrics()?);
            let finding = || Finding::fail(format!("{what} rises by {by}"), format!("from {before} to {after}"));
            if (after - before - by).abs() < 0.5 { Ok(()) } else { Err(finding()) }
        })
    }

    pub fn risen_by_tokens_out(&mut self, name: &str) -> Result<(), Finding> {
        let transcript = self.jobs.last_mut().ok_or_else(|| Finding::error("a job", "none was sent"))?;
        let out = transcript.transcript(Duration::from_secs(60))?.need("end", "tokens_out")?;
        let out = out.as_f64().ok_or_else(|| Finding::fail("end.tokens_out, a number", out.to_string()))?;
        self.rises(name, out, |scrape| scrape.sum(name))
    }

    /// Exactly as much as these tasks' streams said.
    pub fn risen_by_tokens_out_of(&mut self, name: &str, labels: &[String]) -> Result<(), Finding> {
        let sum = self.tokens_out_of(labels)?;
        self.rises(name, sum as f64, |scrape| scrape.sum(name))
    }

    /// No label of any sample has a task's or a session's id in it.
    pub fn no_label_is_an_id(&mut self) -> Result<(), Finding> {
        let scrape = self.last_scrape()?;
        let tasks = self.jobs.iter().map(|job| job.job_id.as_str());
        let ids: Vec<&str> = tasks.chain(self.sessions.iter().map(|(_, session)| session.as_str())).collect();
        let is_id = |value: &String| ids.contains(&value.as_str());
        match scrape.samples.iter().find(|sample| sample.labels.values().any(is_id)) {
            None => Ok(()),
            Some(sample) => Err(Finding::fail("labels without an id in them", sample.to_string())),
        }
    }

    pub fn outcome_has_risen(&mut self, name: &str, outcome: &str, by: u32) -> Result<(), Finding> {
        let what = format!("{name}{{outcome={outcome:?}}}");
        self.rises(&what, by.into(), |scrape| scrape.value(name, &[("outcome", outcome)]).unwrap_or_default())
    }
}
