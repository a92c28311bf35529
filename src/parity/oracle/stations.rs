//! The model: every station as a function of the stations before it, in the order of execution.

use super::operations::{add, argmax, causal_mask, embed, gelu, head, layer_norm, linear, linear_columns, merge, row};
use super::operations::{scores, softmax};
use super::pass::{Pass, written};
use super::{Model, Tensor};
use crate::layers::Station;
use crate::model::tokenizer::Tokenizer;
use crate::model::{Gpt2Configuration, ModelError};

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
    /// Among the learned positions.
    pub position: usize,
    /// In the cache.
    pub start: usize,
}

/// The model as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Operations for Honest {}

/// The station of the model as it is.
pub fn honest<O: Operations>(pass: &Pass<'_, O>, station: Station, layer: usize) -> Result<Tensor, ModelError> {
    let Model { configuration, .. } = pass.model;
    let Gpt2Configuration { n_head: h, n_embd: c, n_inner, n_ctx, layer_norm_epsilon: epsilon, .. } = *configuration;
    let get = |station| pass.get(station, layer);
    let weight = |name: &str, shape: &[usize]| pass.block_weight(layer, name, shape);
    // q, k and v are the first, second and last C columns of one projection; in each, head after head
    let third = |number: usize| -> Result<Tensor, ModelError> {
        let (w, b) = (weight("attn.c_attn.weight", &[c, 3 * c])?, weight("attn.c_attn.bias", &[3 * c])?);
        let x = get(Station::LayerNorm1)?; // [T, C]
        let columns = linear_columns(&x, &w, &b, number * c..(number + 1) * c); // [T, C]
        Ok(Tensor { shape: vec![pass.rows(), h, c / h], values: columns.values }) // [T, H, D]
    };
    Ok(match station {
        Station::Embedding => {
            let (wte, wpe) = (pass.model.token_embedding()?, pass.model.weight("wpe.weight", &[n_ctx, c])?);
            embed(pass.tokens, pass.position, &wte, &wpe) // [T, C]
        }
        Station::LayerNorm1 => {
            let (w, b) = (weight("ln_1.weight", &[c])?, weight("ln_1.bias", &[c])?);
            layer_norm(&*pass.block_input(layer)?, &w, &b, epsilon) // [T, C]
        }
        Station::Query => third(0)?,
        Station::Key => third(1)?,
        Station::Value => third(2)?,
        Station::CachedKeys => written(&pass.past.keys[layer], pass.start, &*get(Station::Key)?),
        Station::CachedValues => written(&pass.past.values[layer], pass.start, &*get(Station::Value)?),
        Station::Scores => scores(&*get(Station::Query)?, &*get(Station::CachedKeys)?, pass.positions()), // [H, T, N]
        Station::ScoresMasked => causal_mask(&*get(Station::Scores)?, pass.start),
        Station::Probabilities => softmax(&*get(Station::ScoresMasked)?),
        Station::Merged => merge(&*get(Station::Probabilities)?, &*get(Station::CachedValues)?), // [T, C]
        Station::AttentionOutput => {
            let (w, b) = (weight("attn.c_proj.weight", &[c, c])?, weight("attn.c_proj.bias", &[c])?);
            linear(&*get(Station::Merged)?, &w, &b) // [T, C]
        }
        Station::AttentionResidual => add(&*pass.block_input(layer)?, &*get(Station::AttentionOutput)?),
        Station::LayerNorm2 => {
            let (w, b) = (weight("ln_2.weight", &[c])?, weight("ln_2.bias", &[c])?);
            layer_norm(&*get(Station::AttentionResidual)?, &w, &b, epsilon) // [T, C]
        }
        Station::FeedForwardHidden => {
            let (w, b) = (weight("mlp.c_fc.weight", &[c, n_inner])?, weight("mlp.c_fc.bias", &[n_inner])?);
            linear(&*get(Station::LayerNorm2)?, &w, &b) // [T, 4C]
        }
        Station::Gelu => gelu(&*get(Station::FeedForwardHidden)?),
        Station::FeedForwardOutput => {
            let (w, b) = (weight("mlp.c_proj.weight", &[n_inner, c])?, weight("mlp.c_proj.bias", &[c])?);
            linear(&*get(Station::Gelu)?, &w, &b) // [T, C]
        }
        Station::Block => add(&*get(Station::AttentionResidual)?, &*get(Station::FeedForwardOutput)?),
        Station::BlockOutput => (*get(Station::Block)?).clone(),
        Station::FinalLayerNorm => {
            let (w, b) = (pass.model.weight("ln_f.weight", &[c])?, pass.model.weight("ln_f.bias", &[c])?);
            layer_norm(&*pass.block_input(configuration.n_layer)?, &w, &b, epsilon) // [T, C]
        }
        Station::Logits => head(&*get(Station::FinalLayerNorm)?, &pass.model.head()?), // [T, V]
        Station::SelectedLogits => row(&*get(Station::Logits)?, pass.rows() - 1),      // [V]
        Station::Argmax => Tensor::new(&[1], vec![argmax(&*get(Station::SelectedLogits)?) as f64]),
        Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => {
            softmax(&get(Station::SelectedLogits)?.map(|logit| logit / temperature(station))) // [V]
        }
        // Of a whole generation, and of no pass: the first of them.
        Station::GeneratedIds => (*get(Station::Argmax)?).clone(),
        // Of architectures with rotary positions; here nothing turns.
        Station::QueryRotated => (*get(Station::Query)?).clone(),
        Station::KeyRotated => (*get(Station::Key)?).clone(),
        // Of architectures with gated feed-forward layers; here nothing is gated.
        Station::Gate | Station::Up => (*get(Station::FeedForwardHidden)?).clone(),
        Station::GatedProduct => (*get(Station::Gelu)?).clone(),
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
