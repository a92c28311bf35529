//! A tap that keeps what it is shown.

use std::collections::BTreeMap;

use crate::layers::{Station, Tap};

/// A tensor as a pass showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Every tensor of a generation under its name in a capture: stations of the prefill, and the cache after each step.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    pub tensors: BTreeMap<String, Recorded>,
    /// 0 while the prompt is computed; [`Recorder::next_step`] counts on.
    step: usize,
    /// Layers other than 0 too.
    every_layer: bool,
}

impl Recorder {
    pub fn new(every_layer: bool) -> Self {
        Self { every_layer, ..Self::default() }
    }

    /// To be called between a pass and the next one of the same generation.
    pub fn next_step(&mut self) {
        self.step += 1;
    }

    pub fn get(&self, name: &str) -> Option<&Recorded> {
        self.tensors.get(name)
    }
}

impl Tap for Recorder {
    const ON: bool = true;

    fn tensor(&mut self, station: Station, layer: usize, shape: &[usize], values: impl FnOnce() -> Vec<f32>) {
        let of_every_step = matches!(station, Station::CachedKeys | Station::CachedValues);
        let of_every_layer = self.every_layer || layer == 0 || station == Station::BlockOutput;
        if of_every_layer && (self.step == 0 || of_every_step) {
            let recorded = Recorded { shape: shape.to_vec(), values: values() };
            self.tensors.insert(station.name(layer, self.step), recorded);
        }
    }
}
