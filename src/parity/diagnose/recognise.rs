//! Faults with a number of their own (a bias, another matrix, an earlier job's row): they cannot be computed from the model,
//! and are known by what they leave constant.

use super::found::{Found, Recomputed};
use super::measure::{allowed, apart};
use super::{Named, rotary, short};
use crate::layers::Station;
use crate::parity::Place;
use crate::parity::faults::Fault;
use crate::parity::oracle::{Tensor, softmax};

pub fn recognise(found: &Found<'_>, place: Place, shown: &Tensor, honest: &Recomputed) -> Option<Named> {
    if shown.shape != honest.tensor.shape {
        return None;
    }
    let limit = allowed(place, honest.stations.len(), found.profile);
    let is_turned = matches!(place.station, Station::QueryRotated | Station::KeyRotated | Station::CachedKeys);
    if is_turned && let Some(named) = rotary::other_base(found, place, shown, &honest.tensor, limit) {
        return Some(named);
    }
    let (fault, evidence) = match place.station {
        Station::CachedKeys | Station::CachedValues => (Fault::StaleEntry, stale(shown, &honest.tensor, limit)?),
        Station::Scores => (Fault::PositionBias, position_bias(found.start, shown, &honest.tensor, limit)?),
        Station::Logits => head_bias(shown, &honest.tensor, limit)
            .map(|evidence| (Fault::HeadBias, evidence))
            .or_else(|| untied(shown, &honest.tensor).map(|evidence| (Fault::UntiedHead, evidence)))?,
        Station::Argmax => (Fault::SampledAtZero, sampled(found, shown)?),
        _ => return None,
    };
    Some(Named { injection: fault.into(), residual: None, evidence: Some(evidence) })
}

/// Some rows are as they were written and others are none of this job's, nor empty.
fn stale(shown: &Tensor, honest: &Tensor, limit: f64) -> Option<String> {
    let width = shown.row_len();
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| apart(*a, *b, false) <= limit);
    let rows = || shown.values.chunks_exact(width).zip(honest.values.chunks_exact(width)).enumerate();
    let wrong: Vec<usize> = rows().filter(|(_, (shown, honest))| !same(shown, honest)).map(|(row, _)| row).collect();
    let is_foreign = |row: usize| {
        let shown = &shown.values[row * width..][..width];
        let is_of_this_job = honest.values.chunks_exact(width).any(|honest| same(shown, honest));
        shown.iter().any(|x| *x != 0.0) && shown.iter().all(|x| x.is_finite()) && !is_of_this_job
    };
    // Kept from the front: an earlier job filled the first positions.
    let from_the_front = wrong.iter().enumerate().all(|(count, row)| count == *row);
    let holds =
        !wrong.is_empty() && wrong.len() < shown.shape[0] && from_the_front && wrong.iter().all(|row| is_foreign(*row));
    holds.then(|| {
        let rows = if wrong.len() == 1 {
            "position 0 holds".to_owned()
        } else {
            format!("positions 0 to {} hold", wrong.len() - 1)
        };
        format!("{rows} numbers that no token of this job has there, and all later positions are right")
    })
}

/// found − right is one number for each head and distance.
fn position_bias(start: usize, shown: &Tensor, honest: &Tensor, limit: f64) -> Option<String> {
    let [heads, rows, positions] = [shown.shape[0], shown.shape[1], shown.shape[2]];
    if rows < 2 || positions < 3 {
        return None; // one number for each distance is then no statement
    }
    let bias = |h: usize, t: usize, s: usize| shown.at([h, t, s]) - honest.at([h, t, s]);
    let (mut pairs, mut worst, mut largest) = (0, 0.0f64, 0.0f64);
    for h in 0..heads {
        for t in 1..rows {
            // What lies after the token is masked later, and is of no meaning.
            for s in 1..=(start + t).min(positions - 1) {
                let (one, other) = (bias(h, t, s), bias(h, t - 1, s - 1));
                if !one.is_finite() || !other.is_finite() {
                    return None;
                }
                let scale = honest.at([h, t, s]).abs().max(1.0);
                worst = worst.max((one - other).abs() / scale);
                largest = largest.max(one.abs().max(bias(h, t, 0).abs()));
                pairs += 1;
            }
        }
    }
    let holds = pairs >= 2 && worst <= 2.0 * limit && worst <= 0.1 * largest;
    holds.then(|| {
        format!(
            "found − right is one number for each head and distance, to {}; in head 0 {} at distance 0, {} at distance 1",
            short(worst),
            short(bias(0, rows - 1, start + rows - 1)),
            short(bias(0, rows - 1, start + rows - 2)),
        )
    })
}

/// found − right is the same in every row.
fn head_bias(shown: &Tensor, honest: &Tensor, limit: f64) -> Option<String> {
    let (rows, width) = (shown.shape[0], shown.row_len());
    if rows < 2 {
        return None;
    }
    let bias = |t: usize, v: usize| shown.values[t * width + v] - honest.values[t * width + v];
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    for v in 0..width {
        for t in 1..rows {
            let scale = honest.values[t * width + v].abs().max(1.0);
            worst = worst.max((bias(t, v) - bias(0, v)).abs() / scale);
        }
        largest = largest.max(bias(0, v).abs());
    }
    // NaN is no bias.
    let holds = worst <= 2.0 * limit && worst <= 0.1 * largest && largest.is_finite();
    holds.then(|| {
        format!(
            "found − right is the same at every position, to {}; up to {} for a token",
            short(worst),
            short(largest)
        )
    })
}

/// Numbers of the right kind without any likeness to the right ones.
fn untied(shown: &Tensor, honest: &Tensor) -> Option<String> {
    let dot = |a: &Tensor, b: &Tensor| a.values.iter().zip(&b.values).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(shown, honest) / (dot(shown, shown) * dot(honest, honest)).sqrt();
    (cosine.abs() < 0.3).then(|| {
        format!("ln_f is right and the logits have no likeness to ln_f · wteᵀ (cosine {cosine:.2}): another matrix")
    })
}

/// An id that is no place's largest logit, but that can be drawn.
fn sampled(found: &Found<'_>, shown: &Tensor) -> Option<String> {
    let logits = found.get(Station::SelectedLogits, 0, 0)?;
    let id = *shown.values.first()? as usize;
    let probability = *softmax(logits).values.get(id)?;
    let rank = logits.values.iter().filter(|logit| **logit > logits.values[id]).count() + 1;
    (rank > 1).then(|| {
        format!("token {id} is number {rank} by its logit, with probability {probability:.3} at temperature 1")
    })
}
