//! The reference with mistakes in it.
//!
//! A station's function is replaced only where one of the faults acts on it; several faults can act on one station, and
//! each is a branch in the function that it belongs to.

mod attention;
mod llama;
mod model;
mod norm;
mod projection;

use super::Fault;
use crate::layers::Station;
use crate::model::tokenizer::{Tokenizer, symbols};
use crate::model::{Configuration, ModelError};
use crate::parity::oracle::{Feed, Model, Operations, Pass, Tensor, honest};

/// A fault, and how and where it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Injection {
    pub fault: Fault,
    /// In the block of one layer only; else wherever its stations are.
    pub layer: Option<usize>,
    /// Which of [`Entry::variants`](super::Entry::variants); for a rope base that is none of them, see [`Injection::of_base`].
    pub variant: usize,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, layer: None, variant: 0 }
    }
}

impl Injection {
    /// Another rope base, to a thousandth: no row of a table has so high a number.
    pub fn of_base(base: f64) -> Self {
        Self { variant: (base * 1000.0).round() as usize, ..Fault::RopeBase.into() }
    }
}

/// The model with these faults.
#[derive(Clone, Debug, Default)]
pub struct Injected {
    pub faults: Vec<Injection>,
}

impl From<Fault> for Injected {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault.into()] }
    }
}

impl From<Injection> for Injected {
    fn from(injection: Injection) -> Self {
        Self { faults: vec![injection] }
    }
}

/// A pass with faults.
type Faulty<'a> = Pass<'a, Injected>;

/// The faults as one station sees them.
#[derive(Clone, Copy)]
struct Here<'a> {
    faults: &'a [Injection],
    station: Station,
    layer: usize,
}

impl Here<'_> {
    /// The variant of a fault that acts here.
    fn variant(self, fault: Fault) -> Option<usize> {
        let here = |injection: &&Injection| {
            injection.fault == fault
                && injection.layer.is_none_or(|layer| self.station.is_of_a_layer() && layer == self.layer)
                && fault.entry().acts.contains(&self.station)
        };
        self.faults.iter().find(here).map(|injection| injection.variant)
    }

    fn has(self, fault: Fault) -> bool {
        self.variant(fault).is_some()
    }
}

impl Injected {
    fn generation(&self, fault: Fault) -> Option<usize> {
        self.faults.iter().find(|injection| injection.fault == fault).map(|injection| injection.variant)
    }

    /// Whether any of the faults acts on this station.
    pub fn acts(&self, station: Station, layer: usize) -> bool {
        let here = Here { faults: &self.faults, station, layer };
        self.faults.iter().any(|injection| here.has(injection.fault))
    }
}

impl Operations for Injected {
    fn prompt(&self, model: &Model<'_>, tokens: &[u32]) -> Vec<u32> {
        let mut prompt = tokens.to_vec();
        if self.generation(Fault::PromptTwice).is_some() {
            prompt.extend(tokens);
        }
        if self.generation(Fault::BeginningOfText).is_some() {
            prompt.insert(0, model.configuration.bos_token_id().or(model.configuration.eos_token_id()).unwrap_or(0));
        }
        prompt
    }

    fn station(&self, pass: &Faulty<'_>, station: Station, layer: usize) -> Result<Tensor, ModelError> {
        let here = Here { faults: &self.faults, station, layer };
        if !self.acts(station, layer) {
            return honest(pass, station, layer);
        }
        if let Configuration::Llama(sizes) = pass.model.configuration
            && let Some(tensor) = llama::station(here, pass, sizes)?
        {
            return Ok(tensor);
        }
        match station {
            Station::LayerNorm1 | Station::LayerNorm2 | Station::FinalLayerNorm => norm::station(here, pass),
            Station::Query | Station::Key | Station::Value => projection::qkv(here, pass),
            Station::AttentionOutput | Station::FeedForwardHidden | Station::FeedForwardOutput => {
                projection::linear(here, pass)
            }
            Station::Gelu => projection::activation(here, pass),
            Station::CachedKeys | Station::CachedValues => attention::cached(here, pass),
            Station::Scores => attention::scores(here, pass),
            Station::ScoresMasked => attention::masked(here, pass),
            Station::Probabilities => attention::probabilities(here, pass),
            Station::Merged => attention::merged(here, pass),
            Station::AttentionResidual | Station::Block => model::residual(here, pass),
            Station::Embedding => model::embedding(here, pass),
            Station::Logits => model::logits(here, pass),
            Station::SelectedLogits => model::selected(here, pass),
            Station::Argmax => model::argmax_of(here, pass),
            Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => model::probable(here, pass),
            Station::BlockOutput
            | Station::GeneratedIds
            | Station::QueryRotated
            | Station::KeyRotated
            | Station::Gate
            | Station::Up
            | Station::GatedProduct => honest(pass, station, layer),
        }
    }

    fn feed(&self, step: usize, history: &[u32], cached: usize) -> Feed {
        let prompt = history.len() - step;
        let token = if self.generation(Fault::TokenNotAppended).is_some() { prompt } else { history.len() };
        let mut feed = Feed { token: history[token - 1], position: cached, start: cached };
        if self.generation(Fault::PositionRestarted).is_some() {
            feed.position = step - 1;
        }
        match self.generation(Fault::CacheDropped) {
            Some(0) => feed.start = 0,
            Some(1) => (feed.start, feed.position) = (0, 0),
            _ => {}
        }
        feed
    }

    fn ids(&self, mut sampled: Vec<u32>) -> Vec<u32> {
        if self.generation(Fault::StopsEarly).is_some() {
            sampled.pop();
        }
        sampled
    }

    fn text(&self, tokenizer: &dyn Tokenizer, ids: &[u32]) -> String {
        if self.generation(Fault::JoinedWithSpaces).is_some() {
            return ids.iter().map(|id| tokenizer.decode(&[*id])).collect::<Vec<_>>().join(" ");
        }
        let Some(variant) = self.generation(Fault::ByteTableMissing) else { return tokenizer.decode(ids) };
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.table().spelling(*id)).copied().collect();
        without_table(variant, &bytes)
    }
}

/// What a decoder prints that does not read a token's characters back as bytes.
pub fn without_table(variant: usize, bytes: &[u8]) -> String {
    match variant {
        0 => symbols(bytes),
        1 => symbols(bytes).replace('Ġ', " ").replace('Ċ', "\n"),
        _ => String::from_utf8_lossy(bytes).replace(' ', "▁"),
    }
}
