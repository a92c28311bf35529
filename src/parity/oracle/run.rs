//! A whole run: the prefill, decode steps with a cache, and what they generate.

use std::collections::BTreeMap;

use super::pass::{Cache, Nothing, Pass};
use super::{Honest, Model, Operations, OracleError, Tensor};
use crate::layers::Station;
use crate::model::{Configuration, Weights};
use crate::parity::Place;
use crate::parity::capture::{Capture, Manifest, Sizes, Tensor as Captured};

/// What to run, and how much of it to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The whole prompt.
    pub tokens: &'a [u32],
    /// How many of them go through in a chunk before; the chunk that is shown begins there.
    pub start: usize,
    /// Decode steps whose cache is shown.
    pub steps: usize,
    /// Tokens to generate; fewer when the text or the context ends.
    pub generate: usize,
    /// Layers other than 0 too.
    pub every_layer: bool,
}

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Under the names of a capture.
    pub tensors: BTreeMap<String, Tensor>,
    /// The tokens of the chunk that is shown, and the position of the first.
    pub token_ids: Vec<u32>,
    pub start: usize,
    pub steps: usize,
    /// Generated.
    pub ids: Vec<u32>,
    /// At each of them, by how much the first logit was above the second.
    pub margins: Vec<f64>,
    /// Where the model has a tokenizer.
    pub text: Option<String>,
}

/// Every station of every layer of a pass over all tokens from position 0.
pub fn trace(configuration: &Configuration, weights: &Weights, tokens: &[u32]) -> Result<Run, OracleError> {
    let model = Model { configuration, weights, tokenizer: None };
    let mut shown = run(&model, &Request { tokens, every_layer: true, ..Request::default() }, &Honest)?;
    shown.tensors.retain(|name, _| name.as_str() < "cp10");
    Ok(shown)
}

pub fn run<O: Operations>(model: &Model<'_>, request: &Request<'_>, operations: &O) -> Result<Run, OracleError> {
    let prompt = operations.prompt(model, request.tokens);
    let n_ctx = model.configuration.n_ctx();
    let decodes = request.steps.max(request.generate.saturating_sub(1));
    let mut cache = Cache::new(model, (prompt.len() + decodes + 1).min(n_ctx + 1));
    let start = request.start.min(prompt.len().saturating_sub(1));
    if start > 0 {
        cache = Pass::new(*model, operations, &prompt[..start], 0, &cache, &Nothing)?.cache()?;
    }
    let mut shown = Run { token_ids: prompt[start..].to_vec(), start, ..Run::default() };

    // The prefill, station by station in the order of execution
    let pass = Pass::new(*model, operations, &prompt[start..], start, &cache, &Nothing)?;
    for place in places(model, request.every_layer) {
        shown.tensors.insert(place.name(), (*pass.shown(place.station, place.layer)?).clone());
    }
    let mut history = prompt.clone();
    let mut sampled = vec![pass.get(Station::Argmax, 0)?.values[0] as u32];
    history.extend(&sampled);
    shown.margins.push(two_best(&pass.get(Station::SelectedLogits, 0)?.values).1);
    cache = pass.cache()?;

    // Decode steps
    for step in 1..=decodes {
        let cached = history.len() - 1;
        if history.last().is_some_and(|id| model.ends_text(*id)) || cached >= n_ctx {
            break;
        }
        let feed = operations.feed(step, &history, cached);
        let token = [feed.token];
        let pass = Pass::new(*model, operations, &token, feed.start, &cache, &Nothing)?.at_position(feed.position);
        let after = pass.cache()?;
        if step <= request.steps {
            shown.steps = step;
            let layers = if request.every_layer { model.configuration.n_layer() } else { 1 };
            for layer in 0..layers {
                for station in [Station::CachedKeys, Station::CachedValues] {
                    let tensor = (*pass.shown(station, layer)?).clone();
                    shown.tensors.insert(Place::new(station, layer, step).name(), tensor);
                }
            }
        }
        let id = pass.get(Station::Argmax, 0)?.values[0] as u32;
        if sampled.len() < request.generate {
            sampled.push(id);
            shown.margins.push(two_best(&pass.get(Station::SelectedLogits, 0)?.values).1);
        }
        history.push(id);
        cache = after;
    }
    if request.generate > 0 {
        shown.ids = operations.ids(sampled);
        let ids = shown.ids.iter().map(|id| f64::from(*id)).collect();
        shown.tensors.insert(Station::GeneratedIds.name(0, 0), Tensor::new(&[shown.ids.len()], ids));
        shown.text = model.tokenizer.map(|tokenizer| operations.text(tokenizer, &shown.ids));
    }
    Ok(shown)
}

/// The stations of a prefill, in the order of execution.
fn places(model: &Model<'_>, every_layer: bool) -> Vec<Place> {
    let layers = model.configuration.n_layer();
    let mut places = Vec::new();
    let of_a_pass = |station: &Station| model.has(*station) && *station != Station::GeneratedIds;
    for station in Station::ALL.into_iter().filter(of_a_pass) {
        let shown = match station {
            Station::BlockOutput => layers,
            station if station.is_of_a_layer() && every_layer => layers,
            _ => 1,
        };
        places.extend((0..shown).map(|layer| Place::new(station, layer, 0)));
    }
    places.sort();
    places
}

/// The id of the greatest logit (the lowest of equal ones), and by how much it is above any other.
pub fn two_best(logits: &[f64]) -> (u32, f64) {
    let (mut best, mut first, mut second) = (0, f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (id, &logit) in (0..).zip(logits) {
        if logit > first {
            (best, first, second) = (id, logit, first);
        } else {
            second = second.max(logit);
        }
    }
    (best, first - second)
}

impl Run {
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// As a capture, which can be written, compared and diagnosed. What the model's file says of itself is the caller's.
    pub fn capture(&self, model: &Model<'_>) -> Capture {
        let of = model.configuration;
        let text = self.text.clone().unwrap_or_default();
        let manifest = Manifest {
            engine: "oracle".to_owned(),
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            sizes: Sizes {
                n_layer: of.n_layer(),
                n_head: of.n_head(),
                n_embd: of.n_embd(),
                n_ctx: of.n_ctx(),
                vocab_size: of.vocab_size(),
            },
            architecture: of.architecture().to_owned(),
            compute_dtype: "F64".to_owned(),
            token_ids: self.token_ids.clone(),
            start_pos: self.start,
            steps: self.steps,
            taps: "every station".to_owned(),
            generated_bytes: text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            generated_text: text,
            ..Manifest::default()
        };
        let captured = |(name, tensor): (&String, &Tensor)| {
            let is_id = name.starts_with("cp10") || name.starts_with("cp12");
            let captured = if is_id {
                Captured::i64(&tensor.shape, tensor.values.iter().map(|id| *id as i64).collect())
            } else {
                Captured::f64(&tensor.shape, tensor.values.clone())
            };
            (name.clone(), captured)
        };
        Capture { manifest, tensors: self.tensors.iter().map(captured).collect() }
    }
}
