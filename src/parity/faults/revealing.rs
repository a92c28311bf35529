//! Models and inputs on which faults are tried: recipe models of several shapes, and what an input must be like for a
//! particular fault to show.

use std::path::Path;
use std::sync::Arc;

use super::Reveal;
use crate::model::configuration::{HEAD, LlamaArchitecture, RopeScaling};
use crate::model::error::Problem;
use crate::model::recipe::{END_OF_TEXT, FIRST_WORD, LlamaSize, Recipe, Size, tokenizer_json};
use crate::model::tokenizer::{HfJson, Tokenizer, TokenizerError};
use crate::model::{Configuration, Gpt2Configuration, LlamaConfiguration, ModelError, Weight, Weights};
use crate::parity::oracle::{Honest, Model, Operations, OracleError, Request, run};

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
        Self::of(name, &Recipe::new(configuration, seed)?, count)
    }

    /// The same of any architecture.
    pub fn of(name: &str, recipe: &Recipe, count: usize) -> Result<Self, TrialError> {
        let (configuration, seed) = (recipe.configuration().clone(), recipe.seed());
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
        let (embedding, last_norm) = match &self.configuration {
            Configuration::Gpt2(_) => (&["wte.weight", "wpe.weight"][..], &["ln_f.weight", "ln_f.bias"][..]),
            Configuration::Llama(_) => (&["embed_tokens.weight"][..], &["norm.weight"][..]),
        };
        match reveal {
            Reveal::Ordinary => {}
            Reveal::SmallVariance => {
                embedding.iter().try_for_each(|name| trial.scale(name, 1.0 / 32.0))?;
                // What a tied head loses by that, the last norm gives back.
                if !self.model().has_own_head() {
                    trial.scale(last_norm[0], 32.0)?;
                }
            }
            Reveal::SecondChunk => trial.start = (self.tokens.len() / 2).max(1),
            Reveal::SquareScores => {
                let d = self.configuration.head_size();
                trial.tokens = self.tokens.iter().copied().cycle().take(d).collect();
            }
            Reveal::Tie => {
                // A token that the prompt does not have, beside the one that comes next
                let best = self.first(&Honest)?;
                let free = |id: &u32| *id != best && !self.tokens.contains(id);
                let other = (0..self.configuration.vocab_size() as u32).rev().find(free).unwrap_or(0);
                trial.rows_of_tokens(|row| row.copy_within(best as usize, other as usize))?;
            }
            Reveal::LargeLogits => last_norm.iter().try_for_each(|name| trial.scale(name, 4096.0))?,
            Reveal::Blank => trial = self.with_a_blank(&Honest)?,
        }
        Ok(trial)
    }

    /// The same model with other numbers for its tokens, so that the first which these operations sample is a word with a
    /// blank before it.
    pub fn with_a_blank<O: Operations>(&self, operations: &O) -> Result<Self, OracleError> {
        let mut trial = self.clone();
        let (first, word) = (self.first(operations)?, FIRST_WORD);
        if first < word {
            trial.rows_of_tokens(|rows| rows.swap(first as usize, word as usize))?;
            for token in &mut trial.tokens {
                *token = match *token {
                    token if token == first => word,
                    token if token == word => first,
                    token => token,
                };
            }
        }
        Ok(trial)
    }

    /// The first token that is sampled.
    fn first<O: Operations>(&self, operations: &O) -> Result<u32, OracleError> {
        Ok(run(&self.model(), &self.request(false), operations)?.ids.first().copied().unwrap_or(0))
    }

    fn scale(&mut self, name: &str, factor: f32) -> Result<(), ModelError> {
        let shape = self.configuration.tensors().into_iter().find(|(other, _)| other == name).map(|(_, shape)| shape);
        let weight = self.weights.get(name, &shape.unwrap_or_default())?;
        let values = weight.values().iter().map(|value| value * factor).collect();
        self.weights = self.weights.clone().with(name, Weight::from_vec(weight.shape().to_vec(), values));
        Ok(())
    }

    /// Moves whole rows of the embedding, and of a head of its own.
    fn rows_of_tokens(&mut self, change: impl Fn(&mut Rows<'_>)) -> Result<(), ModelError> {
        let own_head = self.model().has_own_head().then_some(HEAD);
        for name in [self.configuration.embedding()].into_iter().chain(own_head) {
            let shape = [self.configuration.vocab_size(), self.configuration.n_embd()];
            let mut values = self.weights.get(name, &shape)?.values().to_vec();
            change(&mut Rows { values: &mut values, width: shape[1] });
            self.weights = self.weights.clone().with(name, Weight::from_vec(shape.to_vec(), values));
        }
        Ok(())
    }
}

/// The rows of a matrix, one for each token.
struct Rows<'a> {
    values: &'a mut Vec<f32>,
    width: usize,
}

impl Rows<'_> {
    fn copy_within(&mut self, from: usize, to: usize) {
        self.values.copy_within(from * self.width..(from + 1) * self.width, to * self.width);
    }

    fn swap(&mut self, one: usize, other: usize) {
        (0..self.width).for_each(|at| self.values.swap(one * self.width + at, other * self.width + at));
    }
}

/// The models of a kill matrix: nothing in them is a multiple of anything, and D is small enough that T = D is quick.
pub fn trials() -> Result<Vec<Trial>, TrialError> {
    Ok([of_gpt2()?, of_llama()?].concat())
}

pub fn of_gpt2() -> Result<Vec<Trial>, TrialError> {
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

/// Whatever a configuration can ask for is in one of the two, and what it can do without is missing in the other.
pub fn of_llama() -> Result<Vec<Trial>, TrialError> {
    let plain = LlamaConfiguration {
        architecture: LlamaArchitecture::Qwen2,
        n_layer: 2,
        n_head: 6,
        n_kv_head: 2,
        head_size: 6,
        n_embd: 30,
        n_inner: 44,
        n_ctx: 24,
        vocab_size: 289,
        rms_norm_epsilon: 1e-6,
        rope_theta: 1_000_000.0,
        rope_scaling: RopeScaling::None,
        qkv_bias: true,
        output_bias: false,
        eos_token_id: Some(END_OF_TEXT),
        bos_token_id: Some(END_OF_TEXT),
    };
    let stretched = LlamaConfiguration {
        architecture: LlamaArchitecture::Llama,
        n_layer: 3,
        n_head: 4,
        head_size: 8,
        n_embd: 28,
        n_inner: 50,
        rms_norm_epsilon: 1e-5,
        rope_theta: 500_000.0,
        rope_scaling: RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 16,
        },
        output_bias: true,
        ..plain.clone()
    };
    let models = [
        ("Qwen2, 2 layers, 6 heads of 6 on 2", plain, true, 4, 6),
        ("Llama, 3 layers, 4 heads of 8 on 2", stretched, false, 5, 7),
    ];
    let trial = |(name, configuration, tied, seed, count)| {
        Trial::of(name, &Recipe::llama(LlamaSize { configuration, tied }, seed)?, count)
    };
    models.into_iter().map(trial).collect()
}
