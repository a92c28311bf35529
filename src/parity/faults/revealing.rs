//! Models and inputs on which faults are tried: recipe models of several shapes, and what an input must be like for a
//! particular fault to show.

use std::path::Path;
use std::sync::Arc;

use super::Reveal;
use crate::model::error::Problem;
use crate::model::recipe::{END_OF_TEXT, Recipe, Size, tokenizer_json};
use crate::model::tokenizer::{HfJson, Tokenizer, TokenizerError};
use crate::model::{Configuration, Gpt2Configuration, ModelError, Weight, Weights};
use crate::parity::oracle::{Honest, Model, OracleError, Request, run};

/// A model with a prompt.
#[derive(Clone)]
pub struct Trial {
    pub name: String,
    pub configuration: Configuration,
    pub weights: Weights,
    pub tokenizer: Arc<dyn Tokenizer>,
    pub tokens: Vec<u32>,
    /// How many tokens go through in a chunk before.
    pub start: usize,
}

/// Why there is no such trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("the recipe: {0}")]
    Recipe(#[from] Problem),
    #[error("its tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Run(#[from] OracleError),
}

/// Decode steps, and generated tokens, of every trial.
pub const STEPS: usize = 2;
pub const GENERATED: usize = 5;

impl Trial {
    /// A recipe model with a prompt of so many tokens.
    pub fn recipe(name: &str, configuration: Gpt2Configuration, seed: u64, count: usize) -> Result<Self, TrialError> {
        let recipe = Recipe::new(configuration, seed)?;
        let configuration = recipe.configuration().clone();
        let tokens = (0..count as u64).map(|at| (33 + (at * 37 + seed * 11) % 90) as u32).collect();
        let text = tokenizer_json(configuration.vocab_size());
        let tokenizer = Arc::new(HfJson::from_bytes(text.as_bytes(), Path::new(name), &[END_OF_TEXT])?);
        Ok(Self { name: name.to_owned(), weights: recipe.weights(), tokenizer, configuration, tokens, start: 0 })
    }

    pub fn model(&self) -> Model<'_> {
        Model { configuration: &self.configuration, weights: &self.weights, tokenizer: Some(self.tokenizer.as_ref()) }
    }

    pub fn request(&self, every_layer: bool) -> Request<'_> {
        Request { tokens: &self.tokens, start: self.start, steps: STEPS, generate: GENERATED, every_layer }
    }

    /// The same model and prompt, changed so that a fault shows.
    pub fn revealing(&self, reveal: Reveal) -> Result<Self, OracleError> {
        let mut trial = self.clone();
        match reveal {
            Reveal::Ordinary => {}
            Reveal::SmallVariance => {
                for name in ["wte.weight", "wpe.weight"] {
                    trial.scale(name, 1.0 / 32.0)?;
                }
                // The head is tied: what it loses, the last norm gives back.
                trial.scale("ln_f.weight", 32.0)?;
            }
            Reveal::SecondChunk => trial.start = (self.tokens.len() / 2).max(1),
            Reveal::SquareScores => {
                let d = self.configuration.head_size();
                trial.tokens = self.tokens.iter().copied().cycle().take(d).collect();
            }
            Reveal::Tie => trial.tie()?,
            Reveal::LargeLogits => {
                trial.scale("ln_f.weight", 4096.0)?;
                trial.scale("ln_f.bias", 4096.0)?;
            }
        }
        Ok(trial)
    }

    fn scale(&mut self, name: &str, factor: f32) -> Result<(), ModelError> {
        let shape = self.configuration.tensors().into_iter().find(|(other, _)| other == name).map(|(_, shape)| shape);
        let weight = self.weights.get(name, &shape.unwrap_or_default())?;
        let values = weight.values().iter().map(|value| value * factor).collect();
        self.weights = self.weights.clone().with(name, Weight::from_vec(weight.shape().to_vec(), values));
        Ok(())
    }

    /// Gives a token that the prompt does not have the embedding of the one that comes next: two equal largest logits.
    fn tie(&mut self) -> Result<(), OracleError> {
        let best = run(&self.model(), &self.request(false), &Honest)?.ids.first().copied().unwrap_or(0);
        let wte = self.model().token_embedding()?;
        let width = wte.shape()[1];
        let free = |id: &u32| *id != best && !self.tokens.contains(id);
        let other = (0..self.configuration.vocab_size() as u32).rev().find(free).unwrap_or(0);
        let mut values = wte.values().to_vec();
        values.copy_within(best as usize * width..(best as usize + 1) * width, other as usize * width);
        self.weights = self.weights.clone().with("wte.weight", Weight::from_vec(wte.shape().to_vec(), values));
        Ok(())
    }
}

/// The models of a kill matrix: nothing in them is a multiple of anything, and D is small enough that T = D is quick.
pub fn trials() -> Result<Vec<Trial>, TrialError> {
    let shape = |n_layer, n_head, head_size: usize, vocab_size| Gpt2Configuration {
        n_layer,
        n_head,
        n_embd: n_head * head_size,
        n_inner: 4 * n_head * head_size,
        n_ctx: 24,
        vocab_size,
        ..Size::Tiny.configuration()
    };
    let models = [
        ("2 layers, 3 heads of 5", shape(2, 3, 5, 300), 1, 6),
        ("3 layers, 2 heads of 8", shape(3, 2, 8, 271), 2, 5),
        ("4 layers, 5 heads of 4", shape(4, 5, 4, 289), 3, 9),
    ];
    models.into_iter().map(|(name, shape, seed, count)| Trial::recipe(name, shape, seed, count)).collect()
}
