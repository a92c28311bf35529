//! The table of all faults, in the order of the checkpoints; those of the Llama family have a part of their own.

mod attention;
mod blocks;
mod llama;
mod projections;
mod selection;

use super::{Entry, Equivalent};
use crate::layers::Station;

/// Every fault: those of GPT-2 and of every model in the order of the checkpoints where they live, then those of Llama and
/// Qwen2 in the same order.
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
    llama::NORM,
    llama::PROJECTED,
    llama::ROTARY,
    llama::ATTENTION,
    llama::GATED,
    llama::HEAD,
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
    Equivalent {
        name: "rotary positions counted from another one, for queries and keys alike, where neither is shown",
        lives: 4,
        reason: "scores depend on the distance alone: (R(t + a) q) · (R(s + a) k) = q · R(s − t) k; it shows in the turned \
                 queries and keys, and in cached keys",
    },
    Equivalent {
        name: "rotary on adjacent pairs, with the rows of q and k in the order of GGUF",
        lives: 2,
        reason: "queries and keys are in the same order, and a product over D does not see it; each alone is a mistake",
    },
    Equivalent {
        name: "heads of keys and values repeated for each query of their group",
        lives: 4,
        reason: "repeat_interleave copies what h / (H / KV) reads in place",
    },
    Equivalent {
        name: "keys cached as they are, and turned by their own positions when they are read",
        lives: 4,
        reason: "the same product later; only the cache that is shown differs, and a capture shows it turned",
    },
];

const NORMS: &[Station] = &[Station::LayerNorm1, Station::LayerNorm2, Station::FinalLayerNorm];
const PROJECTED: &[Station] = &[Station::Query, Station::Key, Station::Value];
const CACHED: &[Station] = &[Station::CachedKeys, Station::CachedValues];
