//! Few rows of x: W is read once, in order, some of its rows at a time, as fast as memory gives it.

use super::{FEW_ROWS, Product};
use crate::tensor::lanes::{LANES, Lanes, for_each_instruction_set};
use crate::tensor::shared::SharedOutput;

/// Columns that are summed at a time, and how far apart their rows are.
const COLUMNS: usize = 768;
const STRIDE: usize = COLUMNS + LANES;
pub(super) const FLOATS: usize = FEW_ROWS * STRIDE;

for_each_instruction_set! {
    pub(super) fn few_rows(product: Product, x: &[f32], weight: &[f32], out: SharedOutput<'_>, workspace: &mut [f32]) = few_rows_of
}

/// One row of x: y += x[k..k + n] · W[k..k + n, ..], with the n that won the [race](super::race). Several rows of x: eight at
/// a time, so that each y is loaded and stored half as often.
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
        return match product.side_by_side {
            1 => stream_one::<L, 1>(lanes, product, x, weight, y),
            4 => stream_one::<L, 4>(lanes, product, x, weight, y),
            _ => stream_one::<L, 8>(lanes, product, x, weight, y),
        };
    }
    for first in (first..end).step_by(COLUMNS) {
        let end = (first + COLUMNS).min(end);
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

/// y += x · W for one row over the columns `first..end` of W. y: [end − first].
#[inline(always)]
fn stream_one<L: Lanes, const STEPS: usize>(lanes: L, product: Product, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let Product { depth, columns, first, end, .. } = product;
    let vectors = (end - first) / LANES;
    assert!(x.len() == depth && weight.len() >= depth * columns && end <= columns && y.len() == end - first);
    let edge = first + vectors * LANES..end;
    for (block, x) in x.chunks(STEPS).enumerate() {
        let k = block * STEPS;
        // SAFETY: by the assertion; k + x.len() ≤ depth, first + 16 · vectors ≤ end.
        unsafe {
            let (w, y) = (weight.as_ptr().add(k * columns + first), y.as_mut_ptr());
            match x.first_chunk::<STEPS>() {
                Some(x) => one_row::<L, STEPS>(lanes, x, w, columns, y, vectors),
                None => x.iter().enumerate().for_each(|(i, x)| {
                    one_row::<L, 1>(lanes, &[*x], w.add(i * columns), columns, y, vectors);
                }),
            }
        }
        // the ragged right edge, one number at a time
        for column in edge.clone() {
            let y = &mut y[column - first];
            for (i, x) in x.iter().enumerate() {
                *y = x.mul_add(weight[(k + i) * columns + column], *y);
            }
        }
    }
}

/// y += x[0..STEPS] · w[0..STEPS, ..], with the numbers of x kept in registers.
///
/// # Safety
/// w: [STEPS, 16 · vectors] in rows of `w_stride` and y: [16 · vectors] must lie inside their buffers.
#[inline(always)]
unsafe fn one_row<L: Lanes, const STEPS: usize>(
    lanes: L,
    x: &[f32; STEPS],
    w: *const f32,
    w_stride: usize,
    y: *mut f32,
    vectors: usize,
) {
    let x = x.map(|x| lanes.splat(x));
    // the processor sees that rows are read in order, but not where the next ones begin
    for row in STEPS..2 * STEPS {
        (0..2).for_each(|line| lanes.prefetch(w.wrapping_add(row * w_stride + line * LANES)));
    }
    for vector in 0..vectors {
        // SAFETY: the caller's promise.
        unsafe {
            let (w, y) = (w.add(vector * LANES), y.add(vector * LANES));
            let mut sum = lanes.load(y);
            for (i, x) in x.iter().enumerate() {
                sum = lanes.multiply_add(*x, lanes.load(w.add(i * w_stride)), sum);
            }
            lanes.store(sum, y);
        }
    }
}

/// y += x · W over the columns `first..end` of W. y: [rows, end − first] in rows of `stride`.
#[inline(always)]
fn stream_all<L: Lanes>(lanes: L, product: Product, x: &[f32], weight: &[f32], y: &mut [f32], stride: usize) {
    let Product { rows, depth, columns, first, end, .. } = product;
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
            match steps {
                8 => stream.rows::<L, 8>(lanes, 0, w, y),
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
}
