//! The table of all faults, in the order of the checkpoints.

mod attention;
mod blocks;
mod projections;
mod selection;

use super::{Entry, Equivalent};
use crate::layers::Station;

/// Every fault, in the order of the checkpoints where they live.
pub const CATALOGUE: &[&[Entry]] = &[
    projections::LAYER_NORM,
    projections::QKV,
    attention::CACHE,
    attention::SCORES,
    attention::OUTPUT,
    blocks::FEED_FORWARD,
    blocks::BLOCK,
    blocks::MODEL,
    selection::ROW,
    selection::ARGMAX,
    selection::SOFTMAX,
    selection::GENERATION,
];

/// What looks like a fault and is none: the same function in other words.
pub const EQUIVALENT: &[Equivalent] = &[
    Equivalent {
        name: "masked with the most negative f32 instead of −∞",
        lives: 4,
        reason: "e to the power of −3.4e38 is 0 as it is for −∞, and below −1e30 an entry counts as masked; a row always has \
                 its own position, so no row is all masked",
    },
    Equivalent {
        name: "q divided by √D instead of the scores",
        lives: 4,
        reason: "(q / √D) · k = (q · k) / √D; only the rounding differs",
    },
    Equivalent {
        name: "GELU as x · σ(2u) instead of ½ · x · (1 + tanh u)",
        lives: 6,
        reason: "½ · (1 + tanh u) = σ(2u)",
    },
    Equivalent {
        name: "argmax of the probabilities instead of the logits",
        lives: 10,
        reason: "the softmax keeps the order, and 0 < temperature does too",
    },
    Equivalent {
        name: "a constant subtracted from all scores of a row",
        lives: 5,
        reason: "the softmax of x + a is the softmax of x; so is a bias of k, which shows in k itself and nowhere later",
    },
];

const NORMS: &[Station] = &[Station::LayerNorm1, Station::LayerNorm2, Station::FinalLayerNorm];
const PROJECTED: &[Station] = &[Station::Query, Station::Key, Station::Value];
const CACHED: &[Station] = &[Station::CachedKeys, Station::CachedValues];
