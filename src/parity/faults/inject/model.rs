//! Faults of checkpoint 7 to 11: the residual stream, the embedding, the head, and what is made of the logits.

use std::rc::Rc;

use super::{Faulty, Here};
use crate::layers::Station;
use crate::model::{ModelError, Weight};
use crate::parity::faults::Fault;
use crate::parity::oracle::{self, Given, Tensor, add, honest};

/// h = x + attention, or y = h + MLP: [T, C]
pub fn residual(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let Here { station, layer, .. } = here;
    let get = |station| pass.get(station, layer);
    let x = pass.block_input(layer)?;
    let twice = here.variant(Fault::ResidualTwice);
    if station == Station::AttentionResidual {
        if here.has(Fault::FirstResidualMissing) {
            return Ok((*get(Station::AttentionOutput)?).clone());
        }
        if here.has(Fault::AttentionSkipped) {
            return Ok((*x).clone());
        }
        let h = honest(pass, station, layer)?;
        return Ok(if twice == Some(0) { add(&h, &x) } else { h });
    }
    let last = layer + 1 == pass.model.configuration.n_layer();
    if here.has(Fault::BlockSkipped) || (last && here.has(Fault::LastBlockSkipped)) {
        return Ok((*x).clone());
    }
    if here.has(Fault::PostNorm) {
        return Ok((*get(Station::LayerNorm2)?).clone());
    }
    let (h, mlp) = (Station::AttentionResidual, Station::FeedForwardOutput);
    let y = if here.has(Fault::SecondResidualMissing) {
        (*get(mlp)?).clone()
    } else if here.has(Fault::FeedForwardSkipped) {
        (*get(h)?).clone()
    } else if here.has(Fault::ResidualFromInput) {
        add(&x, &*get(mlp)?)
    } else if twice == Some(1) {
        add(&add(&*get(h)?, &*get(h)?), &*get(mlp)?)
    } else {
        honest(pass, station, layer)?
    };
    // One block, not all of them: the one that the fault is scoped to, or the first.
    let is_the_one = layer == 0 || here.faults.iter().any(|fault| fault.layer == Some(layer));
    if here.has(Fault::BlockTwice) && is_the_one {
        let again = Input { layer, tensor: Rc::new(y) };
        return honest(&pass.given(&again), station, layer);
    }
    Ok(y)
}

/// A block's input, given.
struct Input {
    layer: usize,
    tensor: Rc<Tensor>,
}

impl Given for Input {
    fn tensor(&self, station: Station, layer: usize) -> Option<Rc<Tensor>> {
        let place = match self.layer.checked_sub(1) {
            None => (Station::Embedding, 0),
            Some(before) => (Station::BlockOutput, before),
        };
        (place == (station, layer)).then(|| Rc::clone(&self.tensor))
    }
}

/// GPT-2's: [T, C]
pub fn embedding(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let (c, n_ctx) = (pass.model.configuration.n_embd(), pass.model.configuration.n_ctx());
    let (wte, wpe) = (pass.model.token_embedding()?, pass.model.weight("wpe.weight", &[n_ctx, c])?);
    let scaled = here.variant(Fault::EmbeddingScaled);
    let root = (c as f64).sqrt();
    let shift = here.variant(Fault::PositionOffByOne);
    Ok(Tensor::from_fn([pass.rows(), c], |[t, channel]| {
        let position = pass.position + t;
        let position = match shift {
            None => position,
            Some(0) => position + 1,
            Some(1) => position.saturating_sub(1),
            Some(_) => position + 2,
        };
        let token = f64::from(wte.values()[pass.tokens[t] as usize * c + channel]);
        let learned = f64::from(wpe.values()[position.min(n_ctx - 1) * c + channel]);
        let learned = if here.has(Fault::PositionMissing) { 0.0 } else { learned };
        match scaled {
            None => token + learned,
            Some(0) => root * token + learned,
            Some(_) => root * (token + learned),
        }
    }))
}

/// Numbers between −½ and ½ without a pattern.
fn noise(index: usize) -> f64 {
    let mut z = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x0123_4567_89ab_cdef);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// [T, V]
pub fn logits(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let normed = pass.get(Station::FinalLayerNorm, 0)?;
    let mut head = if here.has(Fault::TiedHead) { pass.model.token_embedding()? } else { pass.model.head()? };
    let width = head.shape()[1];
    if here.has(Fault::UntiedHead) {
        let values = (0..head.values().len()).map(|index| noise(index) as f32 * 0.5).collect();
        head = Weight::from_vec(head.shape().to_vec(), values);
    }
    let mut logits = oracle::product(&normed, &head);
    if here.has(Fault::HeadBias) {
        let vocabulary = logits.row_len();
        logits.values.iter_mut().enumerate().for_each(|(index, logit)| *logit += noise(index % vocabulary));
    }
    let factor = if here.has(Fault::LogitsScaled) { 1.0 / (width as f64).sqrt() } else { 1.0 };
    Ok(logits.map(|logit| logit * factor))
}

/// [V]
pub fn selected(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let logits = pass.get(Station::Logits, 0)?;
    let rows = pass.rows();
    Ok(if here.has(Fault::MeanOfRows) {
        let mean = |v: usize| (0..rows).map(|t| logits.at([t, v])).sum::<f64>() / rows as f64;
        Tensor::new(&[logits.row_len()], (0..logits.row_len()).map(mean).collect())
    } else if here.has(Fault::FirstRow) {
        oracle::row(&logits, 0)
    } else {
        oracle::row(&logits, rows.saturating_sub(2))
    })
}

/// [1]
pub fn argmax_of(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let selected = pass.get(Station::SelectedLogits, 0)?;
    let id = if here.has(Fault::Argmin) {
        oracle::argmax(&selected.map(|logit| -logit))
    } else if here.has(Fault::HighestOnTies) {
        let largest = selected.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        selected.values.iter().rposition(|logit| *logit == largest).unwrap_or(0)
    } else if here.has(Fault::SampledAtZero) {
        // A draw: the most likely of those that are no row's largest logit, which any sampler can draw.
        let logits = pass.get(Station::Logits, 0)?;
        let mut others = (*selected).clone();
        for t in 0..pass.rows() {
            others.values[oracle::argmax(&oracle::row(&logits, t))] = f64::NEG_INFINITY;
        }
        oracle::argmax(&others)
    } else {
        let logits = pass.get(Station::Logits, 0)?;
        match here.variant(Fault::ArgmaxOfWrongRow) {
            Some(0) => oracle::argmax(&oracle::row(&logits, 0)),
            Some(1) => oracle::argmax(&oracle::row(&logits, pass.rows().saturating_sub(2))),
            _ => oracle::argmax(&logits) % logits.row_len(),
        }
    };
    Ok(Tensor::new(&[1], vec![id as f64]))
}

/// [V]
pub fn probable(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let logits = pass.get(Station::SelectedLogits, 0)?;
    let temperature = oracle::temperature(here.station);
    let tempered = logits.map(|logit| {
        if here.has(Fault::TemperatureMultiplies) {
            logit * temperature
        } else if here.has(Fault::TemperatureIgnored) {
            logit
        } else {
            logit / temperature
        }
    });
    if here.has(Fault::MaximumNotSubtracted) {
        let exponentials = tempered.map(f64::exp);
        let sum: f64 = exponentials.values.iter().sum();
        return Ok(exponentials.map(|exponential| exponential / sum));
    }
    let probabilities = oracle::softmax(&tempered);
    Ok(if here.has(Fault::LogSoftmax) { probabilities.map(f64::ln) } else { probabilities })
}
