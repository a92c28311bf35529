//! The operations, each as its formula. `T` tokens, `C` width, `H` heads, `D` head size, `V` vocabulary.

use super::Tensor;
use crate::model::Weight;

/// wte[token] + wpe[position]: [T, C]
pub fn embed(tokens: &[u32], wte: &Weight, wpe: &Weight) -> Tensor {
    let width = wte.shape()[1];
    Tensor::from_fn([tokens.len(), width], |[t, c]| {
        f64::from(wte.values()[tokens[t] as usize * width + c]) + f64::from(wpe.values()[t * width + c])
    })
}

/// (x − mean) / √(variance + ε) · weight + bias, for each row of x: [T, C]
pub fn layer_norm(x: &Tensor, weight: &Weight, bias: &Weight, epsilon: f64) -> Tensor {
    let [rows, width] = [x.shape[0], x.shape[1]];
    let mean = |t: usize| (0..width).map(|c| x.at([t, c])).sum::<f64>() / width as f64;
    let means: Vec<f64> = (0..rows).map(mean).collect();
    let variance = |t: usize| (0..width).map(|c| (x.at([t, c]) - means[t]).powi(2)).sum::<f64>() / width as f64;
    let variances: Vec<f64> = (0..rows).map(variance).collect();
    Tensor::from_fn([rows, width], |[t, c]| {
        let normalised = (x.at([t, c]) - means[t]) / (variances[t] + epsilon).sqrt();
        normalised * f64::from(weight.values()[c]) + f64::from(bias.values()[c])
    })
}

/// x · W + b. x: [T, K], weight: [K, N], bias: [N]
pub fn linear(x: &Tensor, weight: &Weight, bias: &Weight) -> Tensor {
    let [depth, columns] = [weight.shape()[0], weight.shape()[1]];
    let mut out = Tensor::from_fn([x.shape[0], columns], |[_, n]| f64::from(bias.values()[n]));
    for (t, out) in out.values.chunks_exact_mut(columns).enumerate() {
        for k in 0..depth {
            let x = x.at([t, k]);
            for (out, w) in out.iter_mut().zip(&weight.values()[k * columns..][..columns]) {
                *out += x * f64::from(*w);
            }
        }
    }
    out
}

/// Columns `first..first + H · D` of x: [T, 3C] as [T, H, D]
pub fn heads(x: &Tensor, first: usize, heads: usize, head_size: usize) -> Tensor {
    Tensor::from_fn([x.shape[0], heads, head_size], |[t, h, d]| x.at([t, first + h * head_size + d]))
}

/// q · k / √D: [H, T, T], before the mask. q, k: [T, H, D]
pub fn scores(q: &Tensor, k: &Tensor) -> Tensor {
    let [tokens, heads, head_size] = [q.shape[0], q.shape[1], q.shape[2]];
    Tensor::from_fn([heads, tokens, tokens], |[h, t, s]| {
        (0..head_size).map(|d| q.at([t, h, d]) * k.at([s, h, d])).sum::<f64>() / (head_size as f64).sqrt()
    })
}

/// −∞ where the position s is later than t: [H, T, T]
pub fn causal_mask(scores: &Tensor) -> Tensor {
    let shape = [scores.shape[0], scores.shape[1], scores.shape[2]];
    Tensor::from_fn(shape, |[h, t, s]| if s > t { f64::NEG_INFINITY } else { scores.at([h, t, s]) })
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

/// Σₛ p[h, t, s] · v[s, h, d], heads side by side: [T, C]. probabilities: [H, T, T], v: [T, H, D]
pub fn merge(probabilities: &Tensor, v: &Tensor) -> Tensor {
    let [tokens, heads, head_size] = [v.shape[0], v.shape[1], v.shape[2]];
    Tensor::from_fn([tokens, heads * head_size], |[t, c]| {
        let (h, d) = (c / head_size, c % head_size);
        (0..tokens).map(|s| probabilities.at([h, t, s]) * v.at([s, h, d])).sum()
    })
}

/// ½ · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))
pub fn gelu(x: &Tensor) -> Tensor {
    let gelu = |x: f64| 0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    Tensor { shape: x.shape.clone(), values: x.values.iter().map(|x| gelu(*x)).collect() }
}

/// x + y
pub fn add(x: &Tensor, y: &Tensor) -> Tensor {
    Tensor { shape: x.shape.clone(), values: x.values.iter().zip(&y.values).map(|(x, y)| x + y).collect() }
}

/// x · wteᵀ: [T, V]. x: [T, C], wte: [V, C]
pub fn head(x: &Tensor, wte: &Weight) -> Tensor {
    let [vocabulary, width] = [wte.shape()[0], wte.shape()[1]];
    Tensor::from_fn([x.shape[0], vocabulary], |[t, v]| {
        let x = &x.values[t * width..][..width];
        x.iter().zip(&wte.values()[v * width..]).map(|(x, w)| x * f64::from(*w)).sum()
    })
}
