//! A trace under test, and each of its stations computed again from the trace's own tensors.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::layers::Station;
use crate::parity::capture::Capture;
use crate::parity::oracle::{Cache, Feed, Given, Honest, Model, Operations, Pass, Tensor};
use crate::parity::{Place, Profile, Words};

/// The tensors of a trace that have a place in the model.
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
            let known = place.layer < model.configuration.n_layer() && model.has(place.station);
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

    pub fn words(&self) -> Words {
        self.model.configuration.into()
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
        let (h, c, d) = (configuration.n_head(), configuration.n_embd(), configuration.head_size());
        let kv = configuration.n_kv_head();
        let (t, n) = (self.tokens.len(), self.start + self.tokens.len() + place.step);
        match place.station {
            Station::Query | Station::QueryRotated => vec![t, h, d],
            Station::Key | Station::Value | Station::KeyRotated => vec![t, kv, d],
            Station::CachedKeys | Station::CachedValues => vec![n, kv, d],
            Station::Merged => vec![t, h * d],
            Station::Scores | Station::ScoresMasked | Station::Probabilities => vec![h, t, n],
            Station::FeedForwardHidden | Station::Gelu | Station::Gate | Station::Up | Station::GatedProduct => {
                vec![t, configuration.n_inner()]
            }
            Station::Logits => vec![t, configuration.vocab_size()],
            Station::SelectedLogits | Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo => {
                vec![configuration.vocab_size()]
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
        let frame = self.frame(place.step, operations)?;
        let given = Shown { found: self, step: place.step };
        frame.recompute(&frame.pass(self, operations, &given)?, place)
    }

    /// The surroundings of a pass: what is fed, and what the cache held before.
    pub fn frame<O: Operations>(&self, step: usize, operations: &O) -> Option<Frame> {
        let (past, is_known) = self.past(step);
        if step == 0 {
            let (start, tokens) = (self.start, self.tokens.clone());
            return Some(Frame { tokens, start, position: start, past, is_known });
        }
        // A decode step: one token at the end of what is cached.
        let sampled = self.sampled();
        let mut history = self.tokens.clone();
        history.extend(sampled.get(..step)?);
        let cached = self.start + history.len() - 1;
        let Feed { token, position, start } = operations.feed(step, &history, cached);
        Some(Frame { tokens: vec![token], start, position, past, is_known })
    }

    /// The cache before a pass, as the trace shows it, and for which layers that is known. Before the prefill it is empty, but
    /// for the part that an earlier chunk filled.
    fn past(&self, step: usize) -> (Cache, Vec<bool>) {
        let layers = self.model.configuration.n_layer();
        let filled = self.start + if step > 0 { self.tokens.len() + step - 1 } else { 0 };
        let shown = step.saturating_sub(1);
        let mut cache = Cache::new(&self.model, self.start + self.tokens.len() + step + 1);
        let mut is_known = vec![true; layers];
        for layer in (0..layers).filter(|_| filled > 0) {
            for (station, slots) in [(Station::CachedKeys, &mut cache.keys), (Station::CachedValues, &mut cache.values)]
            {
                // Whoever shows another shape has kept nothing: the step is then held against an empty cache.
                if let Some(tensor) = self.usable(Place::new(station, layer, shown)) {
                    let mut slot = Tensor::zeros(&slots[layer].shape);
                    let width = slot.row_len();
                    slot.values[..filled * width].copy_from_slice(&tensor.values[..filled * width]);
                    slots[layer] = Rc::new(slot);
                } else if self.get(station, layer, shown).is_none() {
                    is_known[layer] = false;
                }
            }
        }
        (cache, is_known)
    }
}

/// What surrounds a pass of a trace.
pub struct Frame {
    tokens: Vec<u32>,
    start: usize,
    position: usize,
    past: Cache,
    /// For each layer, whether what was cached before is shown.
    is_known: Vec<bool>,
}

impl Frame {
    pub fn pass<'a, O: Operations>(
        &'a self,
        found: &Found<'a>,
        operations: &'a O,
        given: &'a dyn Given,
    ) -> Option<Pass<'a, O>> {
        let pass = Pass::new(found.model, operations, &self.tokens, self.start, &self.past, given).ok()?;
        Some(pass.at_position(self.position))
    }

    /// A station of such a pass, from what the pass is given.
    pub fn recompute<O: Operations>(&self, pass: &Pass<'_, O>, place: Place) -> Option<Recomputed> {
        let Place { station, layer, .. } = place;
        let of_a_pass = station != Station::GeneratedIds; // which are of a whole generation
        let deepest = if station.is_of_a_layer() { layer + 1 } else { self.is_known.len() };
        if !of_a_pass || !self.is_known[..deepest].iter().all(|known| *known) {
            return None;
        }
        let mut tensor = pass.compute(station, layer).ok()?;
        if matches!(station, Station::CachedKeys | Station::CachedValues) {
            tensor = tensor.first_rows(pass.positions());
        }
        let mut stations = pass.made_of(station, layer);
        stations.sort_by_key(|(station, layer)| Place::new(*station, *layer, 0));
        Some(Recomputed { tensor, stations })
    }
}

/// What a pass is given: every tensor of the trace.
pub struct Shown<'a> {
    pub found: &'a Found<'a>,
    pub step: usize,
}

impl Given for Shown<'_> {
    fn tensor(&self, station: Station, layer: usize) -> Option<Rc<Tensor>> {
        let shown = |station| self.found.usable(Place::new(station, layer, self.step));
        // A block's output has two names.
        let twin = (station == Station::BlockOutput).then_some(Station::Block);
        shown(station).or_else(|| shown(twin?))
    }
}

/// The same, and what a right pass makes of it before a fault first acts.
pub struct Reused<'a> {
    pub shown: Shown<'a>,
    pub honest: &'a Pass<'a, Honest>,
    /// Nothing from here on.
    pub before: Option<Place>,
}

impl Given for Reused<'_> {
    fn tensor(&self, station: Station, layer: usize) -> Option<Rc<Tensor>> {
        let is_before = || self.before.is_some_and(|before| Place::new(station, layer, 0) < before);
        self.shown.tensor(station, layer).or_else(|| is_before().then(|| self.honest.known(station, layer)).flatten())
    }
}
