//! Whole jobs run one after the other, for the text that each gives.

use std::time::Duration;

use serde_json::{Value, json};

use super::Scene;
use crate::harness::Finding;
use crate::harness::target::unique;
use crate::harness::transcript::Transcript;

/// What must hold among several texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Texts {
    AllEqual,
    FirstAndLastEqual,
    SomeDiffer,
}

/// The runs so far, each with what was asked for.
#[derive(Default)]
pub struct Runs {
    runs: Vec<(String, Transcript)>,
    stop: Option<String>,
}

const TOKENS: u32 = 24;
const PROMPT: &str = "Once upon a time";

impl Scene {
    fn run(&mut self, changes: Value) -> Result<String, Finding> {
        let mut job = json!({
            "job_id": unique("text"), "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 1.0, "seed": 1,
        });
        if let (Value::Object(job), Value::Object(changes)) = (&mut job, &changes) {
            job.extend(changes.clone());
        }
        let transcript = self.worker()?.run(&job, Duration::from_secs(60))?;
        transcript.completed()?;
        let text = transcript.text();
        self.texts.runs.push((changes.to_string(), transcript));
        Ok(text)
    }

    pub fn run_with_seeds(&mut self, temperature: f32, seeds: &[u64]) -> Result<(), Finding> {
        seeds.iter().try_for_each(|seed| self.run(json!({ "temperature": temperature, "seed": seed })).map(drop))
    }

    pub fn run_greedy_and_with_top_k_one(&mut self) -> Result<(), Finding> {
        self.run(json!({ "temperature": 0.0 }))?;
        self.run(json!({ "temperature": 1.5, "top_k": 1 })).map(drop)
    }

    pub fn run_with_prompts(&mut self) -> Result<(), Finding> {
        ["Hello.", "The quick brown", "Once upon a time", "Write a haiku about the sea"]
            .into_iter()
            .try_for_each(|prompt| self.run(json!({ "temperature": 0.0, "prompt": prompt })).map(drop))
    }

    /// The stop sequence is a piece from the middle of what the job writes without it.
    pub fn run_with_stop_from_its_text(&mut self) -> Result<(), Finding> {
        let text = self.run(json!({ "temperature": 0.0 }))?;
        let characters: Vec<char> = text.chars().collect();
        let half = characters.len() / 2;
        let stop: String = characters[half..].iter().take(4).collect();
        if stop.trim().is_empty() {
            return Err(Finding::unimplemented("a text to take a stop sequence from", format!("the text {text:?}")));
        }
        self.run(json!({ "temperature": 0.0, "stop": [stop] }))?;
        self.texts.stop = Some(stop);
        Ok(())
    }

    pub fn texts_are(&mut self, wanted: Texts) -> Result<(), Finding> {
        let texts: Vec<String> = self.texts.runs.iter().map(|(_, transcript)| transcript.text()).collect();
        let holds = match wanted {
            Texts::AllEqual => texts.len() > 1 && texts.iter().all(|text| *text == texts[0]),
            Texts::FirstAndLastEqual => texts.len() > 1 && texts.first() == texts.last(),
            Texts::SomeDiffer => texts.iter().any(|text| *text != texts[0]),
        };
        if holds {
            return Ok(());
        }
        let expected = match wanted {
            Texts::AllEqual => "equal texts",
            Texts::FirstAndLastEqual => "the first and the last text equal",
            Texts::SomeDiffer => "texts that differ",
        };
        let shown: Vec<String> =
            self.texts.runs.iter().zip(&texts).map(|((asked, _), text)| format!("{asked} → {text:?}")).collect();
        Err(Finding::fail(expected, shown.join("\n")))
    }

    fn last_run(&self) -> Result<&Transcript, Finding> {
        let last = self.texts.runs.last();
        last.map(|(_, transcript)| transcript).ok_or_else(|| Finding::error("a run", "none was made"))
    }

    pub fn text_ends_before_stop(&mut self) -> Result<(), Finding> {
        let stop = self.texts.stop.clone().unwrap_or_default();
        let whole = self.texts.runs.first().map(|(_, transcript)| transcript.text()).unwrap_or_default();
        let wanted = whole.split(&stop).next().unwrap_or_default().to_owned();
        let last = self.last_run()?;
        if last.text() == wanted {
            return Ok(());
        }
        let expected = format!("{wanted:?}: the text up to the stop sequence {stop:?}");
        Err(last.evidence(Finding::fail(expected, format!("{:?}", last.text()))))
    }

    pub fn stopped_for(&mut self, reason: &str) -> Result<(), Finding> {
        let last = self.last_run()?;
        let found = last.stop_reason().unwrap_or_default();
        if found == reason {
            return Ok(());
        }
        Err(last.evidence(Finding::fail(format!("stop_reason {reason:?}"), format!("stop_reason {found:?}"))))
    }

    pub fn stop_sequence_is_named(&mut self) -> Result<(), Finding> {
        let stop = self.texts.stop.clone().unwrap_or_default();
        let last = self.last_run()?;
        let named = last.need("end", "stop_sequence_matched")?;
        if named == stop.as_str() {
            return Ok(());
        }
        Err(last.evidence(Finding::fail(format!("stop_sequence_matched {stop:?}"), named.to_string())))
    }
}
