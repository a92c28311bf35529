//! Checkpoint 7: one block, pre-norm: h = x + attn(ln_1(x)), y = h + mlp(ln_2(h)).

use super::attention::{self, qkv};
use super::{AttentionOutput, FeedForward, LayerNorm, Qkv, Station, Tap};
use crate::cache::{CacheError, KvCache};
use crate::tensor::Compute;

pub struct Block {
    pub layer: usize,
    pub ln_1: LayerNorm,
    pub qkv: Qkv,
    pub attention_output: AttentionOutput,
    pub ln_2: LayerNorm,
    pub feed_forward: FeedForward,
}

/// The tokens that go through the layers together.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// The position of the first.
    pub start: usize,
    pub rows: usize,
}

/// What computes, and the tensors of one pass, as long as the chunk.
pub struct Activations<'a> {
    pub compute: &'a mut Compute,
    pub x: &'a mut [f32],         // [T, C], the residual stream
    pub normed: &'a mut [f32],    // [T, C]
    pub qkv: &'a mut [f32],       // [T, 3C]
    pub merged: &'a mut [f32],    // [T, C]
    pub projected: &'a mut [f32], // [T, C]
    pub hidden: &'a mut [f32],    // [T, 4C]
}

/// x ← block(x). Only the last `keep` rows of x are wanted afterwards; k and v of every row go to the cache.
pub fn forward<T: Tap>(
    block: &Block,
    activations: &mut Activations<'_>,
    cache: &mut KvCache,
    chunk: Chunk,
    keep: usize,
    tap: &mut T,
) -> Result<(), CacheError> {
    let Activations { compute, x, normed, qkv, merged, projected, hidden } = activations;
    let layer = block.layer;
    let width = x.len() / chunk.rows;
    let shape = [chunk.rows, width];

    block.ln_1.forward(compute, x, normed);
    tap.tensor(Station::LayerNorm1, layer, &shape, || normed.to_vec());
    block.qkv.forward(compute, normed, qkv, cache.shape().n_head, layer, tap);
    qkv::store(cache, chunk, qkv, layer, tap)?;

    // from here on, rows do not need each other
    let skipped = chunk.rows - keep;
    if keep == 0 {
        return Ok(());
    }
    let kept = Chunk { start: chunk.start + skipped, rows: keep };
    let hidden_width = hidden.len() / chunk.rows;
    let (x, qkv) = (&mut x[skipped * width..], &qkv[skipped * 3 * width..]);
    let (normed, merged) = (&mut normed[..keep * width], &mut merged[..keep * width]);
    let (projected, hidden) = (&mut projected[..keep * width], &mut hidden[..keep * hidden_width]);

    attention::attend(compute, cache, kept, qkv, merged, layer, tap);
    block.attention_output.forward(compute, merged, projected, layer, tap);
    add(x, projected);
    tap.tensor(Station::AttentionResidual, layer, &shape, || x.to_vec());

    block.ln_2.forward(compute, x, normed);
    tap.tensor(Station::LayerNorm2, layer, &shape, || normed.to_vec());
    block.feed_forward.forward(compute, normed, hidden, projected, layer, tap);
    add(x, projected);
    tap.tensor(Station::Block, layer, &shape, || x.to_vec());
    tap.tensor(Station::BlockOutput, layer, &shape, || x.to_vec());
    Ok(())
}

/// x += y
fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
