//! x · W + b with W as GPT-2's files have it, [K, N]: one row (decode), a few rows, many rows (prefill).
//!
//! Few rows are bound by the memory that W comes from: W is read once, in order, a few of its rows at a time, and the
//! output stays in the cache. Many rows are bound by arithmetic: a block of W is copied into panels as wide as a tile,
//! and tiles of the output stay in registers. Either way each number of the output is the same chain of fused
//! multiply-adds (see the module above), continued in the output between blocks.
#![allow(unsafe_code)] // parts of one output; loads and stores without bounds checks, inside bounds checked once

use super::lanes::LANES;
use super::shared::SharedOutput;
use super::{Compute, Instructions, Part};

mod few_rows;
mod many_rows;
mod race;
mod tile;

pub use race::Races;
pub use tile::{multiply, multiply_add};

/// Up to here W is read in place: from here on copying it pays.
const FEW_ROWS: usize = 32;
/// Parts have whole panels of the widest tile, so that only the last one has a ragged edge.
const PANEL: usize = 3 * LANES;
/// Floats that a part of a product needs to work in.
pub(super) const WORKSPACE_FLOATS: usize =
    if few_rows::FLOATS > many_rows::FLOATS { few_rows::FLOATS } else { many_rows::FLOATS };

/// A matrix in a longer buffer: row r starts at r · stride.
#[derive(Clone, Copy)]
pub struct MatrixRef<'a> {
    pub values: &'a [f32],
    pub stride: usize,
}

/// The same, to be written.
pub struct MatrixMut<'a> {
    pub values: &'a mut [f32],
    pub stride: usize,
}

impl Compute {
    /// out = x · W + b. x: [T, K], weight: [K, N], bias: [N], out: [T, N]. `after` is applied to this part's columns of
    /// each row when they are finished, while they are in the cache.
    pub fn matmul(
        &mut self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        out: &mut [f32],
        after: fn(Instructions, &mut [f32]),
    ) {
        let columns = bias.len();
        let depth = weight.len() / columns;
        let rows = out.len() / columns;
        assert_eq!(x.len(), rows * depth, "x is not [{rows}, {depth}]");
        assert_eq!(weight.len(), depth * columns, "weight is not [{depth}, {columns}]");
        assert_eq!(out.len(), rows * columns, "out is not [{rows}, {columns}]");

        let out = SharedOutput::new(out);
        let sizes = Product { rows, depth, columns, first: 0, end: columns, side_by_side: 0 };
        if rows == 1 {
            let mut races = std::mem::take(&mut self.races);
            races.run((depth, columns), |side_by_side| {
                self.products(Product { side_by_side, ..sizes }, x, weight, bias, out, after);
            });
            self.races = races;
        } else {
            self.products(sizes, x, weight, bias, out, after);
        }
    }

    /// Each part its columns.
    fn products(
        &mut self,
        sizes: Product,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        out: SharedOutput<'_>,
        after: fn(Instructions, &mut [f32]),
    ) {
        let Product { rows, columns, .. } = sizes;
        let instructions = self.instructions;
        self.in_parts(&|part: Part<'_>| {
            let share = part.share(columns, PANEL);
            if share.is_empty() {
                return;
            }
            for row in 0..rows {
                // SAFETY: parts have columns of their own.
                let out = unsafe { out.range(row * columns + share.start..row * columns + share.end) };
                out.copy_from_slice(&bias[share.clone()]);
            }
            let product = Product { first: share.start, end: share.end, ..sizes };
            if rows <= FEW_ROWS {
                few_rows::few_rows(instructions, product, x, weight, out, part.workspace);
            } else {
                many_rows::many_rows(instructions, product, x, weight, out, part.workspace);
            }
            for row in 0..rows {
                // SAFETY: as above.
                let out = unsafe { out.range(row * columns + share.start..row * columns + share.end) };
                after(instructions, out);
            }
        });
    }
}

/// The sizes of x: [rows, depth] · W: [depth, columns], and the columns `first..end` that are to be computed; for one row of
/// x, how many rows of W are read side by side.
#[derive(Clone, Copy)]
struct Product {
    rows: usize,
    depth: usize,
    columns: usize,
    first: usize,
    end: usize,
    side_by_side: usize,
}
