//! RMSNorm with everything that can be wrong with it.

use super::super::Here;
use super::super::norm::together;
use crate::model::Weight;
use crate::parity::faults::Fault;
use crate::parity::oracle::Tensor;

/// x / √(Σx² / C + ε) · weight: [T, C]
pub fn normalised(here: Here<'_>, x: &Tensor, weight: &Weight, epsilon: f64) -> Tensor {
    let width = x.row_len();
    let epsilon = match here.variant(Fault::RmsEpsilon) {
        None => epsilon,
        Some(0) if epsilon == 1e-5 => 1e-6,
        Some(variant) => [1e-5, 1e-12, 1e-8, 1e-3, 1e-4, 1e-7][variant.min(5)],
    };
    let axis = here.variant(Fault::WrongAxis);
    let centred = here.variant(Fault::MeanSubtracted);
    let mut out = x.clone();
    for t in 0..x.shape[0] {
        let mut of_the_row = None;
        for c in 0..width {
            let moments = || {
                let numbers = together(axis, x, t, c);
                let count = numbers.len() as f64;
                let mean = numbers.iter().sum::<f64>() / count;
                let centre = if centred == Some(0) { mean } else { 0.0 };
                let sum = numbers.iter().map(|x| (x - centre).powi(2)).sum::<f64>();
                (mean, if here.has(Fault::SumNotMean) { sum } else { sum / count })
            };
            let (mean, square) = if axis == Some(0) { moments() } else { *of_the_row.get_or_insert_with(moments) };
            let divisor = if here.has(Fault::RmsRootMissing) {
                square + epsilon
            } else if here.has(Fault::RmsEpsilonOutsideRoot) {
                square.sqrt() + epsilon
            } else {
                (square + epsilon).sqrt()
            };
            let weight = match f64::from(weight.values()[c]) {
                _ if here.has(Fault::NormWeightMissing) => 1.0,
                weight if here.has(Fault::NormWeightPlusOne) => 1.0 + weight,
                weight => weight,
            };
            let centre = if centred.is_some() { mean } else { 0.0 };
            out.values[t * width + c] = (x.at([t, c]) - centre) / divisor * weight;
        }
    }
    out
}
