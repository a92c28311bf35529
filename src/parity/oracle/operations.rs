//! The operations, each as its formula. `T` tokens, `N` positions, `C` width, `H` heads (`KV` of keys and values), `D` head size,
//! `V` vocabulary.

use std::ops::Range;

use super::Tensor;
use crate::model::configuration::RopeScaling;
use crate::model::{LlamaConfiguration, Weight};

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
            let (x, mut n) = (x[k], 0);
            while n < count {
                out[n] += x * w[n];
                n += 1;
            }
        }
    }
    out
}

/// q · k / √D: [H, T, N], before the mask. q: [T, H, D], k: [N or more, KV, D]; H / KV heads of q, one after the other, share
/// one of k.
pub fn scores(q: &Tensor, k: &Tensor, positions: usize) -> Tensor {
    let [tokens, heads, head_size] = [q.shape[0], q.shape[1], q.shape[2]];
    let key_heads = k.shape[1];
    let root = (head_size as f64).sqrt();
    Tensor::from_fn([heads, tokens, positions], |[h, t, s]| {
        let q = &q.values[(t * heads + h) * head_size..][..head_size];
        let k = &k.values[(s * key_heads + h * key_heads / heads) * head_size..][..head_size];
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

/// Σₛ p[h, t, s] · v[s, h, d], heads side by side: [T, H · D]. probabilities: [H, T, N], v: [N or more, KV, D], a head of which is
/// shared as one of k is.
pub fn merge(probabilities: &Tensor, v: &Tensor) -> Tensor {
    let [heads, tokens, positions] = [probabilities.shape[0], probabilities.shape[1], probabilities.shape[2]];
    let [value_heads, head_size] = [v.shape[1], v.shape[2]];
    let mut out = Tensor::zeros(&[tokens, heads * head_size]);
    for (place, out) in out.values.chunks_exact_mut(head_size).enumerate() {
        let (t, h) = (place / heads, place % heads);
        // What the mask took away weighs exactly 0, and adds nothing.
        for s in (0..positions).filter(|s| probabilities.at([h, t, *s]) != 0.0) {
            let p = probabilities.at([h, t, s]);
            let v = &v.values[(s * value_heads + h * value_heads / heads) * head_size..][..head_size];
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

/// x · Wᵀ, as a head and every linear layer of Llama have it: [T, N]. x: [T, K], weight: [N, K]
pub fn product(x: &Tensor, weight: &Weight) -> Tensor {
    let [columns, width] = [weight.shape()[0], weight.shape()[1]];
    let mut out = Tensor::zeros(&[x.shape[0], columns]);
    for (n, row) in weight.values().chunks_exact(width).enumerate() {
        for (t, x) in x.values.chunks_exact(width).enumerate() {
            out.values[t * columns + n] = dot(x, row);
        }
    }
    out
}

/// Σ x · w. Plain loops: this is where the reference's time goes, also in a build that optimises little.
fn dot(x: &[f64], w: &[f32]) -> f64 {
    const LANES: usize = 8; // sums side by side, which a compiler may not make of one
    let (mut sums, mut at) = ([0.0; LANES], 0);
    while at + LANES <= x.len() {
        let (x, w) = (&x[at..at + LANES], &w[at..at + LANES]);
        let mut lane = 0;
        while lane < LANES {
            sums[lane] += x[lane] * f64::from(w[lane]);
            lane += 1;
        }
        at += LANES;
    }
    let whole = at;
    while at < x.len() {
        sums[at - whole] += x[at] * f64::from(w[at]);
        at += 1;
    }
    sums.iter().sum()
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

/// x / √(Σx² / C + ε) · weight, for each row of x: [T, C]
pub fn rms_norm(x: &Tensor, weight: &Weight, epsilon: f64) -> Tensor {
    let width = x.row_len();
    let mut out = x.clone();
    for row in out.values.chunks_exact_mut(width) {
        let root = (row.iter().map(|x| x * x).sum::<f64>() / width as f64 + epsilon).sqrt();
        row.iter_mut().zip(weight.values()).for_each(|(x, weight)| *x = *x / root * f64::from(*weight));
    }
    out
}

/// The angle of each pair of a head's channels from one position to the next: θ^(−2i / D), stretched as the model says: [D / 2]
pub fn frequencies(configuration: &LlamaConfiguration) -> Vec<f64> {
    let d = configuration.head_size;
    let plain = |i: usize| configuration.rope_theta.powf(-2.0 * i as f64 / d as f64);
    let stretched = |i: usize| match &configuration.rope_scaling {
        RopeScaling::None => plain(i),
        RopeScaling::Linear { factor } => plain(i) / factor,
        RopeScaling::Divisors(divisors) => plain(i) / f64::from(divisors[i]),
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
            let wavelength = 2.0 * std::f64::consts::PI / plain(i);
            let context = *original_context as f64;
            if wavelength < context / high_frequency_factor {
                plain(i)
            } else if wavelength > context / low_frequency_factor {
                plain(i) / factor
            } else {
                let smooth =
                    (context / wavelength - low_frequency_factor) / (high_frequency_factor - low_frequency_factor);
                (1.0 - smooth) * plain(i) / factor + smooth * plain(i)
            }
        }
    };
    (0..d / 2).map(stretched).collect()
}

/// Channel i and i + D/2 of each head are a point in the plane, which is turned by position · frequency[i]: [T, H, D]; the first
/// row is at position `start`.
pub fn rotate(x: &Tensor, start: usize, frequencies: &[f64]) -> Tensor {
    let half = frequencies.len();
    Tensor::from_fn([x.shape[0], x.shape[1], 2 * half], |[t, h, channel]| {
        let (sin, cos) = ((start + t) as f64 * frequencies[channel % half]).sin_cos();
        if channel < half {
            x.at([t, h, channel]) * cos - x.at([t, h, channel + half]) * sin
        } else {
            x.at([t, h, channel]) * cos + x.at([t, h, channel - half]) * sin
        }
    })
}

/// x · σ(x)
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// silu(gate) · up: [T, inner]
pub fn gated(gate: &Tensor, up: &Tensor) -> Tensor {
    let product = |(gate, up): (&f64, &f64)| silu(*gate) * up;
    Tensor { shape: up.shape.clone(), values: gate.values.iter().zip(&up.values).map(product).collect() }
}

/// A row of a matrix for each token: [T, C]. weight: [V, C]
pub fn rows(tokens: &[u32], weight: &Weight) -> Tensor {
    let width = weight.shape()[1];
    Tensor::from_fn([tokens.len(), width], |[t, c]| f64::from(weight.values()[tokens[t] as usize * width + c]))
}

/// x + bias, in every row of x: [T, N]
pub fn shifted(mut x: Tensor, bias: &Weight) -> Tensor {
    for row in x.values.chunks_exact_mut(bias.values().len()) {
        row.iter_mut().zip(bias.values()).for_each(|(x, bias)| *x += f64::from(*bias));
    }
    x
}
