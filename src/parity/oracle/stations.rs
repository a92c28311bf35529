//! The model: every station as a function of the stations before it, in the order of execution.

use super::operations::{add, argmax, causal_mask, merge, product, row, scores, softmax};
use super::pass::{Pass, written};
use super::{Model, Tensor, gpt2, llama};
use crate::layers::Station;
use crate::model::tokenizer::Tokenizer;
use crate::model::{Configuration, ModelError};

/// What a run is made of. Every method's default is the right one.
pub trait Operations: Sized {
    /// The tokens that are fed for a prompt.
    fn prompt(&self, _model: &Model<'_>, tokens: &[u32]) -> Vec<u32> {
        tokens.to_vec()
    }

    /// Which block's weights run as number `layer` of `count`.
    fn block_at(&self, layer: usize, _count: usize) -> usize {
        layer
    }

    /// A station's tensor from its inputs, which the pass has.
    fn station(&self, pass: &Pass<'_, Self>, station: Station, layer: usize) -> Result<Tensor, ModelError> {
        honest(pass, station, layer)
    }

    /// What decode step 1, 2, … is fed, after `history` (the prompt and every token sampled) of which `cached` are in the
    /// cache.
    fn feed(&self, _step: usize, history: &[u32], cached: usize) -> Feed {
        Feed { token: history.last().copied().unwrap_or(0), position: cached, start: cached }
    }

    /// The ids that a generation returns.
    fn ids(&self, sampled: Vec<u32>) -> Vec<u32> {
        sampled
    }

    fn text(&self, tokenizer: &dyn Tokenizer, ids: &[u32]) -> String {
        tokenizer.decode(ids)
    }
}

/// One decode step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    pub token: u32,
    /// By which it is embedded or turned.
    pub position: usize,
    /// In the cache.
    pub start: usize,
}

/// The model as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Operations for Honest {}

/// The station of the model as it is: what all architectures have in common is here, the rest in [`gpt2`] and [`llama`].
pub fn honest<O: Operations>(pass: &Pass<'_, O>, station: Station, layer: usize) -> Result<Tensor, ModelError> {
    let get = |station| pass.get(station, layer);
    let [queries, keys] = pass.model.attended();
    Ok(match station {
        Station::CachedKeys => written(&pass.past.keys[layer], pass.start, &*get(keys)?), // [capacity, KV, D]
        Station::CachedValues => written(&pass.past.values[layer], pass.start, &*get(Station::Value)?),
        Station::Scores => scores(&*get(queries)?, &*get(Station::CachedKeys)?, pass.positions()), // [H, T, N]
        Station::ScoresMasked => causal_mask(&*get(Station::Scores)?, pass.start),
        Station::Probabilities => softmax(&*get(Station::ScoresMasked)?),
        Station::Merged => merge(&*get(Station::Probabilities)?, &*get(Station::CachedValues)?), // [T, H · D]
        Station::AttentionResidual => add(&*pass.block_input(layer)?, &*get(Station::AttentionOutput)?),
        Station::Block => add(&*get(Station::AttentionResidual)?, &*get(Station::FeedForwardOutput)?),
        Station::BlockOutput => (*get(Station::Block)?).clone(),
        Station::Logits => product(&*get(Station::FinalLayerNorm)?, &pass.model.head()?), // [T, V]
        Station::SelectedLogits => row(&*get(Station::Logits)?, pass.rows() - 1),         // [V]
        Station::Argmax => Tensor::new(&[1], vec![argmax(&*get(Station::SelectedLogits)?) as f64]),
        Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => {
            softmax(&get(Station::SelectedLogits)?.map(|logit| logit / temperature(station))) // [V]
        }
        // Of a whole generation, and of no pass: the first of them.
        Station::GeneratedIds => (*get(Station::Argmax)?).clone(),
        _ => match pass.model.configuration {
            Configuration::Gpt2(sizes) => gpt2::station(pass, sizes, station, layer)?,
            Configuration::Llama(sizes) => llama::station(pass, sizes, station, layer)?,
        },
    })
}

/// The temperature of one of the stations of checkpoint 11.
pub fn temperature(station: Station) -> f64 {
    match station {
        Station::SoftmaxHalf => 0.5,
        Station::SoftmaxTwo => 2.0,
        _ => 1.0,
    }
}
