//! x · Wᵀ with W: [V, C], the embedding's matrix used as the head: each logit is a dot product of two rows in memory.

use super::lanes::{LANES, Lanes, for_each_instruction_set};
use super::shared::SharedOutput;
use super::{Compute, Part};

/// Rows of W that are read at the same time, far apart from each other: streams that a processor follows by itself.
const STREAMS: usize = 4;
/// How far ahead each stream is asked for. Where pages are small, or rows begin inside a cache line (as a file may have
/// them), a processor that is left to itself falls behind by a tenth.
const AHEAD: usize = 16 * LANES;

impl Compute {
    /// out = x · Wᵀ. x: [T, C], weight: [V, C], out: [T, V].
    pub fn matmul_transposed(&mut self, x: &[f32], weight: &[f32], width: usize, out: &mut [f32]) {
        let (rows, columns) = (x.len() / width, weight.len() / width);
        assert_eq!(x.len(), rows * width, "x is not [{rows}, {width}]");
        assert_eq!(weight.len(), columns * width, "weight is not [{columns}, {width}]");
        assert_eq!(out.len(), rows * columns, "out is not [{rows}, {columns}]");
        let instructions = self.instructions;
        let out = SharedOutput::new(out);
        #[allow(unsafe_code)]
        self.in_parts(&|part: Part<'_>| {
            let share = part.share(columns, LANES);
            let weight = &weight[share.start * width..share.end * width];
            for (row, x) in x.chunks_exact(width).enumerate() {
                // SAFETY: parts have columns of their own.
                let out = unsafe { out.range(row * columns + share.start..row * columns + share.end) };
                dot_products(instructions, x, weight, out);
            }
        });
    }
}

/// outᵢ = x · wᵢ. Lane l sums the products l, l + 16, …; then the lanes are summed.
#[inline(always)]
fn dot_products_of<L: Lanes>(lanes: L, x: &[f32], weight: &[f32], out: &mut [f32]) {
    let width = x.len();
    let row = |i: usize| &weight[i * width..][..width];
    let stream = out.len() / STREAMS;
    for i in 0..stream {
        let rows: [usize; STREAMS] = std::array::from_fn(|number| number * stream + i);
        for (row, sum) in rows.into_iter().zip(dot(lanes, x, rows.map(row))) {
            out[row] = sum;
        }
    }
    for (i, out) in out.iter_mut().enumerate().skip(STREAMS * stream) {
        [*out] = dot(lanes, x, [row(i)]);
    }
}
for_each_instruction_set! {
    fn dot_products(x: &[f32], weight: &[f32], out: &mut [f32]) = dot_products_of
}

#[inline(always)]
fn dot<L: Lanes, const ROWS: usize>(lanes: L, x: &[f32], w: [&[f32]; ROWS]) -> [f32; ROWS] {
    let mut sums = [lanes.splat(0.0); ROWS];
    let (whole, rest) = x.as_chunks::<LANES>();
    let w = w.map(|row| row.as_chunks::<LANES>());
    for (i, x) in whole.iter().enumerate() {
        let x = lanes.of_array(*x);
        for (sum, (w, _)) in sums.iter_mut().zip(&w) {
            lanes.prefetch_near(w[i].as_ptr().wrapping_add(AHEAD)); // in the next row of the stream, at the end of one
            *sum = lanes.multiply_add(x, lanes.of_array(w[i]), *sum);
        }
    }
    if !rest.is_empty() {
        let x = lanes.load_slice(rest, 0.0);
        for (sum, (_, w)) in sums.iter_mut().zip(&w) {
            *sum = lanes.multiply_add(x, lanes.load_slice(w, 0.0), *sum);
        }
    }
    sums.map(|sum| lanes.sum(sum))
}
