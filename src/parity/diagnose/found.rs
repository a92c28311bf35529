//! A trace under test, and each of its stations computed again from the trace's own tensors.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::layers::Station;
use crate::parity::capture::Capture;
use crate::parity::oracle::{Cache, Given, Model, Operations, Pass, Tensor};
use crate::parity::{Place, Profile};

/// The tensors of a trace that have a place in a GPT-2.
pub struct Found<'a> {
    pub model: Model<'a>,
    pub tensors: BTreeMap<Place, Rc<Tensor>>,
    /// What was fed, and where it begins.
    pub tokens: Vec<u32>,
    pub start: usize,
    pub profile: Profile,
}

/// A station computed from the trace's own inputs.
pub struct Recomputed {
    pub tensor: Tensor,
    /// Every station that was computed for it: itself, and inputs that the trace does not have.
    pub stations: Vec<(Station, usize)>,
}

impl<'a> Found<'a> {
    pub fn new(model: Model<'a>, capture: &Capture) -> Self {
        let place = |(name, tensor): (&String, &crate::parity::capture::Tensor)| {
            let place = Place::of_name(name)?;
            let known = place.layer < model.configuration.n_layer;
            known
                .then(|| (place, Rc::new(Tensor { shape: tensor.shape.clone(), values: tensor.to_f64().into_owned() })))
        };
        let manifest = &capture.manifest;
        Self {
            model,
            tensors: capture.tensors.iter().filter_map(place).collect(),
            tokens: manifest.token_ids.clone(),
            start: manifest.start_pos,
            profile: Profile::of_name(&manifest.tolerance_profile).unwrap_or_default(),
        }
    }

    pub fn get(&self, station: Station, layer: usize, step: usize) -> Option<&Rc<Tensor>> {
        self.tensors.get(&Place::new(station, layer, step))
    }

    /// The ids sampled after the prefill, as far as they are known.
    pub fn sampled(&self) -> Vec<u32> {
        let ids = self.get(Station::GeneratedIds, 0, 0).or_else(|| self.get(Station::Argmax, 0, 0));
        ids.map(|ids| ids.values.iter().map(|id| *id as u32).collect()).unwrap_or_default()
    }

    /// The shape that a station's tensor has in a pass of this trace.
    fn shape(&self, place: Place) -> Vec<usize> {
        let configuration = self.model.configuration;
        let (h, c, d) = (configuration.n_head, configuration.n_embd, configuration.head_size());
        let (t, n) = (self.tokens.len(), self.start + self.tokens.len() + place.step);
        match place.station {
            Station::Query | Station::Key | Station::Value | Station::QueryRotated | Station::KeyRotated => {
                vec![t, h, d]
            }
            Station::CachedKeys | Station::CachedValues => vec![n, h, d],
            Station::Scores | Station::ScoresMasked | Station::Probabilities => vec![h, t, n],
            Station::FeedForwardHidden | Station::Gelu => vec![t, configuration.n_inner],
            Station::Logits => vec![t, configuration.vocab_size],
            Station::SelectedLogits | Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => {
                vec![configuration.vocab_size]
            }
            Station::Argmax => vec![1],
            _ => vec![t, c],
        }
    }

    /// A tensor of the trace in the shape that a pass needs.
    fn usable(&self, place: Place) -> Option<Rc<Tensor>> {
        self.tensors.get(&place).filter(|tensor| tensor.shape == self.shape(place)).cloned()
    }

    /// A station from the trace's own tensors; `None` where it can't be: an unknown token, an earlier step not shown.
    pub fn recompute<O: Operations>(&self, place: Place, operations: &O) -> Option<Recomputed> {
        let Place { station, layer, step } = place;
        if station == Station::GeneratedIds {
            return None; // of a whole generation, and of no pass
        }
        let given = Isolated { found: self, target: place };
        let past = self.past(place)?;
        if step == 0 {
            let pass = Pass::new(self.model, operations, &self.tokens, self.start, &past, &given).ok()?;
            return self.of(&pass, place);
        }
        // A decode step: one token at the end of what is cached.
        let sampled = self.sampled();
        let mut history = self.tokens.clone();
        history.extend(sampled.get(..step)?);
        let cached = self.start + history.len() - 1;
        let feed = operations.feed(step, &history, cached);
        let token = [feed.token];
        let pass = Pass::new(self.model, operations, &token, feed.start, &past, &given).ok()?;
        debug_assert!(matches!(station, Station::CachedKeys | Station::CachedValues) && layer < past.keys.len());
        self.of(&pass.at_position(feed.position), place)
    }

    fn of<O: Operations>(&self, pass: &Pass<'_, O>, place: Place) -> Option<Recomputed> {
        let Place { station, layer, .. } = place;
        let mut tensor = pass.compute(station, layer).ok()?;
        if matches!(station, Station::CachedKeys | Station::CachedValues) {
            tensor = tensor.first_rows(pass.positions());
        }
        let mut stations = pass.computed();
        stations.push((station, layer));
        stations.sort_by_key(|(station, layer)| Place::new(*station, *layer, 0));
        Some(Recomputed { tensor, stations })
    }

    /// The cache before the pass of a place, as the trace shows it. Before the prefill it is empty, but for the part that an
    /// earlier chunk filled.
    fn past(&self, place: Place) -> Option<Cache> {
        let configuration = self.model.configuration;
        let filled = self.start + if place.step > 0 { self.tokens.len() + place.step - 1 } else { 0 };
        let shown = place.step.saturating_sub(1);
        let mut cache = Cache::new(&self.model, self.start + self.tokens.len() + place.step + 1);
        if filled == 0 {
            return Some(cache);
        }
        for layer in 0..configuration.n_layer {
            for (station, slots) in [(Station::CachedKeys, &mut cache.keys), (Station::CachedValues, &mut cache.values)]
            {
                // Whoever was shown another shape has kept nothing: the step is then held against an empty cache.
                if let Some(tensor) = self.usable(Place::new(station, layer, shown)) {
                    let mut slot = Tensor::zeros(&slots[layer].shape);
                    let width = slot.row_len();
                    slot.values[..filled * width].copy_from_slice(&tensor.values[..filled * width]);
                    slots[layer] = Rc::new(slot);
                } else if layer <= place.layer && self.get(station, layer, shown).is_none() {
                    return None; // not shown: what was there is not known
                }
            }
        }
        Some(cache)
    }
}

/// What a pass is given to compute one station: every tensor of the trace but that station's own.
struct Isolated<'a> {
    found: &'a Found<'a>,
    target: Place,
}

impl Given for Isolated<'_> {
    fn tensor(&self, station: Station, layer: usize) -> Option<Rc<Tensor>> {
        let place = Place::new(station, layer, self.target.step);
        if place == self.target {
            return None;
        }
        // A block's output has two names; where one is asked for, the other must not answer for itself.
        let twin = match station {
            Station::Block => Some(Place::new(Station::BlockOutput, layer, place.step)),
            Station::BlockOutput => Some(Place::new(Station::Block, layer, place.step)),
            _ => None,
        };
        let twin = twin.filter(|twin| *twin != self.target);
        self.found.usable(place).or_else(|| self.found.usable(twin?))
    }
}
