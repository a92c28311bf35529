//! Queries and keys turned by their positions, and every way to get that wrong.

use super::{Faulty, Here};
use crate::layers::Station;
use crate::model::configuration::RopeScaling;
use crate::model::{Configuration, LlamaConfiguration, ModelError};
use crate::parity::faults::Fault;
use crate::parity::oracle::{self, Tensor};

/// The bases of [`Fault::RopeBase`], in the order of its variants; a higher number is a thousandth of the base itself.
const BASES: [f64; 5] = [10_000.0, 500_000.0, 1_000_000.0, 5_000_000.0, 100_000.0];

/// [T, H, D] or [T, KV, D]
pub fn station(here: Here<'_>, pass: &Faulty<'_>, sizes: &LlamaConfiguration) -> Result<Tensor, ModelError> {
    let from = if here.station == Station::QueryRotated { Station::Query } else { Station::Key };
    let x = pass.get(from, here.layer)?;
    let unturned = [Fault::RotaryMissing, Fault::RotaryQueriesUnturned, Fault::RotaryKeysUnturned];
    if unturned.into_iter().any(|fault| here.has(fault)) {
        return Ok((*x).clone());
    }
    let frequencies = frequencies(here, sizes);
    let shift = match here.variant(Fault::RopePositionOffByOne) {
        None => 0.0,
        Some(0) => 1.0,
        Some(_) => -1.0,
    };
    let way = if here.has(Fault::RotaryReversed) { -1.0 } else { 1.0 };
    let adjacent = here.variant(Fault::RotaryAdjacentPairs);
    let half = sizes.head_size / 2;
    Ok(Tensor::from_fn([x.shape[0], x.shape[1], 2 * half], |[t, h, channel]| {
        let (is_first, other, pair) = match adjacent {
            Some(_) => (channel % 2 == 0, channel ^ 1, channel / 2),
            None => (channel < half, (channel + half) % (2 * half), channel % half),
        };
        let frequency = frequencies[if adjacent == Some(1) { channel % half } else { pair }];
        let (sin, cos) = (((pass.position + t) as f64 + shift) * frequency * way).sin_cos();
        let (own, other) = (x.at([t, h, channel]), x.at([t, h, other]));
        if is_first { own * cos - other * sin } else { own * cos + other * sin }
    }))
}

/// [D / 2]
fn frequencies(here: Here<'_>, sizes: &LlamaConfiguration) -> Vec<f64> {
    let mut sizes = sizes.clone();
    if let Some(variant) = here.variant(Fault::RopeBase) {
        sizes.rope_theta = BASES.get(variant).copied().unwrap_or(variant as f64 / 1000.0);
    }
    if let Some(variant) = here.variant(Fault::RopeScalingIgnored) {
        sizes.rope_scaling = match sizes.rope_scaling {
            RopeScaling::Llama3 { factor, .. } | RopeScaling::Linear { factor } if variant == 1 => {
                RopeScaling::Linear { factor }
            }
            _ => RopeScaling::None,
        };
    }
    oracle::frequencies(&sizes)
}

/// As it should be done, to what should not be turned, or is turned already.
pub fn turned(pass: &Faulty<'_>, x: &Tensor) -> Tensor {
    match pass.model.configuration {
        Configuration::Llama(sizes) => oracle::rotate(x, pass.position, &oracle::frequencies(sizes)),
        Configuration::Gpt2(_) => x.clone(),
    }
}
