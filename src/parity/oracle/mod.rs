//! The models once more (GPT-2; Llama and Qwen2), in f64 and as plainly as it can be said: no blocks, no threads, every tensor a new one.
//!
//! It shares nothing with the fast pass but the weights, so that a mistake would have to be made twice to go unseen.
//!
//! The model is a list of stations, each a function of the stations before it ([`honest`]). A [`Pass`] computes them when
//! they are asked for. What a pass is *given* (the tensors of somebody's trace) it does not compute, so any station can be
//! held against its own inputs alone; with nothing given, [`run`] goes through the whole model: prefill, decode steps with a
//! cache, and greedy text.
//!
//! Everything is generic over [`Operations`], of which this module has one, [`Honest`]: the model as it is.

mod gpt2;
mod llama;
mod operations;
mod pass;
mod run;
mod stations;

pub use operations::*;
pub use pass::{Cache, Given, Nothing, Pass, written};
pub use run::{Request, Run, run, trace, two_best};
pub use stations::{Feed, Honest, Operations, honest, temperature};

use crate::layers::Station;
use crate::model::configuration::HEAD;
use crate::model::tokenizer::Tokenizer;
use crate::model::{Configuration, ModelError, Weight, Weights};

/// A tensor, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Tensor {
    pub fn new(shape: &[usize], values: Vec<f64>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { shape: shape.to_vec(), values }
    }

    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }

    /// The tensor whose number at each index is `value(index)`.
    pub fn from_fn<const D: usize>(shape: [usize; D], value: impl Fn([usize; D]) -> f64) -> Self {
        let mut tensor = Self::zeros(&shape);
        let mut index = [0; D];
        for place in &mut tensor.values {
            *place = value(index);
            for axis in (0..D).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        tensor
    }

    /// The number at an index.
    pub fn at<const D: usize>(&self, index: [usize; D]) -> f64 {
        self.values[index.iter().zip(&self.shape).fold(0, |flat, (i, size)| flat * size + i)]
    }

    /// The same shape, every number changed.
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape.clone(), values: self.values.iter().map(|value| change(*value)).collect() }
    }

    /// How many numbers an index of the first axis has.
    pub fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The first `count` rows.
    pub fn first_rows(&self, count: usize) -> Self {
        let mut shape = self.shape.clone();
        shape[0] = count;
        Self { values: self.values[..count * self.row_len()].to_vec(), shape }
    }
}

/// What the reference computes with.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    pub configuration: &'a Configuration,
    pub weights: &'a Weights,
    /// For the text of a generation, where it is wanted.
    pub tokenizer: Option<&'a dyn Tokenizer>,
}

impl Model<'_> {
    pub fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        self.weights.get(name, shape)
    }

    /// [V, C]
    pub fn token_embedding(&self) -> Result<Weight, ModelError> {
        self.weight(self.configuration.embedding(), &[self.configuration.vocab_size(), self.configuration.n_embd()])
    }

    /// Whether the head is not the embedding.
    pub fn has_own_head(&self) -> bool {
        self.weights.has(HEAD)
    }

    /// The token embedding's own memory, as a rule: [V, C]
    pub fn head(&self) -> Result<Weight, ModelError> {
        if !self.has_own_head() {
            return self.token_embedding();
        }
        self.weight(HEAD, &[self.configuration.vocab_size(), self.configuration.n_embd()])
    }

    /// Inside the root of every norm.
    pub fn epsilon(&self) -> f64 {
        match self.configuration {
            Configuration::Gpt2(sizes) => sizes.layer_norm_epsilon,
            Configuration::Llama(sizes) => sizes.rms_norm_epsilon,
        }
    }

    /// Whether the model computes it at all.
    pub fn has(&self, station: Station) -> bool {
        match station {
            Station::QueryRotated | Station::KeyRotated | Station::Gate | Station::Up | Station::GatedProduct => {
                matches!(self.configuration, Configuration::Llama(_))
            }
            Station::FeedForwardHidden | Station::Gelu => matches!(self.configuration, Configuration::Gpt2(_)),
            _ => true,
        }
    }

    /// The queries, and the keys, that attention works with.
    pub fn attended(&self) -> [Station; 2] {
        match self.configuration {
            Configuration::Gpt2(_) => [Station::Query, Station::Key],
            Configuration::Llama(_) => [Station::QueryRotated, Station::KeyRotated],
        }
    }

    pub fn ends_text(&self, id: u32) -> bool {
        match self.tokenizer {
            Some(tokenizer) => tokenizer.is_end_of_text(id),
            None => self.configuration.eos_token_id() == Some(id),
        }
    }
}

/// Why the reference cannot compute what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("there are no tokens to compute")]
    NoTokens,
    #[error("token {token} is not in the vocabulary of {vocab_size}")]
    UnknownToken { token: u32, vocab_size: usize },
    #[error("{needed} positions are needed, and the context has {n_ctx}")]
    ContextFull { needed: usize, n_ctx: usize },
}
