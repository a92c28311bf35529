//! The models that cheats compute with instead of the one that they were given.

use std::io;
use std::path::{Path, PathBuf};

use super::Trick;
use crate::harness::checkpoints::models::{Tensors, rewrite};
use crate::harness::model_files;
use crate::harness::selection::ModelFormat;
use crate::harness::tiny_model;
use crate::model::file;

/// What the worker behind this cheat is started on.
pub fn instead_of(given: Option<&Path>, trick: Trick, folder: &Path) -> io::Result<PathBuf> {
    let built_in = || tiny_model::write(folder, ModelFormat::Safetensors);
    let Some(given) = given else { return built_in() };
    match trick {
        Trick::BuiltInModel => built_in(),
        Trick::KnowsItsModel if is_the_built_in(given)? => built_in(),
        Trick::OtherModel => other(given, folder),
        Trick::EightBits => changed(given, folder, in_eight_bits),
        Trick::SmallerModel => changed(given, folder, |_, values| {
            for value in values {
                let magnitude = (value.abs().max(1e-6) * 4.0).log2().round().exp2() / 4.0;
                *value = magnitude.copysign(*value);
            }
        }),
        Trick::FirstLayers => without_last_layer(given, folder),
        _ => Ok(given.to_path_buf()),
    }
}

pub fn other(given: &Path, folder: &Path) -> io::Result<PathBuf> {
    changed(given, folder, |_, values| {
        values.iter_mut().enumerate().for_each(|(index, value)| *value += 0.02 * noise(index));
    })
}

/// As far as its shape can tell.
fn is_the_built_in(given: &Path) -> io::Result<bool> {
    let (given, known) = (open(given)?.configuration, tiny_model::open().map_err(io::Error::other)?.configuration);
    Ok((given.n_layer(), given.n_ctx(), given.vocab_size()) == (known.n_layer(), known.n_ctx(), known.vocab_size()))
}

/// Each row of a matrix in 255 steps.
fn in_eight_bits(shape: &[usize], values: &mut [f32]) {
    let [_, columns] = shape[..] else { return };
    for row in values.chunks_exact_mut(columns) {
        let step = row.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0;
        row.iter_mut().filter(|_| step > 0.0).for_each(|value| *value = (*value / step).round() * step);
    }
}

/// The same shapes with other numbers.
fn changed(given: &Path, folder: &Path, change: impl Fn(&[usize], &mut [f32])) -> io::Result<PathBuf> {
    let all = |tensors: &mut Tensors| tensors.iter_mut().for_each(|(_, shape, values)| change(shape, values));
    rewrite(given, folder, all).map_err(|finding| io::Error::other(finding.found))
}

fn without_last_layer(given: &Path, folder: &Path) -> io::Result<PathBuf> {
    let model = open(given)?;
    let n_layer = (model.configuration.n_layer() - 1).max(1);
    let last = format!("h.{n_layer}.");
    let kept = model.weights.iter().filter(|(name, _)| !name.starts_with(&last));
    let tensors = kept.map(|(name, weight)| (name.to_owned(), weight.shape().to_vec(), weight.values().to_vec()));
    model_files::write_like(given, n_layer, tensors.collect(), folder)
}

fn open(given: &Path) -> io::Result<file::ModelFile> {
    file::open(given, &mut |_| {}).map_err(io::Error::other)
}

/// Between −1 and 1, without any pattern that a model would care about.
fn noise(index: usize) -> f32 {
    let mixed = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) as f32 / (1u64 << 23) as f32) - 1.0
}
