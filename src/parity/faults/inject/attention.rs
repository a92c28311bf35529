//! Faults of checkpoints 3, 4 and 5: the cache, the scores and their mask, the probabilities and the merged heads.

use std::rc::Rc;

use super::{Faulty, Here, llama};
use crate::layers::Station;
use crate::model::ModelError;
use crate::parity::faults::Fault;
use crate::parity::oracle::{self, Honest, Nothing, Pass, Tensor, written};

/// A score that was meant to mask.
const SMALL: f64 = -1e4;

/// The keys or values of a layer after this pass: [capacity, KV, D]
pub fn cached(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let Here { station, layer, .. } = here;
    let read = match here.variant(Fault::OtherLayersCache) {
        Some(0) => layer.saturating_sub(1),
        Some(1) => 0,
        _ => layer,
    };
    let is_key = station == Station::CachedKeys;
    let past = &if is_key { &pass.past.keys } else { &pass.past.values }[read];
    let [_, turned] = pass.model.attended();
    let own = if !is_key || here.has(Fault::ValueInKeySlot) {
        Station::Value
    } else if here.has(Fault::KeysCachedUnturned) {
        Station::Key
    } else {
        turned
    };
    let mut rows = pass.get(own, read)?; // [T, KV, D]
    if here.has(Fault::KeysTurnedTwice) || here.variant(Fault::RotaryOnValues) == Some(0) {
        rows = Rc::new(llama::turned(pass, &rows));
    }
    let start = pass.start;
    let empty = || Tensor::zeros(&past.shape);
    Ok(if here.has(Fault::WrittenLate) {
        written(past, start + 1, &rows)
    } else if here.has(Fault::WrittenEarly) {
        match start.checked_sub(1) {
            Some(before) => written(past, before, &rows),
            None => written(past, 0, &without_first(&rows)),
        }
    } else if here.has(Fault::StartNeverAdvanced) {
        written(past, 0, &rows)
    } else if here.variant(Fault::CacheDropped) == Some(2) {
        written(&empty(), start, &rows)
    } else if here.has(Fault::StaleEntry) && start == 0 {
        // Position 0 holds what an earlier job wrote there.
        let earlier = [(pass.tokens[0] + 1) % pass.model.configuration.vocab_size() as u32];
        let stale = match Pass::new(pass.model, &Honest, &earlier, 0, pass.past, &Nothing) {
            Ok(job) => job.get(station, layer)?.first_rows(1),
            Err(_) => rows.first_rows(1).map(|x| -x),
        };
        written(&written(past, 0, &rows), 0, &stale)
    } else {
        written(past, start, &rows)
    })
}

/// [T, KV, D] from its second row on.
fn without_first(rows: &Tensor) -> Tensor {
    let mut shape = rows.shape.clone();
    shape[0] -= 1;
    Tensor { values: rows.values[rows.row_len()..].to_vec(), shape }
}

/// A layer's cache as attention reads it: its own, or another layer's although the tap shows its own.
fn read(here: Here<'_>, pass: &Faulty<'_>, station: Station) -> Result<Rc<Tensor>, ModelError> {
    let behind_the_tap = here.variant(Fault::OtherLayersCache) == Some(2);
    pass.get(station, if behind_the_tap { here.layer.saturating_sub(1) } else { here.layer })
}

/// Keys or values for each query head, where they are those of another group: [N or more, KV, D] → [N or more, H, D]
fn grouped(here: Here<'_>, cached: &Tensor, heads: usize) -> Tensor {
    let [rows, key_heads, d] = [cached.shape[0], cached.shape[1], cached.shape[2]];
    let Some(variant) = here.variant(Fault::HeadGroup) else { return cached.clone() };
    let group = |h: usize| match variant {
        0 => h % key_heads,
        1 => 0,
        2 => h.min(key_heads - 1),
        3 => (h / key_heads).min(key_heads - 1),
        _ => (h * key_heads / heads + 1) % key_heads,
    };
    Tensor::from_fn([rows, heads, d], |[s, h, i]| cached.at([s, group(h), i]))
}

/// Before the mask: [H, T, N]
pub fn scores(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let [queries, _] = pass.model.attended();
    let q = pass.get(queries, here.layer)?; // [T, H, D]
    let k = grouped(here, &*read(here, pass, Station::CachedKeys)?, q.shape[1]); // [N or more, H or KV, D]
    let (heads, d, positions) = (q.shape[1], q.shape[2], pass.positions());
    let mut scores = oracle::scores(&q, &k, positions);
    if here.has(Fault::KeyNotTransposed) && positions == d {
        let product =
            |[h, t, s]: [usize; 3]| (0..d).map(|i| q.at([t, h, i]) * k.at([i, h * k.shape[1] / heads, s])).sum::<f64>();
        scores = Tensor::from_fn([heads, pass.rows(), positions], |at| product(at) / (d as f64).sqrt());
    }
    let root = (d as f64).sqrt();
    let width = pass.model.configuration.n_embd() as f64;
    let factor = match here.variant(Fault::ScaledByWidth) {
        _ if here.has(Fault::ScoreScaleMissing) => root,
        _ if here.has(Fault::ScaledByHeadSize) => 1.0 / root,
        Some(0) => root / width.sqrt(),
        Some(_) => root / (width / heads as f64).sqrt(),
        None => 1.0,
    };
    let slope = |h: usize| 2f64.powf(-8.0 * (h + 1) as f64 / heads as f64);
    let biased = here.has(Fault::PositionBias);
    let shape = [heads, pass.rows(), positions];
    Ok(Tensor::from_fn(shape, |[h, t, s]| {
        let distance = s as f64 - (pass.start + t) as f64;
        factor * scores.at([h, t, s]) + if biased { slope(h) * distance } else { 0.0 }
    }))
}

/// [H, T, N]
pub fn masked(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let scores = pass.get(Station::Scores, here.layer)?;
    let shape = [scores.shape[0], scores.shape[1], scores.shape[2]];
    let start = if here.has(Fault::SquareMask) { 0 } else { pass.start };
    let small = here.variant(Fault::MaskTooSmall);
    Ok(Tensor::from_fn(shape, |[h, t, s]| {
        let (score, own) = (scores.at([h, t, s]), start + t);
        let is_masked = if here.has(Fault::MaskMissing) {
            false
        } else if here.has(Fault::CurrentMasked) {
            s >= own
        } else if here.has(Fault::FutureVisible) {
            s > own + 1
        } else if here.has(Fault::MaskReversed) {
            s < own
        } else {
            s > own
        };
        match small {
            _ if !is_masked => score,
            Some(0) => SMALL,
            Some(_) => score + SMALL,
            None if here.has(Fault::MaskedToZero) => 0.0,
            None => f64::NEG_INFINITY,
        }
    }))
}

/// [H, T, N]
pub fn probabilities(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let masked = pass.get(Station::ScoresMasked, here.layer)?;
    let shape @ [heads, rows, _] = [masked.shape[0], masked.shape[1], masked.shape[2]];
    let is_visible = |t: usize, s: usize| s <= pass.start + t;
    if let Some(variant) = here.variant(Fault::SoftmaxMissing) {
        return Ok(masked.map(|score| if variant == 1 && score == f64::NEG_INFINITY { 0.0 } else { score }));
    }
    if let Some(variant) = here.variant(Fault::SoftmaxWrongAxis) {
        // The scores that share a sum: those of a position over the queries, or over the heads.
        return Ok(Tensor::from_fn(shape, |[h, t, s]| {
            let others: Vec<f64> = match variant {
                0 => (0..rows).map(|t| masked.at([h, t, s])).collect(),
                _ => (0..heads).map(|h| masked.at([h, t, s])).collect(),
            };
            let largest = others.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = others.iter().map(|score| (score - largest).exp()).sum();
            (masked.at([h, t, s]) - largest).exp() / sum
        }));
    }
    if here.has(Fault::EvenAttention) {
        let weight = |[_, t, s]: [usize; 3]| if is_visible(t, s) { 1.0 / (pass.start + t + 1) as f64 } else { 0.0 };
        return Ok(Tensor::from_fn(shape, weight));
    }
    if here.has(Fault::MaskAfterSoftmax) {
        let all = oracle::softmax(&*pass.get(Station::Scores, here.layer)?);
        return Ok(Tensor::from_fn(shape, |[h, t, s]| if is_visible(t, s) { all.at([h, t, s]) } else { 0.0 }));
    }
    Ok(oracle::softmax(&masked))
}

/// Values weighed by probabilities, heads side by side: [T, C]
pub fn merged(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let probabilities = pass.get(Station::Probabilities, here.layer)?;
    let v = grouped(here, &*read(here, pass, Station::CachedValues)?, probabilities.shape[0]); // [N or more, H or KV, D]
    let [heads, d] = [v.shape[1], v.shape[2]];
    let merged = match here.variant(Fault::OtherHeadsValues) {
        None => oracle::merge(&probabilities, &v),
        Some(variant) => {
            let other = |h: usize| match variant {
                0 => (h + 1) % heads,
                1 => 0,
                2 => (h + heads - 1) % heads,
                _ => heads - 1 - h,
            };
            let shuffled = Tensor::from_fn([v.shape[0], heads, d], |[s, h, i]| v.at([s, other(h), i]));
            oracle::merge(&probabilities, &shuffled)
        }
    };
    if !here.has(Fault::MergedHeadFirst) {
        return Ok(merged);
    }
    // [H, T, D] in memory, taken for [T, C]
    let rows = pass.rows();
    let at = |flat: usize| merged.at([flat / d % rows, flat / (d * rows) * d + flat % d]);
    Ok(Tensor { values: (0..merged.values.len()).map(at).collect(), shape: merged.shape })
}
