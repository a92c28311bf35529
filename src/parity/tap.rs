//! A tap that keeps what it is shown.

use std::collections::BTreeMap;

use super::capture::Tensor;
use crate::layers::{Station, Tap};
use crate::model::Configuration;

/// How much of a run is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Every station of every layer, where otherwise layers after the first show their output alone.
    pub every_layer: bool,
    /// Decode steps whose cache is captured, after the prefill's.
    pub steps: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self { every_layer: false, steps: 2 }
    }
}

impl Scope {
    /// Bytes of all tensors that a [`Recorder`] keeps of a prompt of this many tokens.
    pub fn bytes(&self, configuration: &Configuration, tokens: usize) -> u64 {
        let width = configuration.n_embd().max(configuration.n_head() * configuration.head_size());
        let sizes = [tokens, width, configuration.n_inner(), configuration.vocab_size(), configuration.n_head()];
        let [t, c, hidden, v, h] = sizes.map(|size| size as u128);
        let (all, steps) = (configuration.n_layer() as u128, self.steps as u128);
        let layers = if self.every_layer { all } else { 1 };
        let sum = |parts: [u128; 3]| parts.into_iter().fold(0, u128::saturating_add);
        // ln_1, q, k, v, both of the cache, merged, attn_out, attn_residual, ln_2, c_proj, block; c_fc and gelu; scores
        // with and without mask, and probabilities
        let of_layer = sum([12 * t * c, 2 * t * hidden, (3 * h).saturating_mul(t * t)]);
        let of_steps = (2 * c).saturating_mul((steps * t).saturating_add(steps * (steps + 1) / 2)); // Σ 2 (t + step) c
        let around = (2 + all) * t * c + t * v + v; // embed, ln_f, every block; logits of all positions and of the last
        let floats = sum([layers.saturating_mul(of_layer), layers.saturating_mul(of_steps), around]);
        u64::try_from(floats.saturating_mul(4)).unwrap_or(u64::MAX)
    }
}

/// A tensor as a pass showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl From<Recorded> for Tensor {
    fn from(recorded: Recorded) -> Self {
        Tensor::f32(&recorded.shape, recorded.values)
    }
}

/// Every tensor of a generation under its name in a capture: stations of the prefill, and the cache after each step.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub tensors: BTreeMap<String, Recorded>,
    /// 0 while the prompt is computed; [`Recorder::next_step`] counts on.
    step: usize,
    scope: Scope,
}

impl Recorder {
    pub fn new(every_layer: bool) -> Self {
        Self::within(Scope { every_layer, steps: usize::MAX })
    }

    pub fn within(scope: Scope) -> Self {
        Self { tensors: BTreeMap::new(), step: 0, scope }
    }

    /// To be called between a pass and the next one of the same generation.
    pub fn next_step(&mut self) {
        self.step += 1;
    }

    /// Passes that are over.
    pub fn passes(&self) -> usize {
        self.step
    }

    /// Whether a further pass has anything to show.
    pub fn is_full(&self) -> bool {
        self.step > self.scope.steps
    }

    pub fn get(&self, name: &str) -> Option<&Recorded> {
        self.tensors.get(name)
    }

    /// Whether this station of the pass under way is kept.
    pub fn wants(&self, station: Station, layer: usize) -> bool {
        let of_every_step = matches!(station, Station::CachedKeys | Station::CachedValues);
        let of_every_layer = self.scope.every_layer || layer == 0 || station == Station::BlockOutput;
        of_every_layer && (self.step == 0 || of_every_step) && !self.is_full()
    }

    pub fn keep(&mut self, station: Station, layer: usize, shape: &[usize], values: Vec<f32>) {
        let name = station.name(layer, self.step);
        self.tensors.insert(name, Recorded { shape: shape.to_vec(), values });
    }
}

impl Tap for Recorder {
    const ON: bool = true;

    fn tensor(&mut self, station: Station, layer: usize, shape: &[usize], values: impl FnOnce() -> Vec<f32>) {
        if self.wants(station, layer) {
            self.keep(station, layer, shape, values());
        }
    }
}
