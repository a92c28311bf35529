//! How far two engines may be apart at each station, and why.
//!
//! The table is in f32 engines' favour and no further: the same mathematics in another order of summation stays inside
//! it by a factor of ten at least, and each fault of the catalogue is outside on the input that reveals it.

use serde::Serialize;

use super::Place;
use crate::layers::Station;

/// What one tensor is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub rule: Rule,
    /// Why it is this and not less, in words.
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Bit for bit.
    Exact,
    /// `t` where the reference is at most 1, `t · |reference|` above it.
    Within(f64),
    /// For probabilities made of logits that may be off by some tolerance: `floor + spread · p · (1 − p)`.
    Probability { floor: f64, spread: f64 },
}

impl Rule {
    /// How far from this reference a value may be.
    pub fn allowed(self, reference: f64) -> f64 {
        self.base() + self.extra(reference)
    }

    /// The part that is the same for every element of a small reference: the number that a report shows.
    pub fn base(self) -> f64 {
        match self {
            Rule::Exact => 0.0,
            Rule::Within(tolerance) => tolerance,
            Rule::Probability { floor, .. } => floor,
        }
    }

    fn extra(self, reference: f64) -> f64 {
        match self {
            Rule::Exact => 0.0,
            Rule::Within(tolerance) => tolerance * (reference.abs().max(1.0) - 1.0),
            Rule::Probability { spread, .. } => spread * (reference * (1.0 - reference)).max(0.0),
        }
    }
}

/// The terms under which an engine is compared. A profile other than `exact` is named wherever its verdict is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    #[default]
    Exact,
    /// ggml as shipped.
    Ggml,
}

impl Profile {
    pub const ALL: [Profile; 2] = [Profile::Exact, Profile::Ggml];

    pub fn of_name(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Profile::Exact => "exact",
            Profile::Ggml => "ggml",
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Profile::Exact => "f32 arithmetic, in any order of summation",
            Profile::Ggml => {
                "ggml looks GELU up in a table of f16 (11 bits of input and of output); loosened only downstream of it"
            }
        }
    }
}

/// The logits of the reference: what probabilities may be off by follows from how large they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitScale {
    pub largest: f64,
}

impl Default for LogitScale {
    fn default() -> Self {
        LogitScale { largest: 1.0 }
    }
}

/// What a tensor of one engine is held to against the same of another.
pub fn tolerance(place: Place, profile: Profile, logits: LogitScale) -> Tolerance {
    let base = exact(place, logits);
    match profile {
        Profile::Exact => base,
        Profile::Ggml if is_after_gelu(place) => ggml(place, base, logits),
        Profile::Ggml => base,
    }
}

/// Between tensors of one and the same engine, where one is only a copy of the other: the cache and what was put into
/// it, the selected logits and their row.
pub fn own_copy() -> Tolerance {
    Tolerance { rule: Rule::Exact, reason: "a copy: nothing is computed" }
}

/// Between an engine's probabilities and the f64 softmax of its own logits.
pub fn own_softmax() -> Tolerance {
    Tolerance { rule: Rule::Within(OWN_SOFTMAX), reason: "one softmax in f32: no error of the logits is in it" }
}

const NORM: f64 = 1e-5;
const PRODUCT: f64 = 1e-4;
const LOGITS: f64 = 1e-3;
const OWN_SOFTMAX: f64 = 1e-6;
/// Twice f16's half step (2⁻¹¹), for input and output of the table, at values around 1.
const GGML_GELU: f64 = 1.1e-3;
/// Three times the worst that was measured at the logits of GPT-2's shape, 1.6e-3.
const GGML_AFTER: f64 = 5e-3;

fn exact(place: Place, logits: LogitScale) -> Tolerance {
    let (rule, reason) = match place.station {
        station if place.layer > 0 && is_on_residual_stream(station) => {
            (Rule::Within(LOGITS), "errors of the blocks before add up on the residual stream")
        }
        Station::LayerNorm1 if place.layer > 0 => {
            (Rule::Within(PRODUCT), "normalises what the block before left, with its error")
        }
        Station::Embedding => (Rule::Within(NORM), "one sum of two numbers"),
        Station::LayerNorm1 => (Rule::Within(NORM), "two sums over C and a root, on inputs of size 1"),
        Station::LayerNorm2 => (Rule::Within(PRODUCT), "normalises what attention left, with its error"),
        Station::Query | Station::Key | Station::Value | Station::QueryRotated | Station::KeyRotated => {
            (Rule::Within(PRODUCT), "one product over C terms in f32")
        }
        Station::CachedKeys | Station::CachedValues => {
            (Rule::Within(PRODUCT), "what the projection put in, from another engine: as the projection")
        }
        Station::Scores | Station::ScoresMasked => (Rule::Within(PRODUCT), "a product over D terms of q and k"),
        Station::Probabilities | Station::Merged | Station::AttentionOutput | Station::AttentionResidual => {
            (Rule::Within(PRODUCT), "a softmax and two products in f32")
        }
        Station::FeedForwardHidden
        | Station::Gelu
        | Station::Gate
        | Station::Up
        | Station::GatedProduct
        | Station::FeedForwardOutput => (Rule::Within(PRODUCT), "products over C and 4C terms in f32"),
        Station::Block => (Rule::Within(PRODUCT), "all of one block in f32"),
        Station::BlockOutput | Station::FinalLayerNorm | Station::Logits => {
            (Rule::Within(LOGITS), "errors of all blocks add up")
        }
        Station::SelectedLogits => (Rule::Within(LOGITS), "a row of the logits of another engine"),
        Station::Argmax => (Rule::Exact, "a token is right or wrong; near ties have their own verdict"),
        Station::GeneratedIds => (Rule::Exact, "text is right or wrong; near ties have their own verdict"),
        Station::SoftmaxHalf => return softmax(LOGITS, 0.5, logits),
        Station::SoftmaxOne => return softmax(LOGITS, 1.0, logits),
        Station::SoftmaxTwo => return softmax(LOGITS, 2.0, logits),
    };
    Tolerance { rule, reason }
}

/// Logits off by e each, at temperature T, move a probability p by (exp(2e/T) − 1) · p · (1 − p) at most.
fn softmax(tolerance: f64, temperature: f64, logits: LogitScale) -> Tolerance {
    let each = tolerance * logits.largest.max(1.0);
    let spread = (2.0 * each / temperature).exp_m1();
    Tolerance {
        rule: Rule::Probability { floor: OWN_SOFTMAX, spread },
        reason: "the tolerance of the logits, carried through the softmax, and the softmax's own rounding",
    }
}

fn is_on_residual_stream(station: Station) -> bool {
    matches!(
        station,
        Station::AttentionOutput | Station::AttentionResidual | Station::FeedForwardOutput | Station::Block
    )
}

fn is_after_gelu(place: Place) -> bool {
    place > Place::new(Station::FeedForwardHidden, 0, 0)
        && !(place.layer == 0 && matches!(place.station, Station::CachedKeys | Station::CachedValues))
}

fn ggml(place: Place, base: Tolerance, logits: LogitScale) -> Tolerance {
    let after = Rule::Within(GGML_AFTER);
    let (rule, reason) = match place.station {
        Station::Gelu if place.layer == 0 => {
            (Rule::Within(GGML_GELU), "GELU through a table of f16: half a step of 2⁻¹⁰ in and out")
        }
        Station::Argmax | Station::GeneratedIds => return base,
        Station::SoftmaxHalf => return softmax(GGML_AFTER, 0.5, logits),
        Station::SoftmaxOne => return softmax(GGML_AFTER, 1.0, logits),
        Station::SoftmaxTwo => return softmax(GGML_AFTER, 2.0, logits),
        _ => (after, "three times the worst error measured with ggml's f16 GELU, 1.6e-3"),
    };
    Tolerance { rule, reason }
}
