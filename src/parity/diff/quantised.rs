//! A quantised model against its original: signal to noise instead of a tolerance.

use super::super::compare::{Comparison, Verdict};
use crate::layers::Station;

/// The least signal to noise in decibels that a model stored so may keep at any station. Each bit of a weight is worth
/// 6 dB; what blocks add up takes some of it. Measured with llama.cpp on two blocks, at the worst station, the logits: F16
/// 58, Q8_0 31, Q6_K 24, Q5_K 18, Q5_0 16, Q4_K 12, Q4_0 10, Q3_K 6, Q2_K 2 (`golden/README.md`); deeper models lose more. A
/// wrong reader of Q8_0's blocks is at 16 dB there at most, one of the others below 1.
pub(super) fn floor(weights_dtype: &str) -> f64 {
    let kind = weights_dtype.to_ascii_uppercase();
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

/// The verdict by signal to noise. Tokens and probabilities may be others with other weights: they are shown, not judged.
pub(super) fn judge(comparison: Comparison, station: Station, floor: f64) -> Comparison {
    if !matches!(comparison.verdict, Verdict::Pass | Verdict::Differs) {
        return comparison;
    }
    if station >= Station::Argmax {
        let remark = Some("other weights may choose other tokens".to_owned());
        return Comparison { verdict: Verdict::NotCompared, remark, ..comparison };
    }
    let Some(numbers) = &comparison.numbers else { return comparison };
    let sqnr = numbers.sqnr();
    let holds = numbers.mask_differs == 0 && sqnr >= floor;
    let remark = Some(format!("signal to noise {sqnr:.1} dB, {floor:.0} dB asked for"));
    Comparison { verdict: if holds { Verdict::Pass } else { Verdict::Differs }, remark, ..comparison }
}
