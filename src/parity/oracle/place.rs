//! Where in a run a tensor belongs: the name it has in a capture, read, and in the order in which a run comes by.

use std::cmp::Ordering;

use crate::layers::Station;

/// Of the probabilities of checkpoint 11.
pub const TEMPERATURES: [f64; 3] = [0.5, 1.0, 2.0];

/// A station of a layer in a pass. Places compare in the order of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// 0 for the prefill, then decode steps.
    pub step: usize,
    /// 0 outside the blocks.
    pub layer: usize,
    pub station: Station,
}

impl Place {
    pub fn new(station: Station, layer: usize, step: usize) -> Self {
        Self { step, layer, station }
    }

    pub fn name(self) -> String {
        self.station.name(self.layer, self.step)
    }

    /// The place of a name in a capture; `None` for a name that GPT-2 does not have.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(layer) = name.strip_prefix("cp08.block.") {
            return Some(Self::new(Station::BlockOutput, layer.parse().ok()?, 0));
        }
        let (stem, layer) = match name.rsplit_once(".L") {
            Some((stem, layer)) => (stem, layer.parse().ok()?),
            None => (name, 0),
        };
        if let Some((step, kind)) = stem.strip_prefix("cp03.step").and_then(|rest| rest.split_once('.')) {
            let station = match kind {
                "k" => Station::CachedKeys,
                "v" => Station::CachedValues,
                _ => return None,
            };
            return Some(Self::new(station, layer, step.parse().ok()?));
        }
        let station = Station::ALL.into_iter().find(|station| station.name(0, 0) == stem)?;
        let place = Self::new(station, layer, 0);
        (layer == 0 || station.is_in_a_block()).then_some(place)
    }

    /// The checkpoint that it belongs to; the embeddings, which have none of their own, are on the way to the first.
    pub fn checkpoint(self) -> u8 {
        let name = self.name();
        name[2..4].parse().unwrap_or(0).max(1)
    }

    fn order(self) -> (usize, u8, usize, Station) {
        let part = match self.station {
            Station::Embedding => 0,
            station if station.is_in_a_block() => 1,
            Station::GeneratedIds => return (usize::MAX, 2, 0, self.station),
            _ => 2,
        };
        (self.step, part, self.layer, self.station)
    }
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
