//! What is right: the model file, computed by the f64 reference.

use std::path::Path;
use std::sync::Arc;

use crate::harness::Finding;
use crate::layers::Station;
use crate::model::file::{self, ModelFile};
use crate::model::tokenizer::{self, Tokenizer};
use crate::parity::Capture;
use crate::parity::oracle::{self, Cache, Honest, Model, Nothing, Pass, Request, Tensor};

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

    pub fn bytes(&self, id: u32) -> &[u8] {
        self.tokenizer.token_bytes(id)
    }

    pub fn ends_text(&self, id: u32) -> bool {
        self.model().ends_text(id)
    }

    pub fn parameters(&self) -> usize {
        self.file.weights.iter().map(|(_, weight)| weight.shape().iter().product::<usize>()).sum()
    }

    /// Tokens of the vocabulary in any order, as text: nothing that a model was trained on. It may have other tokens when it
    /// is read.
    pub fn random_text(&self, tokens: usize) -> String {
        let drawn = std::iter::repeat_with(|| uuid::Uuid::new_v4().as_u128() as u32 % self.tokenizer.vocab_size());
        self.text(&drawn.take(tokens).collect::<Vec<u32>>())
    }

    /// The logits after each of the tokens: [T][V]
    pub fn logits_of_all(&self, tokens: &[u32]) -> Result<Vec<Vec<f64>>, Finding> {
        let model = self.model();
        let cache = Cache::new(&model, tokens.len());
        let pass = Pass::new(model, &Honest, tokens, 0, &cache, &Nothing).map_err(failed)?;
        let logits = pass.get(Station::Logits, 0).map_err(failed)?;
        Ok(logits.values.chunks_exact(logits.row_len()).map(<[f64]>::to_vec).collect())
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

pub(super) fn failed(error: impl std::fmt::Display) -> Finding {
    Finding::error("the reference's answer", error.to_string())
}

/// Logits over a temperature, as probabilities.
pub fn softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let tempered = logits.iter().map(|logit| logit / temperature).collect();
    oracle::softmax(&Tensor::new(&[logits.len()], tempered)).values
}
