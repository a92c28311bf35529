//! Faults of GPT-2's linear layers and of what lies between two of them: checkpoints 2 and 6, and the output of attention.

use super::norm::weight_of_block as weight;
use super::{Faulty, Here};
use crate::layers::Station;
use crate::model::{ModelError, Weight};
use crate::parity::faults::Fault;
use crate::parity::oracle::{self, Tensor};

pub fn none(like: &Weight) -> Weight {
    Weight::from_vec(like.shape().to_vec(), vec![0.0; like.values().len()])
}

/// The bytes of [K, N] taken for [N, K], and transposed: what a layer does that wants [out, in].
pub fn reread(weight: &Weight) -> Weight {
    let [depth, columns] = [weight.shape()[0], weight.shape()[1]];
    let values = (0..depth * columns).map(|index| weight.values()[(index % columns) * depth + index / columns]);
    Weight::from_vec(vec![depth, columns], values.collect())
}

/// Each of the square matrices of [C, 3C] transposed.
fn squares_transposed(weight: &Weight) -> Weight {
    let [width, columns] = [weight.shape()[0], weight.shape()[1]];
    let at = |k: usize, n: usize| weight.values()[(n % width) * columns + n / width * width + k];
    let values = (0..width * columns).map(|index| at(index / columns, index % columns));
    Weight::from_vec(vec![width, columns], values.collect())
}

/// q, k or v: [T, H, D]
pub fn qkv(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let (h, c) = (pass.model.configuration.n_head(), pass.model.configuration.n_embd());
    let d = c / h;
    let mut w = weight(here, pass, "attn.c_attn.weight", &[c, 3 * c])?;
    let mut b = weight(here, pass, "attn.c_attn.bias", &[3 * c])?;
    let own = match here.station {
        Station::Query => 0,
        Station::Key => 1,
        _ => 2,
    };
    match here.variant(Fault::ProjectionTransposed) {
        Some(0) => w = squares_transposed(&w),
        Some(_) => w = reread(&w),
        None => {}
    }
    if here.has(Fault::ProjectionBiasMissing) || here.variant(Fault::OneBiasMissing) == Some(own) {
        b = none(&b);
    }
    let third = match own {
        1 | 2 if here.has(Fault::KeyValueSwapped) => 3 - own,
        0 | 1 if here.has(Fault::QueryKeySwapped) => 1 - own,
        0 | 2 if here.has(Fault::QueryValueSwapped) => 2 - own,
        _ => own,
    };
    let input = if here.has(Fault::PostNorm) {
        pass.block_input(here.layer)?
    } else {
        pass.get(Station::LayerNorm1, here.layer)?
    };
    let qkv = oracle::linear(&input, &w, &b); // [T, 3C]
    Ok(Tensor::from_fn([pass.rows(), h, d], |[t, head, channel]| {
        let column = if here.has(Fault::SplitPerHead) {
            (3 * head + third) * d + channel
        } else if here.has(Fault::HeadsInterleaved) {
            third * c + channel * h + head
        } else {
            third * c + head * d + channel
        };
        qkv.at([t, column])
    }))
}

/// The output projection of attention, and both of the feed-forward layer.
pub fn linear(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let (c, inner) = (pass.model.configuration.n_embd(), pass.model.configuration.n_inner());
    let (name, shape, input) = match here.station {
        Station::AttentionOutput => ("attn.c_proj", [c, c], Station::Merged),
        // Post-norm feeds it the first norm's output, and so does a parallel MLP without a norm of its own.
        Station::FeedForwardHidden if here.has(Fault::PostNorm) || here.variant(Fault::Parallel) == Some(1) => {
            ("mlp.c_fc", [c, inner], Station::LayerNorm1)
        }
        Station::FeedForwardHidden => ("mlp.c_fc", [c, inner], Station::LayerNorm2),
        _ => ("mlp.c_proj", [inner, c], Station::Gelu),
    };
    let mut w = weight(here, pass, &format!("{name}.weight"), &shape)?;
    let mut b = weight(here, pass, &format!("{name}.bias"), &shape[1..])?;
    if here.has(Fault::OutputTransposed) || here.has(Fault::FeedForwardTransposed) {
        w = reread(&w);
    }
    let unbiased = [Fault::OutputBiasMissing, Fault::HiddenBiasMissing, Fault::FeedForwardBiasMissing];
    if unbiased.into_iter().any(|fault| here.has(fault)) {
        b = none(&b);
    }
    Ok(oracle::linear(&*pass.get(input, here.layer)?, &w, &b))
}

/// What stands in the place of GELU: [T, 4C]
pub fn activation(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let x = pass.get(Station::FeedForwardHidden, here.layer)?;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    Ok(if here.has(Fault::ErfGelu) {
        x.map(|x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)))
    } else if here.has(Fault::Relu) {
        x.map(|x| x.max(0.0))
    } else if here.has(Fault::Silu) {
        x.map(|x| x * sigmoid(x))
    } else if here.has(Fault::QuickGelu) {
        x.map(|x| x * sigmoid(1.702 * x))
    } else {
        (*x).clone()
    })
}

/// 2/√π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)!!, whose terms are all of one sign: exact to the last digits.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}
