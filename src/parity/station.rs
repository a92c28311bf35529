//! Where a tensor of a capture belongs: its name read back, and the order in which an engine computes.
//!
//! [`Station::name`] writes a name, [`Place::of_name`] reads it. Places sort in execution order: the prefill, layer after
//! layer; what is made of its logits; the decode steps; the generated text.

use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;

use crate::layers::Station;

/// A station, in one layer and one pass of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub station: Station,
    /// 0 outside the blocks.
    pub layer: usize,
    /// 0 for the prefill, n for the n-th decode step.
    pub step: usize,
}

impl Place {
    pub fn new(station: Station, layer: usize, step: usize) -> Self {
        Place { station, layer, step }
    }

    /// None for a name that no station has: such a tensor is shown as not compared.
    pub fn of_name(name: &str) -> Option<Place> {
        if let Some(number) = name.strip_prefix("cp08.block.") {
            return Some(Place::new(Station::BlockOutput, digits(number)?, 0));
        }
        let (base, layer) = match name.rsplit_once(".L") {
            Some((base, number)) => (base, digits(number)?),
            None => (name, 0),
        };
        if let Some(rest) = base.strip_prefix("cp03.step") {
            let (step, which) = rest.split_once('.')?;
            let station = match which {
                "k" => Station::CachedKeys,
                "v" => Station::CachedValues,
                _ => return None,
            };
            return Some(Place::new(station, layer, digits(step)?));
        }
        let station = Station::ALL.into_iter().find(|station| station.name(0, 0) == base)?;
        (layer == 0 || station.is_of_a_layer()).then_some(Place::new(station, layer, 0))
    }

    /// The checkpoint that it belongs to; the embeddings, which have none of their own, are on the way to the first.
    pub fn checkpoint(self) -> u8 {
        self.name()[2..4].parse().unwrap_or(0).max(1)
    }

    /// The name in a capture.
    pub fn name(self) -> String {
        self.station.name(self.layer, self.step)
    }

    /// Whether what is computed here goes into what is computed there. Both may be of any layer and step.
    pub fn feeds(self, other: Place) -> bool {
        if self >= other {
            return false;
        }
        let same_pass = self.step == other.step && self.layer == other.layer;
        match (self.station, other.station) {
            (from, to) if same_pass && is_projection(from) && is_projection(to) => line(from) == line(to),
            (Station::Value | Station::CachedValues, to) if same_pass && to <= Station::Probabilities => false,
            // Several ways to read one row of logits.
            (Station::Argmax, to) if is_softmax(to) => false,
            (from, _) if is_softmax(from) => false,
            // Rows of other layers' caches are made of their own block's input only.
            (Station::CachedKeys | Station::CachedValues, Station::CachedKeys | Station::CachedValues)
                if self.layer == other.layer =>
            {
                line(self.station) == line(other.station)
            }
            _ => true,
        }
    }

    /// When it is computed: prefill before decode, the blocks between what is before and after them.
    fn order(self) -> (usize, usize, usize, Station) {
        let (part, step) = match self.station {
            Station::GeneratedIds => (3, 0),
            _ if self.step > 0 => (2, self.step),
            Station::Embedding => (0, 0),
            station if station.is_of_a_layer() => (0, 1),
            _ => (1, 0),
        };
        (part, step, self.layer, self.station)
    }
}

fn is_projection(station: Station) -> bool {
    (Station::Query..=Station::CachedValues).contains(&station)
}

fn is_softmax(station: Station) -> bool {
    (Station::SoftmaxHalf..=Station::SoftmaxTwo).contains(&station)
}

/// Queries, keys and values do not meet before the scores.
fn line(station: Station) -> u8 {
    match station {
        Station::Query | Station::QueryRotated => 0,
        Station::Key | Station::KeyRotated | Station::CachedKeys => 1,
        _ => 2,
    }
}

/// A number without a sign.
fn digits(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name())
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The axes of a station's tensor, as a person calls them.
pub fn axes(station: Station) -> &'static [&'static str] {
    match station {
        Station::Query
        | Station::Key
        | Station::Value
        | Station::QueryRotated
        | Station::KeyRotated
        | Station::CachedKeys
        | Station::CachedValues => &["position", "head", "channel"],
        Station::Scores | Station::ScoresMasked | Station::Probabilities => &["head", "position", "attended position"],
        Station::Logits => &["position", "token id"],
        Station::SelectedLogits | Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => &["token id"],
        Station::Argmax => &["choice"],
        Station::GeneratedIds => &["token"],
        _ => &["position", "channel"],
    }
}

/// Captures of others may do without it: it is asked for only to check steps one by one.
pub fn is_optional(station: Station) -> bool {
    matches!(
        station,
        Station::Embedding
            | Station::QueryRotated
            | Station::KeyRotated
            | Station::Probabilities
            | Station::Merged
            | Station::LayerNorm2
            | Station::AttentionResidual
            // of a gated layer, whose names nobody is bound to
            | Station::Gate
            | Station::Up
            | Station::GatedProduct
    )
}
