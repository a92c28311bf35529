//! Checkpoint 4: scores = q · kᵀ / √D.

use super::Tile;
use crate::cache::{BLOCK, KvCache};
use crate::tensor::lanes::LANES;
use crate::tensor::{Instructions, MatrixMut, MatrixRef, multiply, scale};

/// out: [rows, N], the scaled scores of a tile's queries against the positions `0..positions`. q: [rows, D].
///
/// Rows of `out` are whole vectors long; what lies between N and the end of a row is of no meaning.
pub fn scores(
    instructions: Instructions,
    cache: &KvCache,
    tile: Tile,
    q: MatrixRef<'_>,
    positions: usize,
    out: MatrixMut<'_>,
) {
    let head_size = cache.shape().head_size;
    let MatrixMut { values, stride } = out;
    for first in (0..positions).step_by(BLOCK) {
        let columns = (positions - first).min(BLOCK).next_multiple_of(LANES);
        let keys = cache.key_block(tile.layer, tile.head, first / BLOCK); // [D, 64]
        let block = MatrixMut { values: &mut values[first..], stride };
        multiply(instructions, (tile.rows, head_size, columns), q, keys, block);
    }
    let one_over_root = 1.0 / (head_size as f32).sqrt();
    for row in values.chunks_exact_mut(stride).take(tile.rows) {
        scale(instructions, &mut row[..positions], one_over_root);
    }
}
