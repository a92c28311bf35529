//! Checkpoint 5: probabilities, the values weighted by them, and the projection of the merged heads.

use std::ops::Range;

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
    // positions in order, `rows` rows of the tile together, block by block
    let mut weigh = |first_row: usize, rows: usize, positions: Range<usize>| {
        let mut position = positions.start;
        while position < positions.end {
            let steps = (BLOCK - position % BLOCK).min(positions.end - position);
            let p = &probabilities.values[first_row * probabilities.stride + position..];
            let p = MatrixRef { values: p, stride: probabilities.stride }; // [rows, steps]
            let v = cache.value_block(tile.layer, tile.head, position / BLOCK, position % BLOCK); // [steps, D']
            let sums = MatrixMut { values: &mut out[first_row * padded..], stride: padded }; // [rows, D']
            multiply_add(instructions, (rows, steps, padded), p, v, sums);
            position += steps;
        }
    };
    // what all rows of the tile may see; then, row by row, the triangle on the diagonal
    let common = tile.start + 1;
    weigh(0, tile.rows, 0..common);
    for row in 1..tile.rows {
        weigh(row, 1, common..common + row);
    }
}
