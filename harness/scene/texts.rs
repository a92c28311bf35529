//! Whole jobs run one after the other, for the text that each gives.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Scene, cell};
use crate::harness::Finding;
use crate::harness::target::unique;
use crate::harness::transcript::{Transcript, is_terminal};

/// What must hold among several texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Texts {
    AllEqual,
    FirstAndLastEqual,
    SomeDiffer,
}

impl Texts {
    pub fn of(words: &str) -> Texts {
        match words {
            "both" | "all" => Texts::AllEqual,
            "the first and the last" => Texts::FirstAndLastEqual,
            _ => Texts::SomeDiffer,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Texts::AllEqual => "the same text each time",
            Texts::FirstAndLastEqual => "the first and the last text equal",
            Texts::SomeDiffer => "at least two texts that differ",
        }
    }
}

/// One job, run to its end.
#[derive(Debug)]
pub(super) struct Run {
    /// What was asked for, beside the usual.
    pub asked: Map<String, Value>,
    pub transcript: Transcript,
}

const TOKENS: u32 = 16;
const PROMPT: &str = "Once upon a time";
const PATIENCE: Duration = Duration::from_secs(60);
/// Enough to see that a job without a limit goes on, and few enough to wait for.
const MANY: usize = 64;
/// How long jobs are tried in search of one that ends by itself.
const SEARCH: Duration = Duration::from_secs(2);

impl Scene {
    fn body(asked: &Map<String, Value>) -> Value {
        let mut job = json!({
            "job_id": unique("text"), "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 1.0, "seed": 1,
        });
        if let Value::Object(job) = &mut job {
            job.extend(asked.clone());
        }
        job
    }

    /// Runs a job to its end; what it says by then is a text.
    pub(super) fn run(&mut self, asked: Value) -> Result<String, Finding> {
        let Value::Object(asked) = asked else { return Err(Finding::error("a request's fields", asked.to_string())) };
        let transcript = self.worker()?.run(&Self::body(&asked), PATIENCE)?;
        transcript.completed()?;
        let text = transcript.text();
        self.runs.push(Run { asked, transcript });
        Ok(text)
    }

    /// One job for each record; `…` in a record's field stands for nothing: the job has what all have.
    pub fn run_with_each(&mut self, records: &[Vec<(String, String)>]) -> Result<(), Finding> {
        for record in records {
            let named: Vec<_> = record.iter().filter(|(_, cell)| cell != "…").cloned().collect();
            let mut asked = Map::new();
            cell::change(&mut asked, &named)?;
            self.run(Value::Object(asked))?;
        }
        Ok(())
    }

    pub fn texts_are(&mut self, wanted: Texts) -> Result<(), Finding> {
        let texts: Vec<String> = self.runs.iter().map(|run| run.transcript.text()).collect();
        let holds = texts.len() > 1
            && match wanted {
                Texts::AllEqual => texts.iter().all(|text| *text == texts[0]),
                Texts::FirstAndLastEqual => texts.first() == texts.last(),
                Texts::SomeDiffer => texts.iter().any(|text| *text != texts[0]),
            };
        if holds {
            return Ok(());
        }
        let told = |run: &Run| Value::Object(run.asked.clone()).to_string();
        let shown: Vec<String> =
            self.runs.iter().zip(&texts).map(|(run, text)| format!("{} gives {text:?}", told(run))).collect();
        let finding = Finding::fail(wanted.expected(), shown.join("\n"));
        Err(match self.runs.last() {
            Some(run) => run.transcript.evidence(finding),
            None => finding,
        })
    }

    fn last_run(&self) -> Result<&Run, Finding> {
        self.runs.last().ok_or_else(|| Finding::error("a job that was run", "none was"))
    }

    pub fn jobs_ended_with(&mut self, reason: &str) -> Result<(), Finding> {
        for run in &self.runs {
            let found = run.transcript.stop_reason().unwrap_or_default();
            if found != reason {
                let said = run.transcript.tokens_out().unwrap_or_default();
                let expected = format!("stop_reason {reason:?}");
                let finding = Finding::fail(expected, format!("stop_reason {found:?}, with tokens_out {said}"));
                return Err(run.transcript.evidence(finding));
            }
        }
        Ok(())
    }

    /// A job that the end of its text ends, in good time; which seeds give one is not known before.
    pub fn run_until_end_of_text(&mut self) -> Result<(), Finding> {
        let until = Instant::now() + SEARCH;
        let mut tried = 0;
        for seed in 1..=8 {
            let Value::Object(asked) = json!({ "seed": seed, "max_tokens": 1024 }) else { continue };
            let stream = self.worker()?.execute(&Self::body(&asked))?;
            let left = until.saturating_duration_since(Instant::now());
            let _ = stream.wait_until("its end", left, |frames| frames.iter().any(is_terminal));
            tried += 1;
            if !stream.frames().iter().any(is_terminal) {
                stream.close();
                break;
            }
            let transcript = stream.finish(PATIENCE);
            if transcript.stop_reason().as_deref() == Some("EOS") {
                self.runs.push(Run { asked, transcript });
                return Ok(());
            }
        }
        let found = format!("{tried} jobs were tried for {SEARCH:.0?}, and none came to the end of its text");
        Err(Finding::unimplemented("a job that its text ends (stop_reason EOS)", found))
    }

    /// The same job, with just as many tokens as it said that it took.
    pub fn run_again_to_the_token(&mut self) -> Result<(), Finding> {
        let last = self.last_run()?;
        let (mut asked, out) = (last.asked.clone(), last.transcript.need("end", "tokens_out")?);
        asked.insert("max_tokens".into(), out);
        self.run(Value::Object(asked)).map(drop)
    }

    /// Goes on until it has shown that no small limit holds, and no longer. A text may end before: then another seed is tried.
    pub fn run_without_limit(&mut self) -> Result<(), Finding> {
        for seed in 1..=8 {
            // Repetition is rewarded, so that the text does not come to its end by itself.
            let Value::Object(asked) = json!({ "seed": seed, "repetition_penalty": 0.01 }) else { continue };
            let mut body = Self::body(&asked);
            body.as_object_mut().map(|body| body.remove("max_tokens"));
            let stream = self.worker()?.execute(&body)?;
            let _ = stream.wait_until("many tokens", PATIENCE, |frames| {
                frames.iter().any(is_terminal) || frames.iter().filter(|frame| frame.is("token")).count() >= MANY
            });
            let transcript = stream.close();
            let ended = transcript.stop_reason();
            self.runs.push(Run { asked, transcript });
            if ended.as_deref() != Some("EOS") {
                break;
            }
        }
        Ok(())
    }

    pub fn was_not_cut_short(&mut self) -> Result<(), Finding> {
        let context = self.worker()?.health()?["context_length"].as_u64().unwrap_or(u64::MAX);
        let last = &self.last_run()?.transcript;
        let expected = "a job without max_tokens may have 2048 of them, the default, or what the context holds";
        match (last.stop_reason().as_deref(), last.tokens_out()) {
            // A token is at least a character of the prompt, and a few may frame it.
            (Some("MAX_TOKENS"), Some(out)) if out < 2048 && out + (PROMPT.len() as u64) + 4 < context => {
                Err(last.evidence(Finding::fail(expected, format!("MAX_TOKENS after {out}"))))
            }
            (Some("EOS"), _) => Err(Finding::unimplemented(
                format!("a text of {MANY} tokens"),
                "every text that was tried ended before",
            )),
            (None, _) if last.tokens().count() < MANY => Err(last.evidence(Finding::fail(expected, last.summary()))),
            _ => Ok(()),
        }
    }
}
