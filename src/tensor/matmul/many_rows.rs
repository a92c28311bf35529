//! Many rows of x: a block of W is copied into panels as wide as a tile, and each panel meets all rows.

use std::ops::Range;

use super::tile::{Panel, tiles};
use super::{MatrixRef, Product};
use crate::tensor::lanes::{LANES, Lanes, for_each_instruction_set};
use crate::tensor::shared::SharedOutput;

/// Rows and columns of a block: with what is asked for ahead, half of a second-level cache of 1 MB.
const BLOCK_DEPTH: usize = 192;
const BLOCK_COLUMNS: usize = 384;
/// The largest tile.
const TILE_FLOATS: usize = 8 * 3 * LANES;
/// A packed block, and a tile for the ragged right edge.
pub(super) const FLOATS: usize = BLOCK_DEPTH * BLOCK_COLUMNS + TILE_FLOATS;

for_each_instruction_set! {
    pub(super) fn many_rows(product: Product, x: &[f32], weight: &[f32], out: SharedOutput<'_>, workspace: &mut [f32]) = many_rows_of
}

/// Block by block: copy a block of W into panels, then multiply each panel with all rows of x.
#[inline(always)]
fn many_rows_of<L: Lanes>(
    lanes: L,
    product: Product,
    x: &[f32],
    weight: &[f32],
    out: SharedOutput<'_>,
    workspace: &mut [f32],
) {
    let Product { rows, depth, columns, first, end, .. } = product;
    let panel_columns = L::TILE_VECTORS * LANES;
    let (edge, packed) = workspace.split_at_mut(TILE_FLOATS);
    let y = out.pointer(rows * columns); // used for this part's columns only
    for block in (first..end).step_by(BLOCK_COLUMNS) {
        let block_end = (block + BLOCK_COLUMNS).min(end);
        for k in (0..depth).step_by(BLOCK_DEPTH) {
            let steps = (depth - k).min(BLOCK_DEPTH);
            pack(lanes, &weight[k * columns..], columns, block..block_end, steps, packed);
            // where the next block begins: below this one, or at the top of the next columns
            let next = if k + steps < depth { (k + steps) * columns + block } else { block_end };
            let panels = packed.chunks_exact(steps * panel_columns);
            for (column, panel) in (block..block_end).step_by(panel_columns).zip(panels) {
                let width = (block_end - column).min(panel_columns);
                let x = MatrixRef { values: &x[k..], stride: depth };
                let panel = Panel {
                    w: MatrixRef { values: panel, stride: panel_columns },
                    vectors: L::TILE_VECTORS,
                    next: weight.as_ptr().wrapping_add(next + column - block),
                    next_stride: columns,
                };
                // SAFETY: rows · columns is the length of y, and column + width ≤ end; the tiles of a whole panel are
                // written in place, those of a narrower one through `edge`.
                unsafe {
                    if width == panel_columns {
                        tiles::<L>(lanes, rows, steps, x, panel, y.add(column), columns, true);
                    } else {
                        edge_tiles::<L>(lanes, rows, steps, x, panel, edge, width, y.add(column), columns);
                    }
                }
            }
        }
    }
}

/// Copies `steps` rows of W, columns `block`, into panels: panel p is [steps, panel], its rows back to back, the last
/// one filled up with zeros.
#[inline(always)]
fn pack<L: Lanes>(lanes: L, weight: &[f32], columns: usize, block: Range<usize>, steps: usize, packed: &mut [f32]) {
    let width = L::TILE_VECTORS * LANES;
    for (column, panel) in block.clone().step_by(width).zip(packed.chunks_exact_mut(steps * width)) {
        let end = (column + width).min(block.end);
        for (row, to) in weight.chunks(columns).zip(panel.chunks_exact_mut(width)) {
            let values = &row[column..end];
            if values.len() == width {
                for (to, values) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(values.as_chunks::<LANES>().0) {
                    *to = lanes.to_array(lanes.of_array(*values));
                }
            } else {
                to.fill(0.0);
                to[..values.len()].copy_from_slice(values);
            }
        }
    }
}

/// Tiles of a panel whose columns stick out at the right: computed beside the output, and copied in.
///
/// # Safety
/// y: [rows, width] with stride `y_stride` must lie inside its buffer.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn edge_tiles<L: Lanes>(
    lanes: L,
    rows: usize,
    steps: usize,
    x: MatrixRef<'_>,
    panel: Panel<'_>,
    edge: &mut [f32],
    width: usize,
    y: *mut f32,
    y_stride: usize,
) {
    let stride = L::TILE_VECTORS * LANES;
    for row in (0..rows).step_by(L::TILE_ROWS) {
        let tile_rows = (rows - row).min(L::TILE_ROWS);
        // SAFETY: the caller's promise; `edge` has room for the largest tile.
        unsafe {
            for r in 0..tile_rows {
                let y = std::slice::from_raw_parts(y.add((row + r) * y_stride), width);
                edge[r * stride..][..width].copy_from_slice(y);
            }
            let x = MatrixRef { values: &x.values[row * x.stride..], stride: x.stride };
            let to = edge.as_mut_ptr();
            tiles::<L>(lanes, tile_rows, steps, x, panel, to, stride, true);
            for r in 0..tile_rows {
                let y = std::slice::from_raw_parts_mut(y.add((row + r) * y_stride), width);
                y.copy_from_slice(&edge[r * stride..][..width]);
            }
        }
    }
}
