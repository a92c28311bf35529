//! x · W + b with W as GPT-2's files have it, [K, N]: one row (decode), a few rows, many rows (prefill).
//!
//! Few rows are bound by the memory that W comes from: W is read once, in order, eight of its rows at a time, and the
//! output stays in the cache. Many rows are bound by arithmetic: a block of W is copied into panels as wide as a tile,
//! and tiles of the output stay in registers. Either way each number of the output is the same chain of fused
//! multiply-adds (see the module above), continued in the output between blocks.
#![allow(unsafe_code)] // loads and stores without bounds checks, inside bounds checked once

use super::lanes::{LANES, Lanes, for_each_instruction_set};
use super::shared::SharedOutput;
use super::{Compute, Instructions, Part};

/// Up to here W is read in place, so many columns at a time.
const FEW_ROWS: usize = 32;
const FEW_COLUMNS: usize = 768;
/// Rows of W in a packed block, and columns: 576 KB, more than half of a second-level cache of 1 MB.
const BLOCK_DEPTH: usize = 192;
const BLOCK_COLUMNS: usize = 384;
/// The widest tile.
const PANEL: usize = 3 * LANES;
const TILE_FLOATS: usize = 8 * PANEL;
/// What a part of a product needs to work in: a packed block, and one tile for the ragged right edge.
pub(super) const PACKED_FLOATS: usize = BLOCK_DEPTH * BLOCK_COLUMNS + TILE_FLOATS;

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

        let instructions = self.instructions;
        let out = SharedOutput::new(out);
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
            let product = Product { rows, depth, columns, first: share.start, end: share.end };
            if rows <= FEW_ROWS {
                few_rows(instructions, product, x, weight, out, part.workspace);
            } else {
                many_rows(instructions, product, x, weight, out, part.workspace);
            }
            for row in 0..rows {
                // SAFETY: as above.
                let out = unsafe { out.range(row * columns + share.start..row * columns + share.end) };
                after(instructions, out);
            }
        });
    }
}

/// The sizes of x: [rows, depth] · W: [depth, columns], and the columns `first..end` that are to be computed.
#[derive(Clone, Copy)]
struct Product {
    rows: usize,
    depth: usize,
    columns: usize,
    first: usize,
    end: usize,
}

for_each_instruction_set! {
    fn few_rows(product: Product, x: &[f32], weight: &[f32], out: SharedOutput<'_>, workspace: &mut [f32]) = few_rows_of
}

/// Eight rows of W at a time: y += x[k..k+8] · W[k..k+8, ..], for each row y of the output.
///
/// Several rows are summed in the workspace, where they lie a cache line more than a block apart: output rows of 1024 or
/// 3072 numbers would all fall on the same lines of the first cache.
#[inline(always)]
fn few_rows_of<L: Lanes>(
    lanes: L,
    product: Product,
    x: &[f32],
    weight: &[f32],
    out: SharedOutput<'_>,
    workspace: &mut [f32],
) {
    let Product { rows, columns, first, end, .. } = product;
    if rows == 1 {
        // SAFETY: this part's columns.
        let y = unsafe { out.range(first..end) };
        return stream_all::<L>(lanes, product, x, weight, y, end - first);
    }
    const STRIDE: usize = FEW_COLUMNS + LANES;
    for first in (first..end).step_by(FEW_COLUMNS) {
        let end = (first + FEW_COLUMNS).min(end);
        let y = &mut workspace[..rows * STRIDE];
        let part = |row: usize| row * columns + first..row * columns + end;
        for (row, y) in y.chunks_exact_mut(STRIDE).enumerate() {
            // SAFETY (both): this part's columns.
            y[..end - first].copy_from_slice(unsafe { out.range(part(row)) });
        }
        stream_all::<L>(lanes, Product { first, end, ..product }, x, weight, y, STRIDE);
        for (row, y) in y.chunks_exact(STRIDE).enumerate() {
            unsafe { out.range(part(row)) }.copy_from_slice(&y[..end - first]);
        }
    }
}

/// y += x · W over the columns `first..end` of W. y: [rows, end − first] in rows of `stride`.
#[inline(always)]
fn stream_all<L: Lanes>(lanes: L, product: Product, x: &[f32], weight: &[f32], y: &mut [f32], stride: usize) {
    let Product { rows, depth, columns, first, end } = product;
    let vectors = (end - first) / LANES;
    assert!(x.len() >= rows * depth && weight.len() >= depth * columns && end <= columns);
    assert!(end - first <= stride && y.len() >= (rows - 1) * stride + end - first);
    // columns k..k + 8 of x, side by side: in x they are a power of two apart as often as not
    let mut x_block = [[0.0; 8]; FEW_ROWS];
    for k in (0..depth).step_by(8) {
        let steps = (depth - k).min(8);
        for (x, block) in x.chunks_exact(depth).zip(&mut x_block) {
            block[..steps].copy_from_slice(&x[k..k + steps]);
        }
        let stream = Stream { x: &x_block[..rows], w_stride: columns, y_stride: stride, vectors };
        // SAFETY: by the assertions; k + steps ≤ depth, first + 16 · vectors ≤ end.
        unsafe {
            let (w, y) = (weight.as_ptr().add(k * columns + first), y.as_mut_ptr());
            match (steps, rows) {
                (8, 1) => stream.one_row::<L>(lanes, w, y),
                (8, _) => stream.rows::<L, 8>(lanes, 0, w, y),
                _ => (0..steps).for_each(|i| stream.rows::<L, 1>(lanes, i, w.add(i * columns), y)),
            }
        }
        // the ragged right edge, one number at a time
        for row in 0..rows {
            for column in first + vectors * LANES..end {
                let y = &mut y[row * stride + column - first];
                for i in k..k + steps {
                    *y = x[row * depth + i].mul_add(weight[i * columns + column], *y);
                }
            }
        }
    }
}

/// Eight rows of W on their way through the registers.
#[derive(Clone, Copy)]
struct Stream<'a> {
    x: &'a [[f32; 8]], // [rows, 8]
    w_stride: usize,
    y_stride: usize,
    vectors: usize,
}

impl Stream<'_> {
    /// `y[r, ..] += x[r, first..first + STEPS] · w[0..STEPS, ..]` for all rows: each vector of w is loaded once.
    ///
    /// # Safety
    /// w: [STEPS, 16 · vectors] and y: [rows, 16 · vectors] must lie inside their buffers.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const STEPS: usize>(self, lanes: L, first: usize, w: *const f32, y: *mut f32) {
        for vector in 0..self.vectors {
            // SAFETY: the caller's promise.
            unsafe {
                let (w, mut y) = (w.add(vector * LANES), y.add(vector * LANES));
                // the rows of W after these
                (STEPS..2 * STEPS).for_each(|i| lanes.prefetch(w.wrapping_add(i * self.w_stride)));
                let w: [L::Vector; STEPS] = std::array::from_fn(|i| lanes.load(w.add(i * self.w_stride)));
                for x in self.x {
                    let mut sum = lanes.load(y);
                    for (w, x) in w.iter().zip(&x[first..first + STEPS]) {
                        sum = lanes.multiply_add(lanes.splat(*x), *w, sum);
                    }
                    lanes.store(sum, y);
                    y = y.wrapping_add(self.y_stride);
                }
            }
        }
    }

    /// The same for one row and eight steps, with the numbers of x kept in registers.
    ///
    /// # Safety
    /// As `rows`.
    #[inline(always)]
    unsafe fn one_row<L: Lanes>(self, lanes: L, w: *const f32, y: *mut f32) {
        let x = self.x[0].map(|x| lanes.splat(x));
        // the processor sees that rows are read in order, but not where the next ones begin
        for row in 8..16 {
            (0..4).for_each(|line| lanes.prefetch(w.wrapping_add(row * self.w_stride + line * LANES)));
        }
        for vector in 0..self.vectors {
            // SAFETY: the caller's promise.
            unsafe {
                let (w, y) = (w.add(vector * LANES), y.add(vector * LANES));
                let mut sum = lanes.load(y);
                for (i, x) in x.iter().enumerate() {
                    sum = lanes.multiply_add(*x, lanes.load(w.add(i * self.w_stride)), sum);
                }
                lanes.store(sum, y);
            }
        }
    }
}

for_each_instruction_set! {
    fn many_rows(product: Product, x: &[f32], weight: &[f32], out: SharedOutput<'_>, workspace: &mut [f32]) = many_rows_of
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
    let Product { rows, depth, columns, first, end } = product;
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
fn pack<L: Lanes>(
    lanes: L,
    weight: &[f32],
    columns: usize,
    block: std::ops::Range<usize>,
    steps: usize,
    packed: &mut [f32],
) {
    let width = L::TILE_VECTORS * LANES;
    for (column, panel) in block.clone().step_by(width).zip(packed.chunks_exact_mut(steps * width)) {
        let end = (column + width).min(block.end);
        for (row, to) in weight.chunks(columns).zip(panel.chunks_exact_mut(width)) {
            let values = &row[column..end];
            if values.len() == width {
                for (to, values) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(values.as_chunks::<LANES>().0) {
                    *to = lanes.to_array(lanes.from_array(*values));
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

/// Columns of W as wide as a tile.
#[derive(Clone, Copy)]
struct Panel<'a> {
    w: MatrixRef<'a>, // [steps, 16 · vectors]
    vectors: usize,
    /// What will be packed into this place next, asked for from memory while this is multiplied.
    next: *const f32,
    next_stride: usize,
}

/// y = x · w, or y += x · w, tile by tile. x: [rows, steps], w: [steps, 16 · vectors], y: [rows, 16 · vectors].
///
/// # Safety
/// y with stride `y_stride` must lie inside its buffer. (x and w are checked here.)
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn tiles<L: Lanes>(
    lanes: L,
    rows: usize,
    steps: usize,
    x: MatrixRef<'_>,
    panel: Panel<'_>,
    y: *mut f32,
    y_stride: usize,
    add: bool,
) {
    let Panel { w, vectors, mut next, mut next_stride } = panel;
    if rows == 0 || steps == 0 {
        return;
    }
    assert!(x.values.len() >= (rows - 1) * x.stride + steps);
    assert!(w.values.len() >= (steps - 1) * w.stride + vectors * LANES);
    let mut row = 0;
    while row < rows {
        let tile_rows = match rows - row {
            left if left >= L::TILE_ROWS => L::TILE_ROWS,
            left if left >= 4 => 4,
            left if left >= 2 => 2,
            _ => 1,
        };
        // SAFETY: x and w by the assertions, y by the caller's promise; row + tile_rows ≤ rows.
        unsafe {
            let tile = Tile {
                steps,
                x: x.values.as_ptr().add(row * x.stride),
                x_stride: x.stride,
                w: w.values.as_ptr(),
                w_stride: w.stride,
                next,
                next_stride,
                y: y.add(row * y_stride),
                y_stride,
                add,
            };
            match (tile_rows, vectors) {
                (8, 3) => tile.compute::<L, 8, 3>(lanes),
                (8, 2) => tile.compute::<L, 8, 2>(lanes),
                (8, _) => tile.compute::<L, 8, 1>(lanes),
                (6, _) => tile.compute::<L, 6, 1>(lanes),
                (4, 3) => tile.compute::<L, 4, 3>(lanes),
                (4, 2) => tile.compute::<L, 4, 2>(lanes),
                (4, _) => tile.compute::<L, 4, 1>(lanes),
                (2, 3) => tile.compute::<L, 2, 3>(lanes),
                (2, 2) => tile.compute::<L, 2, 2>(lanes),
                (2, _) => tile.compute::<L, 2, 1>(lanes),
                (_, 3) => tile.compute::<L, 1, 3>(lanes),
                (_, 2) => tile.compute::<L, 1, 2>(lanes),
                (_, _) => tile.compute::<L, 1, 1>(lanes),
            }
        }
        row += tile_rows;
        // once is enough
        (next, next_stride) = (w.values.as_ptr(), 0);
    }
}

/// One tile of the output, held in registers while the steps go by.
struct Tile {
    steps: usize,
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    w_stride: usize,
    next: *const f32,
    next_stride: usize,
    y: *mut f32,
    y_stride: usize,
    /// Continue the chains that y holds, or start at zero.
    add: bool,
}

impl Tile {
    /// # Safety
    /// x: [ROWS, steps], w: [steps, 16 · VECTORS], y: [ROWS, 16 · VECTORS] must lie inside their buffers.
    #[inline(always)]
    unsafe fn compute<L: Lanes, const ROWS: usize, const VECTORS: usize>(&self, lanes: L) {
        // SAFETY (whole body): the caller's promise.
        unsafe {
            let y = |row: usize, vector: usize| self.y.add(row * self.y_stride + vector * LANES);
            let mut sums = [[lanes.splat(0.0); VECTORS]; ROWS];
            if self.add {
                for row in 0..ROWS {
                    for vector in 0..VECTORS {
                        sums[row][vector] = lanes.load(y(row, vector));
                    }
                }
            }
            let (mut x, mut w, mut next) = (self.x, self.w, self.next);
            for _ in 0..self.steps {
                (0..VECTORS).for_each(|vector| lanes.prefetch(next.wrapping_add(vector * LANES)));
                next = next.wrapping_add(self.next_stride);
                let columns: [L::Vector; VECTORS] = std::array::from_fn(|vector| lanes.load(w.add(vector * LANES)));
                for row in 0..ROWS {
                    let value = lanes.splat(*x.add(row * self.x_stride));
                    for vector in 0..VECTORS {
                        sums[row][vector] = lanes.multiply_add(value, columns[vector], sums[row][vector]);
                    }
                }
                x = x.wrapping_add(1);
                w = w.wrapping_add(self.w_stride);
            }
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    lanes.store(sums[row][vector], y(row, vector));
                }
            }
        }
    }
}

#[inline(always)]
fn multiply_of<L: Lanes>(
    lanes: L,
    (rows, steps, columns): (usize, usize, usize),
    x: MatrixRef<'_>,
    w: MatrixRef<'_>,
    y: MatrixMut<'_>,
    add: bool,
) {
    assert!(columns.is_multiple_of(LANES), "{columns} columns are not whole vectors");
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(y.values.len() >= (rows - 1) * y.stride + columns);
    let mut column = 0;
    while column < columns {
        // four vectors left: two and two are better than three and one
        let vectors = match (columns - column) / LANES {
            1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
        let vectors = vectors.min(L::TILE_VECTORS);
        let w = MatrixRef { values: &w.values[column..], stride: w.stride };
        let panel = Panel { w, vectors, next: w.values.as_ptr(), next_stride: 0 };
        // SAFETY: y by the assertion above, column + 16 · vectors ≤ columns.
        unsafe {
            let to = y.values.as_mut_ptr().add(column);
            tiles::<L>(lanes, rows, steps, x, panel, to, y.stride, add);
        }
        column += vectors * LANES;
    }
}

for_each_instruction_set! {
    fn multiply_with(sizes: (usize, usize, usize), x: MatrixRef<'_>, w: MatrixRef<'_>, y: MatrixMut<'_>, add: bool) = multiply_of
}

/// y = x · w for small matrices, as attention has them. Sizes are (rows, steps, columns); columns in whole vectors.
pub fn multiply(
    instructions: Instructions,
    sizes: (usize, usize, usize),
    x: MatrixRef<'_>,
    w: MatrixRef<'_>,
    y: MatrixMut<'_>,
) {
    multiply_with(instructions, sizes, x, w, y, false);
}

/// y += x · w: continues the chains that y holds.
pub fn multiply_add(
    instructions: Instructions,
    sizes: (usize, usize, usize),
    x: MatrixRef<'_>,
    w: MatrixRef<'_>,
    y: MatrixMut<'_>,
) {
    multiply_with(instructions, sizes, x, w, y, true);
}
