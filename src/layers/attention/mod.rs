//! Attention, in three files as in three checkpoints: q, k and v; scores; probabilities, values and the projection.

pub mod output;
pub mod qkv;
pub mod scores;

use crate::cache::{CacheShape, KvCache};
use crate::layers::{Chunk, Station, Tap};
use crate::tensor::lanes::LANES;
use crate::tensor::{Compute, Instructions, MatrixMut, MatrixRef, Part, SharedOutput};

/// Rows of queries that one thread takes through all of attention at a time: their scores stay in its cache.
const TILE_ROWS: usize = 8;

/// Floats that a thread needs for a tile: scores, and the weighted values of one head.
pub fn workspace_floats(shape: CacheShape) -> usize {
    TILE_ROWS * (shape.n_ctx.next_multiple_of(LANES) + shape.head_size.next_multiple_of(LANES))
}

/// merged: [T, C], for the last T rows of a chunk: softmax(mask(q · kᵀ / √D)) · v for each head, heads side by side.
///
/// `qkv` is [T, 3C]; k and v are in the cache already. The mask is in the loops: the row at position p has scores for the
/// positions 0..=p, and the others are never looked at.
pub fn attend<T: Tap>(
    compute: &mut Compute,
    cache: &KvCache,
    chunk: Chunk,
    qkv: &[f32],
    merged: &mut [f32],
    layer: usize,
    tap: &mut T,
) {
    let CacheShape { n_head, head_size, .. } = cache.shape();
    let width = n_head * head_size;
    let rows = chunk.rows;
    let instructions = compute.instructions;
    let tiles = rows.div_ceil(TILE_ROWS);
    let out = SharedOutput::new(merged);
    compute.in_parts(&|part: Part<'_>| {
        // tiles in turn, so that every thread gets some of the long rows at the end
        for item in (part.index..tiles * n_head).step_by(part.count) {
            let (first, head) = (item / n_head * TILE_ROWS, item % n_head);
            let tile = Tile { layer, head, start: chunk.start + first, rows: (rows - first).min(TILE_ROWS) };
            let q = MatrixRef { values: &qkv[first * 3 * width + head * head_size..], stride: 3 * width };
            let positions = tile.start + tile.rows;
            let stride = positions.next_multiple_of(LANES);
            let (scores, values) = part.workspace.split_at_mut(TILE_ROWS * stride);

            scores::scores(instructions, cache, tile, q, positions, MatrixMut { values: scores, stride });
            output::causal_softmax(instructions, tile, MatrixMut { values: scores, stride });
            let probabilities = MatrixRef { values: scores, stride };
            output::weighted_values(instructions, cache, tile, probabilities, values);

            let padded = head_size.next_multiple_of(LANES);
            for row in 0..tile.rows {
                let at = (first + row) * width + head * head_size;
                // SAFETY: every (row, head) belongs to one item, and every item to one part.
                #[allow(unsafe_code)]
                let out = unsafe { out.range(at..at + head_size) };
                out.copy_from_slice(&values[row * padded..][..head_size]);
            }
        }
    });
    if T::ON {
        show(instructions, cache, chunk, qkv, layer, tap);
    }
    tap.tensor(Station::Merged, layer, &[rows, width], || merged.to_vec());
}

/// Some rows of one head.
#[derive(Clone, Copy)]
pub struct Tile {
    pub layer: usize,
    pub head: usize,
    /// The position of the first row.
    pub start: usize,
    pub rows: usize,
}

/// Scores and probabilities as whole tensors, which the tiles above never hold: computed again by the same functions,
/// hence with the same bits. The scores of masked positions exist here only.
fn show<T: Tap>(instructions: Instructions, cache: &KvCache, chunk: Chunk, qkv: &[f32], layer: usize, tap: &mut T) {
    let CacheShape { n_head, head_size, .. } = cache.shape();
    let (rows, positions) = (chunk.rows, chunk.start + chunk.rows);
    let stride = positions.next_multiple_of(LANES);
    // [H, T, N], and what `each` makes of each head's [T, N]
    let all = |each: &dyn Fn(Tile, &mut [f32])| {
        let mut all = Vec::with_capacity(n_head * rows * positions);
        let mut scores = vec![0.0; rows * stride];
        for head in 0..n_head {
            let tile = Tile { layer, head, start: chunk.start, rows };
            let q = MatrixRef { values: &qkv[head * head_size..], stride: 3 * n_head * head_size };
            scores::scores(instructions, cache, tile, q, positions, MatrixMut { values: &mut scores, stride });
            each(tile, &mut scores);
            all.extend(scores.chunks_exact(stride).flat_map(|row| &row[..positions]));
        }
        all
    };
    let after_each_row = |tile: Tile, scores: &mut [f32], filler: f32| {
        for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
            scores[tile.start + row + 1..].fill(filler);
        }
    };
    let shape = [n_head, rows, positions];
    tap.tensor(Station::Scores, layer, &shape, || all(&|_, _| {}));
    tap.tensor(Station::ScoresMasked, layer, &shape, || {
        all(&|tile, scores| after_each_row(tile, scores, f32::NEG_INFINITY))
    });
    tap.tensor(Station::Probabilities, layer, &shape, || {
        all(&|tile, scores| {
            output::causal_softmax(instructions, tile, MatrixMut { values: scores, stride });
            after_each_row(tile, scores, 0.0);
        })
    });
}
