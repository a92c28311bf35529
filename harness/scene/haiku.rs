//! Haiku asked for at every minute of the hour, and judged twice: what the worker did, and what the model can.

use std::time::Duration;

use serde_json::json;

use super::Scene;
use crate::harness::Finding;
use crate::harness::haiku::{self, Asked};
use crate::harness::target::unique;
use crate::harness::transcript::Transcript;

/// A haiku has this long, all told.
const WITHIN: Duration = Duration::from_secs(30);

/// What was asked for, and what came.
#[derive(Default)]
pub struct Haiku {
    written: Vec<(Asked, Transcript)>,
}

impl Scene {
    /// One for each minute, each with a nonce of its own; greedily, or drawn with this seed.
    pub fn ask_for_haiku_at_every_minute(&mut self, subject: &str, seed: Option<u64>) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let temperature = if seed.is_some() { 0.7 } else { 0.0 };
        for minute in 0..60 {
            let asked = Asked::new(subject, minute);
            let job = json!({
                "job_id": unique("haiku"), "prompt": asked.prompt(), "max_tokens": 100, "temperature": temperature,
                "top_p": 0.95, "seed": seed.unwrap_or_default(),
            });
            let transcript = worker.run(&job, WITHIN)?;
            self.haiku.written.push((asked, transcript));
        }
        Ok(())
    }

    /// The plain form: no minute, 50 tokens, twice the same.
    pub fn ask_for_haiku_twice(&mut self) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let mut texts = Vec::new();
        for _ in 0..2 {
            let job = json!({
                "job_id": unique("haiku"), "prompt": "Write a haiku about GPU computing", "max_tokens": 50,
                "temperature": 0.7, "seed": 42,
            });
            let transcript = worker.run(&job, WITHIN)?;
            transcript.judge_all()?;
            let (tokens, lines) = (transcript.tokens().count(), haiku::lines(&transcript.text()));
            if tokens == 0 || lines != 3 {
                let found = format!("{tokens} token events, {lines} lines: {:?}", transcript.text());
                return Err(transcript.evidence(Finding::fail("tokens, and three lines", found)));
            }
            texts.push(transcript.text());
        }
        if texts[0] == texts[1] { Ok(()) } else { Err(Finding::fail("two equal runs", format!("{texts:?}"))) }
    }

    /// The worker's half: every stream whole and by the rules, in time.
    pub fn haiku_streams_hold(&mut self) -> Result<(), Finding> {
        if self.haiku.written.len() != 60 {
            return Err(Finding::error("sixty haiku", format!("{}", self.haiku.written.len())));
        }
        for (_, transcript) in &self.haiku.written {
            transcript.completed()?.judge_all()?;
            if transcript.ended_at > WITHIN {
                let found = format!("{:.1?}", transcript.ended_at);
                return Err(transcript.evidence(Finding::fail(format!("a haiku within {WITHIN:.0?}"), found)));
            }
        }
        Ok(())
    }

    /// The model's half. With `later` minutes added to each, the rule must fail: that it can is shown on the same texts.
    pub fn word_rule_holds(&mut self, at_least: usize) -> Result<(), Finding> {
        let broken = self.word_rule_breaks(0);
        let held = self.haiku.written.len() - broken.len();
        if held >= at_least {
            return Ok(());
        }
        Err(Finding::fail(
            format!("the word rule for at least {at_least} haiku"),
            format!("{held}:\n{}", broken.join("\n")),
        ))
    }

    pub fn word_rule_fails_elsewhere(&mut self, at_least: usize) -> Result<(), Finding> {
        let failed = self.word_rule_breaks(1).len();
        if failed >= at_least {
            return Ok(());
        }
        let expected = format!("the rule broken by at least {at_least} haiku when asked for the next minute's word");
        Err(Finding::fail(expected, format!("{failed} of {}", self.haiku.written.len())))
    }

    fn word_rule_breaks(&self, later: u8) -> Vec<String> {
        let judged = self.haiku.written.iter().filter_map(|(asked, transcript)| {
            let asked = Asked { minute: (asked.minute + later) % 60, ..asked.clone() };
            let violations = asked.judge(&transcript.text());
            let reasons: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let told = || format!("{} → {:?}: {}", asked.prompt(), transcript.text(), reasons.join(", "));
            (!reasons.is_empty()).then(told)
        });
        judged.collect()
    }
}
