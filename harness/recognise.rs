//! Is it a stub? By what it says, and by what it does: text that neither the prompt nor the seed changes was not computed
//! from them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::Finding;
use super::api::Api;
use super::api::slots::Engine;
use super::target::{Worker, unique};
use super::transcript::End;

#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `/health`'s `model`.
    model: String,
    /// The texts that differ among four requests that differ in everything.
    texts: BTreeSet<String>,
    /// A stream never ended: the others are not waited for as long.
    pub never_ends: bool,
}

/// Two prompts, two seeds, sampled hot: no model writes one text for all four.
pub fn look(worker: &Worker) -> Result<Seen, Finding> {
    let model = match worker.base().api {
        Api::Native => worker.health()?["model"].as_str().unwrap_or_default().to_owned(),
        _ => Engine::at(worker.base()).model().unwrap_or_default(),
    };
    let mut texts = BTreeSet::new();
    for (prompt, seed) in [("Hello.", 1), ("The quick brown", 2), ("Hello.", 3), ("Once upon a time", 4)] {
        let job = json!({
            "job_id": unique("look"), "prompt": prompt, "seed": seed, "max_tokens": 8, "temperature": 1.5,
        });
        let transcript = worker.run(&job, Duration::from_secs(30))?;
        if transcript.end == End::DeadlinePassed {
            return Ok(Seen { model, never_ends: true, ..Seen::default() });
        }
        texts.insert(transcript.text());
    }
    Ok(Seen { model, texts, never_ends: false })
}

impl Seen {
    pub fn is_stub(&self) -> bool {
        self.model == "stub" || self.texts.len() == 1
    }

    /// The model, for a summary.
    pub fn model(&self) -> String {
        if self.model.is_empty() { "model unknown".into() } else { format!("model {}", self.model) }
    }

    /// Why it is taken for a stub, or why not.
    pub fn sentence(&self) -> String {
        let says = if self.model == "stub" { "it says so, and " } else { "" };
        match self.texts.first() {
            Some(text) if self.texts.len() == 1 => {
                format!("{says}it answers {text:?} whatever the prompt and the seed; it computes nothing")
            }
            Some(_) => format!("{says}it gave {} texts to four requests that differ", self.texts.len()),
            None => format!("{says}it gave no text to look at"),
        }
    }
}
