//! Faults of checkpoint 1, and of the order of norms and sub-layers. What is left out, doubled or fed otherwise is common to
//! all models; the norm itself is layer norm here, and RMSNorm in [`llama`](super::llama).

use std::rc::Rc;

use super::{Faulty, Here, llama};
use crate::layers::Station;
use crate::model::{Configuration, ModelError, Weight};
use crate::parity::faults::Fault;
use crate::parity::oracle::{Tensor, add};

/// ln_1, ln_2 or ln_f: [T, C]
pub fn station(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let Here { station, layer, .. } = here;
    let get = |station| pass.get(station, layer);
    let post = here.has(Fault::PostNorm);
    let x: Rc<Tensor> = match station {
        Station::LayerNorm1 if post => get(Station::AttentionResidual)?, // x + attn(x)
        Station::LayerNorm1 => pass.block_input(layer)?,
        // h + mlp(h), h the first norm's output
        Station::LayerNorm2 if post => Rc::new(add(&*get(Station::LayerNorm1)?, &*get(Station::FeedForwardOutput)?)),
        Station::LayerNorm2 if here.variant(Fault::Parallel) == Some(0) => pass.block_input(layer)?,
        Station::LayerNorm2 => get(Station::AttentionResidual)?,
        _ => pass.block_input(pass.model.configuration.n_layer())?,
    };
    let skipped = [Fault::FirstNormSkipped, Fault::SecondNormSkipped, Fault::FinalNormSkipped];
    if skipped.into_iter().any(|fault| here.has(fault)) {
        return Ok((*x).clone());
    }
    let shape = [pass.model.configuration.n_embd()];
    let [first, second, last] = match pass.model.configuration {
        Configuration::Gpt2(_) => ["ln_1", "ln_2", "ln_f"],
        Configuration::Llama(_) => ["input_layernorm", "post_attention_layernorm", "norm"],
    };
    let weight = |part: &str| match station {
        Station::FinalLayerNorm => pass.model.weight(&format!("{last}.{part}"), &shape),
        Station::LayerNorm2 if !here.has(Fault::FirstNormsWeights) => {
            weight_of_block(here, pass, &format!("{second}.{part}"), &shape)
        }
        _ => weight_of_block(here, pass, &format!("{first}.{part}"), &shape),
    };
    let scale = weight("weight")?;
    let shift = match pass.model.configuration {
        Configuration::Gpt2(_) => Some(weight("bias")?),
        Configuration::Llama(_) => None,
    };
    let epsilon = pass.model.epsilon();
    let norm = |x: &Tensor| match &shift {
        Some(shift) => normalised(here, x, &scale, shift, epsilon),
        None => llama::normalised(here, x, &scale, epsilon),
    };
    Ok(if here.has(Fault::FinalNormTwice) { norm(&norm(&x)) } else { norm(&x) })
}

/// A weight of the block whose weights run here.
pub fn weight_of_block(here: Here<'_>, pass: &Faulty<'_>, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
    let layers = pass.model.configuration.n_layer();
    let layer = match here.variant(Fault::OtherLayersWeights) {
        Some(variant) => another_layer(variant, here.layer, layers),
        None if here.has(Fault::LayersReversed) => layers - 1 - here.layer,
        None => here.layer,
    };
    pass.block_weight(layer, name, shape)
}

/// The number of the block whose weights are taken instead of a layer's own.
fn another_layer(variant: usize, layer: usize, layers: usize) -> usize {
    match variant {
        0 => layer.saturating_sub(1),
        1 => 0,
        2 => (layer + 1).min(layers - 1),
        _ => layers - 1,
    }
}

/// The layer norm of x: [T, C] with everything that can be wrong with it.
fn normalised(here: Here<'_>, x: &Tensor, weight: &Weight, bias: &Weight, epsilon: f64) -> Tensor {
    let [rows, width] = [x.shape[0], x.row_len()];
    let epsilon = match here.variant(Fault::OtherEpsilon) {
        Some(variant) => [1e-3, 1e-4, 1e-7, 1e-8][variant.min(3)],
        None if here.has(Fault::Epsilon1e6) => 1e-6,
        None if here.has(Fault::Epsilon1e12) => 1e-12,
        None => epsilon,
    };
    let axis = here.variant(Fault::WrongAxis);
    let moments = |numbers: &[f64]| -> (f64, f64) {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let divisor = if here.has(Fault::UnbiasedVariance) { count - 1.0 } else { count };
        let centre = if here.has(Fault::RmsNorm) { 0.0 } else { mean };
        (mean, numbers.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / divisor)
    };
    let centred = !here.has(Fault::MeanNotSubtracted) && !here.has(Fault::RmsNorm);
    let shifted = !here.has(Fault::ShiftMissing) && here.variant(Fault::RmsNorm) != Some(0);
    let scaled = !here.has(Fault::ScaleMissing);
    let mut known = vec![None; if axis == Some(0) { width } else { rows }];
    let mut out = x.clone();
    for t in 0..rows {
        for c in 0..width {
            let slot = if axis == Some(0) { c } else { t };
            let (mean, variance) = *known[slot].get_or_insert_with(|| moments(&together(axis, x, t, c)));
            let divisor = if here.has(Fault::RootMissing) {
                variance + epsilon
            } else if here.has(Fault::EpsilonOutsideRoot) {
                variance.sqrt() + epsilon
            } else {
                (variance + epsilon).sqrt()
            };
            let normalised = (x.at([t, c]) - if centred { mean } else { 0.0 }) / divisor;
            let scaled = if scaled { normalised * f64::from(weight.values()[c]) } else { normalised };
            out.values[t * width + c] = if shifted { scaled + f64::from(bias.values()[c]) } else { scaled };
        }
    }
    out
}

/// The numbers that a number of [T, C] is normalised with.
pub fn together(axis: Option<usize>, x: &Tensor, t: usize, c: usize) -> Vec<f64> {
    let [rows, width] = [x.shape[0], x.row_len()];
    match axis {
        None => x.values[t * width..][..width].to_vec(),
        Some(0) => (0..rows).map(|t| x.at([t, c])).collect(),
        Some(_) => x.values.clone(),
    }
}
