//! The operations, each as its formula. `T` tokens, `N` positions, `C` width, `H` heads, `D` head size, `V` vocabulary.

use std::ops::Range;

use super::Tensor;
use crate::model::Weight;

/// wte[token] + wpe[position]: [T, C]; the first token is at position `start`.
pub fn embed(tokens: &[u32], start: usize, wte: &Weight, wpe: &Weight) -> Tensor {
    let width = wte.shape()[1];
    Tensor::from_fn([tokens.len(), width], |[t, c]| {
        f64::from(wte.values()[tokens[t] as usize * width + c]) + f64::from(wpe.values()[(start + t) * width + c])
    })
}

/// (x − mean) / √(variance + ε) · weight + bias, for each row of x: [T, C]
pub fn layer_norm(x: &Tensor, weight: &Weight, bias: &Weight, epsilon: f64) -> Tensor {
    let width = x.row_len();
    let mut out = x.clone();
    for row in out.values.chunks_exact_mut(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        for ((x, weight), bias) in row.iter_mut().zip(weight.values()).zip(bias.values()) {
            *x = (*x - mean) / (variance + epsilon).sqrt() * f64::from(*weight) + f64::from(*bias);
        }
    }
    out
}

/// x · W + b. x: [T, K], weight: [K, N], bias: [N]
pub fn linear(x: &Tensor, weight: &Weight, bias: &Weight) -> Tensor {
    linear_columns(x, weight, bias, 0..weight.shape()[1])
}

/// Some columns of x · W + b: [T, columns]
pub fn linear_columns(x: &Tensor, weight: &Weight, bias: &Weight, columns: Range<usize>) -> Tensor {
    let [depth, stride, count] = [weight.shape()[0], weight.shape()[1], columns.len()];
    let mut out = Tensor::from_fn([x.shape[0], count], |[_, n]| f64::from(bias.values()[columns.start + n]));
    let mut w = vec![0.0; count];
    for k in 0..depth {
        for (w, weight) in w.iter_mut().zip(&weight.values()[k * stride + columns.start..]) {
            *w = f64::from(*weight);
        }
        for (out, x) in out.values.chunks_exact_mut(count).zip(x.values.chunks_exact(depth)) {
            let x = x[k];
            for (out, w) in out.iter_mut().zip(&w) {
                *out += x * w;
            }
        }
    }
    out
}

/// q · k / √D: [H, T, N], before the mask. q: [T, H, D], k: [N or more, H, D]
pub fn scores(q: &Tensor, k: &Tensor, positions: usize) -> Tensor {
    let [tokens, heads, head_size] = [q.shape[0], q.shape[1], q.shape[2]];
    let root = (head_size as f64).sqrt();
    Tensor::from_fn([heads, tokens, positions], |[h, t, s]| {
        let q = &q.values[(t * heads + h) * head_size..][..head_size];
        let k = &k.values[(s * heads + h) * head_size..][..head_size];
        q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / root
    })
}

/// −∞ where the position s is later than that of token t, which is `start + t`: [H, T, N]
pub fn causal_mask(scores: &Tensor, start: usize) -> Tensor {
    let shape = [scores.shape[0], scores.shape[1], scores.shape[2]];
    Tensor::from_fn(shape, |[h, t, s]| if s > start + t { f64::NEG_INFINITY } else { scores.at([h, t, s]) })
}

/// e^(x − m) / Σ e^(x − m) over the last axis, m the largest of it.
pub fn softmax(x: &Tensor) -> Tensor {
    let mut out = x.clone();
    let row = x.shape.last().copied().unwrap_or(1);
    for row in out.values.chunks_exact_mut(row) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
    out
}

/// Σₛ p[h, t, s] · v[s, h, d], heads side by side: [T, C]. probabilities: [H, T, N], v: [N or more, H, D]
pub fn merge(probabilities: &Tensor, v: &Tensor) -> Tensor {
    let [heads, tokens, positions] = [probabilities.shape[0], probabilities.shape[1], probabilities.shape[2]];
    let head_size = v.shape[2];
    let mut out = Tensor::zeros(&[tokens, heads * head_size]);
    for (place, out) in out.values.chunks_exact_mut(head_size).enumerate() {
        let (t, h) = (place / heads, place % heads);
        // What the mask took away weighs exactly 0, and adds nothing.
        for s in (0..positions).filter(|s| probabilities.at([h, t, *s]) != 0.0) {
            let p = probabilities.at([h, t, s]);
            let v = &v.values[(s * heads + h) * head_size..][..head_size];
            out.iter_mut().zip(v).for_each(|(out, v)| *out += p * v);
        }
    }
    out
}

/// ½ · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))
pub fn gelu(x: &Tensor) -> Tensor {
    x.map(|x| 0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh()))
}

/// x + y
pub fn add(x: &Tensor, y: &Tensor) -> Tensor {
    Tensor { shape: x.shape.clone(), values: x.values.iter().zip(&y.values).map(|(x, y)| x + y).collect() }
}

/// x · wteᵀ: [T, V]. x: [T, C], wte: [V, C]
pub fn head(x: &Tensor, wte: &Weight) -> Tensor {
    const LANES: usize = 8; // sums side by side, which a compiler may not make of one
    let [vocabulary, width] = [wte.shape()[0], wte.shape()[1]];
    let mut out = Tensor::zeros(&[x.shape[0], vocabulary]);
    let mut w = vec![0.0; width];
    for (v, row) in wte.values().chunks_exact(width).enumerate() {
        w.iter_mut().zip(row).for_each(|(w, row)| *w = f64::from(*row));
        for (t, x) in x.values.chunks_exact(width).enumerate() {
            let mut sums = [0.0; LANES];
            for (x, w) in x.chunks(LANES).zip(w.chunks(LANES)) {
                sums.iter_mut().zip(x).zip(w).for_each(|((sum, x), w)| *sum += x * w);
            }
            out.values[t * vocabulary + v] = sums.iter().sum();
        }
    }
    out
}

/// Row t of logits: [T, V]
pub fn row(logits: &Tensor, t: usize) -> Tensor {
    let width = logits.row_len();
    Tensor::new(&[width], logits.values[t * width..][..width].to_vec())
}

/// The index of the largest number, the lowest of equal ones. Nothing is larger than NaN's absence: NaN never wins.
pub fn argmax(logits: &Tensor) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in logits.values.iter().enumerate() {
        if *value > best.1 {
            best = (index, *value);
        }
    }
    best.0
}
