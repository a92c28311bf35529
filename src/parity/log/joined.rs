//! Two logs side by side: for each pass that both have, what either shows of it, as two captures that can be compared.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{Log, Run};
use super::record::{Record, checkpoint};
use crate::layers::Station;
use crate::parity::Place;
use crate::parity::capture::{Capture, Manifest, Tensor};

/// One pass of one generation.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Which generation it is, from 0, and the position of its first token.
    pub run: usize,
    pub token_idx: usize,
    /// Of each tensor the numbers that both logs hold, then its least, its largest and its mean.
    pub reference: Capture,
    pub found: Capture,
}

/// Every pass of the reference. One that the other log does not have is compared with nothing, which is no pass.
pub fn joined(reference: &Log, found: &Log) -> Vec<Joined> {
    let none = Run::default();
    let mut passes = Vec::new();
    for (number, run) in reference.runs.iter().enumerate() {
        let other = found.runs.get(number).unwrap_or(&none);
        let tokens: BTreeSet<usize> = run.records.keys().map(|key| key.token_idx).collect();
        for token_idx in tokens {
            let (mut left, mut right) = (BTreeMap::new(), BTreeMap::new());
            for (key, record) in run.records.iter().filter(|(key, _)| key.token_idx == token_idx) {
                let Some(name) = name(record) else { continue };
                let held = other.records.get(key);
                let count = held.map_or(record.values.len(), |held| held.values.len().min(record.values.len()));
                left.insert(name.clone(), shown(record, count));
                right.extend(held.map(|held| (name, shown(held, count))));
            }
            let capture = |run: &Run, tensors| Capture { manifest: manifest(run), tensors };
            let (reference, found) = (capture(run, left), capture(other, right));
            passes.push(Joined { run: number, token_idx, reference, found });
        }
    }
    passes
}

/// The name that the tensor would have in a capture of this pass alone.
fn name(record: &Record) -> Option<String> {
    let station = Station::ALL.into_iter().find(|station| checkpoint(*station) == record.checkpoint)?;
    Some(Place::new(station, record.layer, 0).name())
}

fn shown(record: &Record, count: usize) -> Tensor {
    let statistics = [record.statistics.min, record.statistics.max, record.statistics.mean];
    let numbers = record.values.iter().take(count).chain(&statistics);
    let values: Vec<f64> = numbers.map(|number| number.as_f64()).collect();
    Tensor::f64(&[values.len()], values)
}

fn manifest(run: &Run) -> Manifest {
    let meta = run.meta.clone();
    Manifest {
        engine: meta.engine,
        engine_version: meta.engine_version,
        model: meta.model,
        architecture: meta.architecture,
        sizes: meta.sizes,
        model_digest: meta.model_digest,
        weights_dtype: meta.weights_dtype,
        compute_dtype: meta.compute_dtype,
        ..Manifest::default()
    }
}
