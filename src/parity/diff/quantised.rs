//! Quantised models: signal to noise instead of a tolerance, for whole passes and for each step by itself.

use serde::Serialize;

use super::super::capture::Manifest;
use super::super::compare::{Comparison, Numbers, Verdict};
use super::{Diff, Row, Standing};
use crate::layers::Station;

/// The least signal to noise that is asked for, in decibels, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// Of a whole pass against a whole pass.
    pub accumulated: f64,
    /// Of a step on its own inputs.
    pub by_itself: f64,
    pub reason: &'static str,
}

impl Noise {
    /// The terms of a comparison; none where a tolerance holds. Two engines on one quantised file are always compared so.
    pub(super) fn between(reference: &Manifest, found: &Manifest, other_weights: bool) -> Option<Noise> {
        let kind = found.weights_dtype.to_ascii_uppercase();
        let is_one_file = !found.model_digest.is_empty() && found.model_digest == reference.model_digest;
        if is_one_file && kind.starts_with('Q') {
            return Some(Noise { accumulated: ONE_FILE, by_itself: by_itself(&kind), reason: "one quantised file" });
        }
        other_weights.then(|| Noise {
            accumulated: of_other_weights(&kind),
            by_itself: by_itself(&kind),
            reason: "a quantised model and its original",
        })
    }
}

/// Engines on the same quantised file differ by how they round activations: measured, llama.cpp is 30 dB and more from a pass
/// in full precision on the same weights; two that round by themselves are 3 dB closer at worst. A wrong reader of the blocks
/// is at 16 dB at most (`golden/README.md`).
const ONE_FILE: f64 = 24.0;

/// What is left of one step when its activations are rounded to 8 bits: 35 dB and more (measured); a wrong reader of blocks
/// leaves 27 at most. With F16 they are rounded to 11 bits: 73 dB; with BF16 to 8: 46.
fn by_itself(kind: &str) -> f64 {
    match kind {
        _ if kind.starts_with('Q') => 32.0,
        _ if kind.starts_with("F16") => 60.0,
        _ if kind.starts_with("BF16") => 40.0,
        _ => 80.0,
    }
}

/// The least signal to noise that a model stored so may keep at any station. Each bit of a weight is worth 6 dB; what blocks
/// add up takes some of it. Measured with llama.cpp on two blocks, at the worst station, the logits: F16 58, Q8_0 31, Q6_K 24,
/// Q5_K 18, Q5_0 16, Q4_K 12, Q4_0 10, Q3_K 6, Q2_K 2 (`golden/README.md`); deeper models lose more. A wrong reader of Q8_0's
/// blocks is at 16 dB there at most, one of the others below 1.
fn of_other_weights(kind: &str) -> f64 {
    let starts = |prefix: &str| kind.starts_with(prefix);
    match () {
        () if starts("F32") || starts("F64") => 80.0,
        () if starts("F16") => 40.0,
        () if starts("BF16") => 24.0,
        () if starts("Q8") => 24.0,
        () if starts("Q6") => 18.0,
        () if starts("Q5") => 14.0,
        () if starts("Q3") => 4.0,
        () if starts("Q2") => 0.0,
        () => 8.0,
    }
}

/// The verdict of a whole pass. Tokens and probabilities may be others with other weights: they are shown, not judged.
pub(super) fn judge(comparison: Comparison, station: Station, noise: Noise) -> Comparison {
    if !matches!(comparison.verdict, Verdict::Pass | Verdict::Differs) {
        return comparison;
    }
    if station >= Station::Argmax {
        let remark = Some("such weights may choose other tokens".to_owned());
        return Comparison { verdict: Verdict::NotCompared, remark, ..comparison };
    }
    let Some(numbers) = &comparison.numbers else { return comparison };
    let remark = Some(format!("signal to noise {:.1} dB, {:.0} dB asked for", numbers.sqnr(), noise.accumulated));
    Comparison { verdict: verdict(numbers, noise.accumulated), remark, ..comparison }
}

/// Whether so much of the signal is there, and the same is masked.
pub(super) fn verdict(numbers: &Numbers, floor: f64) -> Verdict {
    let holds = numbers.mask_differs == 0 && (numbers.sqnr() >= floor || numbers.max_abs.value == 0.0);
    if holds { Verdict::Pass } else { Verdict::Differs }
}

impl Diff {
    /// The station of a whole pass that keeps least of its signal, and how much, in decibels.
    pub fn least_accumulated(&self) -> Option<(&Row, f64)> {
        let judged =
            self.rows.iter().filter(|row| !matches!(row.standing(), Standing::NotCompared | Standing::Missing));
        least(judged.filter_map(|row| Some((row, row.comparison.numbers.as_ref()?.sqnr()))))
    }

    /// The same of steps on their own inputs.
    pub fn least_by_itself(&self) -> Option<(&Row, f64)> {
        let steps = self.rows.iter().filter_map(|row| Some((row, row.local?)));
        least(steps.filter(|(_, local)| local.verdict != Verdict::NotCompared).map(|(row, local)| (row, local.sqnr)))
    }
}

fn least<'a>(rows: impl Iterator<Item = (&'a Row, f64)>) -> Option<(&'a Row, f64)> {
    rows.min_by(|(_, one), (_, other)| one.total_cmp(other))
}
