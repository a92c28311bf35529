//! What a forward pass is made of, as one trait: each operation is a method whose default is the right one.
//!
//! [`Honest`] keeps every default and has no size: the pass that a worker runs is compiled for it alone. A pass with one
//! operation replaced is another type that overrides one method; nothing in the honest code knows of it.

use super::attention::{self, qkv};
use super::{Activations, AttentionOutput, Block, Chunk, Embedding, FeedForward, LayerNorm, Qkv, Tap, transformer};
use crate::cache::{CacheError, KvCache};
use crate::model::Weight;
use crate::tensor::Compute;

/// Which layer norm of the model it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    First { layer: usize },
    Second { layer: usize },
    Final,
}

pub trait Operations {
    /// x: [T, C]
    fn embed(&self, embedding: &Embedding, tokens: &[u32], start: usize, x: &mut [f32]) {
        embedding.forward(tokens, start, x);
    }

    /// Which block runs as number `index` of `count`.
    fn block_at(&self, index: usize, _count: usize) -> usize {
        index
    }

    /// y = h + mlp(ln_2(h)) with h = x + attn(ln_1(x)), in place.
    fn block<T: Tap>(
        &self,
        block: &Block,
        activations: &mut Activations<'_>,
        cache: &mut KvCache,
        chunk: Chunk,
        keep: usize,
        tap: &mut T,
    ) -> Result<(), CacheError>
    where
        Self: Sized,
    {
        transformer::forward(self, block, activations, cache, chunk, keep, tap)
    }

    /// out: [T, C] from x: [T, C]
    fn layer_norm(&self, _which: Norm, norm: &LayerNorm, compute: &mut Compute, x: &[f32], out: &mut [f32]) {
        norm.forward(compute, x, out);
    }

    /// qkv: [T, 3C] from x: [T, C]
    #[allow(clippy::too_many_arguments)]
    fn qkv<T: Tap>(
        &self,
        projection: &Qkv,
        compute: &mut Compute,
        x: &[f32],
        qkv: &mut [f32],
        heads: usize,
        layer: usize,
        tap: &mut T,
    ) {
        projection.forward(compute, x, qkv, heads, layer, tap);
    }

    /// k and v of qkv: [T, 3C] into the cache.
    fn store<T: Tap>(
        &self,
        cache: &mut KvCache,
        chunk: Chunk,
        qkv: &[f32],
        layer: usize,
        tap: &mut T,
    ) -> Result<(), CacheError> {
        qkv::store(cache, chunk, qkv, layer, tap)
    }

    /// merged: [T, C] from q of qkv: [T, 3C] and the cache.
    #[allow(clippy::too_many_arguments)]
    fn attend<T: Tap>(
        &self,
        compute: &mut Compute,
        cache: &KvCache,
        chunk: Chunk,
        qkv: &[f32],
        merged: &mut [f32],
        layer: usize,
        tap: &mut T,
    ) {
        attention::attend(compute, cache, chunk, qkv, merged, layer, tap);
    }

    /// out: [T, C] from merged: [T, C]
    fn attention_output<T: Tap>(
        &self,
        projection: &AttentionOutput,
        compute: &mut Compute,
        merged: &[f32],
        out: &mut [f32],
        layer: usize,
        tap: &mut T,
    ) {
        projection.forward(compute, merged, out, layer, tap);
    }

    /// out: [T, C] from x: [T, C], by way of hidden: [T, 4C]
    #[allow(clippy::too_many_arguments)]
    fn feed_forward<T: Tap>(
        &self,
        feed_forward: &FeedForward,
        compute: &mut Compute,
        x: &[f32],
        hidden: &mut [f32],
        out: &mut [f32],
        layer: usize,
        tap: &mut T,
    ) {
        feed_forward.forward(compute, x, hidden, out, layer, tap);
    }

    /// logits: [T, V] from x: [T, C]; the head is the token embedding, [V, C], and has no bias.
    fn head(&self, head: &Weight, compute: &mut Compute, x: &[f32], width: usize, logits: &mut [f32]) {
        compute.matmul_transposed(x, head.values(), width, logits);
    }
}

/// The model as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honest;

impl Operations for Honest {}
