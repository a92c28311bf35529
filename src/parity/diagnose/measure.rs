//! How far a tensor of a trace is from one that was computed, and how far it may be.

use crate::layers::Station;
use crate::parity::oracle::Tensor;
use crate::parity::tolerance::{LogitScale, tolerance};
use crate::parity::{Place, Profile};

/// Below this a score is masked, whatever number says so.
const MASKED: f64 = -1e30;

/// A number far below the largest of its tensor is made of terms of that size, and rounded as they are: to this part of it.
const OF_THE_LARGEST: f64 = 0.01;

/// The largest difference, relative where the computed number is larger than 1. Infinite where the shapes differ, or where
/// one is a number and the other is none.
pub fn difference(place: Place, found: &Tensor, computed: &Tensor) -> f64 {
    if found.shape != computed.shape {
        return f64::INFINITY;
    }
    let can_be_masked = is_masked_station(place.station);
    let finite = computed.values.iter().filter(|x| x.is_finite());
    let scale = 1f64.max(OF_THE_LARGEST * finite.fold(0.0, |largest: f64, x| largest.max(x.abs())));
    let mut largest: f64 = 0.0;
    for (found, computed) in found.values.iter().zip(&computed.values) {
        let apart = apart(*found, *computed, can_be_masked);
        largest = largest.max(if computed.abs() < scale { apart * computed.abs().max(1.0) / scale } else { apart });
    }
    largest
}

/// The same for one number.
pub fn apart(found: f64, computed: f64, can_be_masked: bool) -> f64 {
    let masked = |value: f64| can_be_masked && value < MASKED;
    if found == computed || (found.is_nan() && computed.is_nan()) || (masked(found) && masked(computed)) {
        0.0
    } else if !found.is_finite() || !computed.is_finite() || masked(found) || masked(computed) {
        f64::INFINITY
    } else {
        (found - computed).abs() / computed.abs().max(1.0)
    }
}

pub fn is_masked_station(station: Station) -> bool {
    matches!(station, Station::Scores | Station::ScoresMasked | Station::Probabilities)
}

/// What a correct engine in f32 may be off by in one step of its own, or in so many steps that could not be taken apart.
///
/// Tighter than the tolerances of whole runs, in which the errors of all steps before add up.
pub fn allowed(place: Place, steps: usize, profile: Profile) -> f64 {
    let own: f64 = match place.station {
        Station::Argmax | Station::GeneratedIds => return 0.0,
        Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => 1e-6,
        Station::Embedding
        | Station::LayerNorm1
        | Station::LayerNorm2
        | Station::FinalLayerNorm
        | Station::SelectedLogits => 1e-5,
        Station::CachedKeys | Station::CachedValues if place.step == 0 => 1e-5,
        _ => 1e-4,
    };
    let several = if steps > 1 { own.max(1e-4) } else { own };
    match profile {
        Profile::Exact => several,
        Profile::Ggml => several.max(tolerance(place, profile, LogitScale::default()).rule.base()),
    }
}
