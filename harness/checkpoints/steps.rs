//! Each step of somebody's capture on its own inputs: what the f64 reference makes of what went into it.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use crate::layers::Station;
use crate::parity::Place;
use crate::parity::capture::{Capture, Tensor as Captured};
use crate::parity::diff::Insight;
use crate::parity::oracle::{Cache, Given, Honest, Model, Pass, Tensor};

pub struct Steps<'a> {
    model: Model<'a>,
}

impl<'a> Steps<'a> {
    pub fn new(model: Model<'a>) -> Steps<'a> {
        Steps { model }
    }
}

/// The prefill's tensors, as inputs.
struct Shown(HashMap<(Station, usize), Rc<Tensor>>);

impl Given for Shown {
    fn tensor(&self, station: Station, layer: usize) -> Option<Rc<Tensor>> {
        self.0.get(&(station, layer)).cloned()
    }
}

impl Insight for Steps<'_> {
    fn step(&self, found: &Capture, place: Place) -> Option<Captured> {
        if place.step > 0 || place.station == Station::GeneratedIds {
            return None;
        }
        let shown = found.tensors.iter().filter_map(|(name, tensor)| {
            let place = Place::of_name(name).filter(|place| place.step == 0)?;
            Some(((place.station, place.layer), Rc::new(Tensor::new(&tensor.shape, tensor.to_f64().into_owned()))))
        });
        let shown = Shown(shown.collect());
        let tokens = &found.manifest.token_ids;
        let cache = Cache::new(&self.model, tokens.len());
        let pass = Pass::new(self.model, &Honest, tokens, found.manifest.start_pos, &cache, &shown).ok()?;
        let tensor = pass.compute(place.station, place.layer).ok()?;
        Some(Captured::f64(&tensor.shape, tensor.values))
    }

    fn diagnose(&self, _: &Capture, _: &Capture, _: Place) -> Option<Box<dyn fmt::Display>> {
        None
    }
}
