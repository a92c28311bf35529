//! Models that show what an ordinary one hides: rows of small variance, logits that overflow without care, ties.

use std::path::{Path, PathBuf};

use crate::harness::Finding;
use crate::harness::model_files::{self, Element, Form};
use crate::model::recipe::{Recipe, Size};
use crate::model::{Configuration, file};

/// Tensors of a model, by name: shape and values.
pub type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// How the odd recipe model is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Embeddings a thousandth as large: the variance of a row is of the size of ε.
    Flat,
    /// Logits of several hundred: e^x of them is no f32.
    Loud,
    /// Every second row of the embedding is the one before it: each logit is there twice.
    Twins,
}

pub fn of_name(name: &str) -> Option<Change> {
    match name {
        "flat" => Some(Change::Flat),
        "loud" => Some(Change::Loud),
        "twins" => Some(Change::Twins),
        _ => None,
    }
}

pub fn write(change: Change, folder: &Path) -> Result<PathBuf, Finding> {
    let problem = |error: &dyn std::fmt::Display| Finding::error("a model on disk", error.to_string());
    let recipe = Recipe::new(Size::Odd.configuration(), 1).map_err(|error| problem(&error))?;
    let plain = folder.join("plain");
    std::fs::create_dir_all(&plain).map_err(|error| problem(&error))?;
    let path = model_files::write(&recipe, Form::PLAIN, Element::F32, &plain).map_err(|error| problem(&error))?;
    rewrite(&path, folder, |tensors| {
        for (name, shape, values) in tensors {
            match (change, name.as_str()) {
                (Change::Flat, "wte.weight" | "wpe.weight") => values.iter_mut().for_each(|value| *value *= 1e-3),
                (Change::Loud, "ln_f.weight") => values.iter_mut().for_each(|value| *value *= 300.0),
                (Change::Twins, "wte.weight") => {
                    for rows in values.chunks_exact_mut(2 * shape[1]) {
                        let (first, second) = rows.split_at_mut(shape[1]);
                        second.copy_from_slice(first);
                    }
                }
                _ => {}
            }
        }
    })
}

/// The model at `path` with its tensors changed, in another folder.
pub fn rewrite(path: &Path, folder: &Path, change: impl FnOnce(&mut Tensors)) -> Result<PathBuf, Finding> {
    let model =
        file::open(path, &mut |_| {}).map_err(|error| Finding::error("a model to change", error.to_string()))?;
    let tensor = |(name, weight): (&str, &crate::model::Weight)| {
        (name.to_owned(), weight.shape().to_vec(), weight.values().to_vec())
    };
    let mut tensors: Tensors = model.weights.iter().map(tensor).collect();
    change(&mut tensors);
    let written = model_files::write_like(path, model.configuration.n_layer(), tensors, folder);
    written.map_err(|error| Finding::error("a changed model on disk", error.to_string()))
}

/// The heads of every layer one further on, in q, k, v and the projection alike: the same function. Where several heads of
/// queries share one of keys, they move together.
pub fn turn_heads(tensors: &mut Tensors, configuration: &Configuration) {
    let size = configuration.head_size();
    let group = configuration.n_head() / configuration.n_kv_head() * size;
    for (name, shape, values) in tensors {
        let (part, what) = name.rsplit_once('.').unwrap_or_default();
        let width = shape.last().copied().unwrap_or_default();
        let row = if what == "bias" { 1 } else { width };
        match part.rsplit('.').next().unwrap_or_default() {
            "c_attn" => values.chunks_exact_mut(width / 3).for_each(|third| third.rotate_left(size)),
            "c_proj" if part.ends_with("attn.c_proj") && what == "weight" => values.rotate_left(size * width),
            "q_proj" => values.rotate_left(group * row),
            "k_proj" | "v_proj" => values.rotate_left(size * row),
            "o_proj" if what == "weight" => values.chunks_exact_mut(width).for_each(|row| row.rotate_left(group)),
            _ => {}
        }
    }
}

/// Three numbers of every tensor are moved, elsewhere with each draw, so that whoever leaves one of the tensors out computes
/// something else: a little, and by a lot where a block's output is made (of the bias, where every model of the family has one),
/// so that the text moves too.
pub fn perturb(tensors: &mut Tensors, drawn: u64) {
    let mut state = drawn;
    for (name, _, values) in tensors {
        let much = name.ends_with("c_proj.bias") || name.ends_with("o_proj.weight");
        for _ in 0..3 {
            // Knuth's MMIX generator; its high bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (place, sign) = ((state >> 33) as usize % values.len(), if state >> 63 == 0 { 1.0 } else { -1.0 });
            values[place] += sign * if much { 3.0 } else { 0.1 };
        }
    }
}
