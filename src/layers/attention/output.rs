//! Checkpoint 5: probabilities, the values weighted by them, and the projection of the merged heads.

use super::Tile;
use crate::cache::{BLOCK, KvCache};
use crate::layers::{Station, Tap};
use crate::model::Weight;
use crate::tensor::lanes::LANES;
use crate::tensor::{Compute, Instructions, MatrixMut, MatrixRef, multiply_add, softmax};

pub struct AttentionOutput {
    pub weight: Weight, // [C, C]
    pub bias: Weight,   // [C]
}

impl AttentionOutput {
    /// out: [T, C] from merged: [T, C]
    pub fn forward<T: Tap>(&self, compute: &mut Compute, merged: &[f32], out: &mut [f32], layer: usize, tap: &mut T) {
        let bias = self.bias.values();
        compute.matmul(merged, self.weight.values(), bias, out, |_, _| {});
        tap.tensor(Station::AttentionOutput, layer, &[out.len() / bias.len(), bias.len()], || out.to_vec());
    }
}

/// Each row of scores: [rows, N] ← the softmax over the positions up to its own.
pub fn causal_softmax(instructions: Instructions, tile: Tile, scores: MatrixMut<'_>) {
    for (row, scores) in scores.values.chunks_exact_mut(scores.stride).take(tile.rows).enumerate() {
        softmax(instructions, &mut scores[..=tile.start + row]);
    }
}

/// out: [rows, D'] = Σₛ p[row, s] · v[s, ..] over the positions up to the row's own, in ascending order.
pub fn weighted_values(
    instructions: Instructions,
    cache: &KvCache,
    tile: Tile,
    probabilities: MatrixRef<'_>,
    out: &mut [f32],
) {
    let padded = cache.shape().head_size.next_multiple_of(LANES);
    let out = &mut out[..tile.rows * padded];
    out.fill(0.0);
    // what all rows of the tile may see, together
    let common = tile.start + 1;
    for first in (0..common).step_by(BLOCK) {
        let steps = (common - first).min(BLOCK);
        let p = MatrixRef { values: &probabilities.values[first..], stride: probabilities.stride };
        let values = cache.value_block(tile.layer, tile.head, first / BLOCK, 0); // [64, D']
        let sums = MatrixMut { values: &mut *out, stride: padded };
        multiply_add(instructions, (tile.rows, steps, padded), p, values, sums);
    }
    // and the triangle on the diagonal, row by row
    for (row, out) in out.chunks_exact_mut(padded).enumerate() {
        for position in common..common + row {
            let values = cache.value_block(tile.layer, tile.head, position / BLOCK, position % BLOCK);
            let p = MatrixRef { values: &probabilities.values[row * probabilities.stride + position..], stride: 1 };
            let sums = MatrixMut { values: &mut *out, stride: padded };
            multiply_add(instructions, (1, 1, padded), p, values, sums);
        }
    }
}
