//! What is done to each number, or to each row, by itself: e^x, GELU, softmax, layer norm.

use super::lanes::{LANES, Lanes, for_each_instruction_set};

/// e^x to about one unit in the last place, for x from −87 to 88; beyond, the value at that end.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2, so e^x = 2ⁿ·e^r, and e^r is a polynomial (the minimax one of Cephes).
#[inline(always)]
pub(super) fn exp<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    const LN_2_HIGH: f32 = 0.693_359_4; // few enough bits that n · LN_2_HIGH is exact
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves no bits for a fraction

    let x = lanes.at_most(lanes.at_least(x, lanes.splat(-87.0)), lanes.splat(88.0));
    let n = lanes.multiply_add(x, lanes.splat(std::f32::consts::LOG2_E), lanes.splat(ROUND));
    let n = lanes.add(n, lanes.splat(-ROUND));
    let r = lanes.multiply_add(n, lanes.splat(-LN_2_HIGH), x);
    let r = lanes.multiply_add(n, lanes.splat(-LN_2_LOW), r);

    let mut p = lanes.splat(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = lanes.multiply_add(p, r, lanes.splat(coefficient));
    }
    let p = lanes.multiply_add(p, lanes.multiply(r, r), r);
    let p = lanes.add(p, lanes.splat(1.0));
    lanes.multiply(p, lanes.power_of_two(n))
}

#[inline(always)]
fn exponential_of<L: Lanes>(lanes: L, values: &mut [f32]) {
    for group in values.chunks_mut(LANES) {
        let x = lanes.load_slice(group, 0.0);
        lanes.store_slice(exp(lanes, x), group);
    }
}
for_each_instruction_set! {
    /// x ← e^x
    pub fn exponential(values: &mut [f32]) = exponential_of
}

/// gelu(x) = ½·x·(1 + tanh u) with u = √(2/π)·(x + 0.044715·x³): GPT-2's `gelu_new`.
///
/// Computed as x / (1 + e^(−2u)), which is the same function and keeps its relative accuracy where 1 + tanh u cancels.
#[inline(always)]
fn gelu_of<L: Lanes>(lanes: L, values: &mut [f32]) {
    const MINUS_TWO_ROOT_TWO_OVER_PI: f32 = -1.595_769_2;
    for group in values.chunks_mut(LANES) {
        let x = lanes.load_slice(group, 0.0);
        let cubic = lanes.multiply_add(lanes.multiply(x, x), lanes.splat(0.044_715), lanes.splat(1.0));
        let minus_two_u = lanes.multiply(lanes.multiply(x, lanes.splat(MINUS_TWO_ROOT_TWO_OVER_PI)), cubic);
        let denominator = lanes.add(exp(lanes, minus_two_u), lanes.splat(1.0));
        lanes.store_slice(lanes.divide(x, denominator), group);
    }
}
for_each_instruction_set! {
    /// x ← gelu(x)
    pub fn gelu(values: &mut [f32]) = gelu_of
}

#[inline(always)]
fn scale_of<L: Lanes>(lanes: L, values: &mut [f32], factor: f32) {
    let factor = lanes.splat(factor);
    for group in values.chunks_mut(LANES) {
        let x = lanes.load_slice(group, 0.0);
        lanes.store_slice(lanes.multiply(x, factor), group);
    }
}
for_each_instruction_set! {
    /// x ← factor · x
    pub fn scale(values: &mut [f32], factor: f32) = scale_of
}

/// softmax(x)ᵢ = e^(xᵢ − m) / Σⱼ e^(xⱼ − m), m the largest x.
///
/// A last group of fewer than sixteen is filled up with −∞ and its exponentials are left out of the sum, lane by lane,
/// so that the sum's order depends on the row's length alone.
#[inline(always)]
fn softmax_of<L: Lanes>(lanes: L, row: &mut [f32]) {
    let mut largest = lanes.splat(f32::NEG_INFINITY);
    for group in row.chunks(LANES) {
        largest = lanes.at_least(lanes.load_slice(group, f32::NEG_INFINITY), largest);
    }
    let minus_largest = lanes.splat(-lanes.maximum(largest));

    let mut sum = lanes.splat(0.0);
    for group in row.chunks_mut(LANES) {
        let x = lanes.load_slice(group, f32::NEG_INFINITY);
        lanes.store_slice(exp(lanes, lanes.add(x, minus_largest)), group);
        sum = lanes.add(sum, lanes.load_slice(group, 0.0));
    }
    let sum = lanes.splat(lanes.sum(sum));
    for group in row.chunks_mut(LANES) {
        let x = lanes.load_slice(group, 0.0);
        lanes.store_slice(lanes.divide(x, sum), group);
    }
}
for_each_instruction_set! {
    /// row ← softmax(row)
    pub fn softmax(row: &mut [f32]) = softmax_of
}

/// y = (x − mean) / √(variance + epsilon) · weight + bias, for each row of x: [T, C]. The variance is the biased one,
/// Σ (x − mean)² / C. Sums are in f64, sixteen at a time in a fixed order.
#[inline(always)]
fn layer_norm_of<L: Lanes>(_lanes: L, x: &[f32], weight: &[f32], bias: &[f32], epsilon: f64, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = sum_f64(x, |value| value) / width as f64;
        let variance = sum_f64(x, |value| (value - mean) * (value - mean)) / width as f64;
        let deviation = (variance + epsilon).sqrt();
        let (mean, reciprocal) = (mean, 1.0 / deviation);
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            let normalised = ((f64::from(*x) - mean) * reciprocal) as f32;
            *out = normalised.mul_add(*weight, *bias);
        }
    }
}
for_each_instruction_set! {
    /// out ← layer norm of each row of x
    pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f64, out: &mut [f32]) = layer_norm_of
}

/// Σ term(x), lane i taking every sixteenth: what a compiler can put into registers as it stands.
#[inline(always)]
fn sum_f64(x: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (groups, rest) = x.as_chunks::<LANES>();
    for group in groups {
        for (lane, value) in lanes.iter_mut().zip(group) {
            *lane += term(f64::from(*value));
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += term(f64::from(*value));
    }
    lanes.into_iter().sum()
}
