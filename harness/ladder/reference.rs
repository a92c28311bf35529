//! What is right: the model file, computed by the f64 reference.

use std::path::Path;
use std::sync::Arc;

use crate::harness::Finding;
use crate::model::file::{self, ModelFile};
use crate::model::tokenizer::{self, Tokenizer};
use crate::parity::Capture;
use crate::parity::oracle::{self, Honest, Model, Request, Tensor};

pub struct Reference {
    pub file: ModelFile,
    tokenizer: Arc<dyn Tokenizer>,
}

/// A greedy text, token by token.
#[derive(Clone, Debug, PartialEq)]
pub struct Greedy {
    pub ids: Vec<u32>,
    /// At each step, by how much the first logit is above the second.
    pub margins: Vec<f64>,
}

impl Greedy {
    /// The tokens before the first whose margin an engine's rounding could turn over.
    pub fn sure(&self, margin: f64) -> &[u32] {
        let count = self.margins.iter().take_while(|found| **found > margin).count();
        &self.ids[..count]
    }
}

impl Reference {
    pub fn open(path: &Path) -> Result<Reference, Finding> {
        let problem = |error: &dyn std::fmt::Display| {
            Finding::unimplemented("a model file that the reference can read", format!("{}: {error}", path.display()))
        };
        let file = file::open(path, &mut |_| {}).map_err(|error| problem(&error))?;
        let tokenizer = tokenizer::open(&file.tokenizer_source, file.configuration.eos_token_id())
            .map_err(|error| problem(&error))?;
        Ok(Reference { file, tokenizer })
    }

    pub fn model(&self) -> Model<'_> {
        Model {
            configuration: &self.file.configuration,
            weights: &self.file.weights,
            tokenizer: Some(&*self.tokenizer),
        }
    }

    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text)
    }

    /// The text that a worker sends for these ids: characters that are not complete are held back.
    pub fn text(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        let mut stream = tokenizer::Utf8Stream::default();
        ids.iter().for_each(|id| stream.push(self.tokenizer.token_bytes(*id), &mut text));
        text
    }

    /// At most `count` tokens; fewer where the text or the context ends.
    pub fn greedy(&self, prompt: &str, count: usize) -> Result<Greedy, Finding> {
        let tokens = self.encode(prompt);
        let request = Request { tokens: &tokens, generate: count, ..Request::default() };
        let run = oracle::run(&self.model(), &request, &Honest).map_err(failed)?;
        Ok(Greedy { ids: run.ids, margins: run.margins })
    }

    /// Every station of every layer for these tokens, and what is generated after them.
    pub fn capture(&self, tokens: &[u32], steps: usize, generate: usize) -> Result<Capture, Finding> {
        let request = Request { tokens, steps, generate, every_layer: true, ..Request::default() };
        let run = oracle::run(&self.model(), &request, &Honest).map_err(failed)?;
        Ok(run.capture(&self.model()))
    }

    /// The logits of the token after the prompt: [V]
    pub fn logits(&self, prompt: &str) -> Result<Vec<f64>, Finding> {
        let tokens = self.encode(prompt);
        let request = Request { tokens: &tokens, ..Request::default() };
        let run = oracle::run(&self.model(), &request, &Honest).map_err(failed)?;
        let logits = run.get("cp09.logits").map(|tensor| tensor.values.clone());
        logits.ok_or_else(|| Finding::error("the reference's logits", "it shows none"))
    }
}

fn failed(error: oracle::OracleError) -> Finding {
    Finding::error("the reference's answer", error.to_string())
}

/// Logits over a temperature, as probabilities.
pub fn softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let tempered = logits.iter().map(|logit| logit / temperature).collect();
    oracle::softmax(&Tensor::new(&[logits.len()], tempered)).values
}
