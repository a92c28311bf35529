//! Goldens: captures of independent engines, committed, which say what is right.
//!
//! `goldens.json` is the one table of which there are: `table` reads it, and finds what is missing. A [`Golden`] is a
//! capture, some of whose tensors may be [slices]; `summary` tells one in a page of text, and `review` takes or refuses
//! the captures that `golden/regenerate` left beside the committed ones.

pub mod review;
pub mod slices;
mod summary;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::capture::{Capture, CaptureError, MANIFEST, Tensor};
use slices::{Slices, Whole};
pub use table::{Entry, Required, required, unlisted};

#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: the slices of `{tensor}` {why}", path.display())]
    Slices { path: PathBuf, tensor: String, why: String },
    #[error("{}: `{tensor}` is {}; the golden was cut from {}", path.display(), shown(found), shown(expected))]
    Shape { path: PathBuf, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{}: {why}", path.display())]
    Table { path: PathBuf, why: String },
    #[error("the golden {name} is missing: `golden/regenerate` makes it")]
    Missing { name: String },
    #[error("nothing is written where CI is true")]
    Ci,
    #[error("no golden is pending{0}")]
    NothingPending(String),
}

fn shown(shape: &[usize]) -> String {
    format!("[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}

/// A committed capture, and what it keeps of tensors that are too large to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    pub path: PathBuf,
    /// Tensors that are cut are one row here: what was kept, in its order.
    pub capture: Capture,
    pub slices: BTreeMap<String, Slices>,
}

/// What the capture's reader passes over in a manifest.
#[derive(Deserialize)]
struct Listing {
    tensors: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    slices: Option<Said>,
}

#[derive(Deserialize)]
struct Said {
    run: usize,
    of: Whole,
}

impl Golden {
    /// Reads a golden strictly: a capture that holds what its manifest says, and slices that were cut as slices are.
    pub fn read(path: &Path) -> Result<Golden, GoldenError> {
        let capture = Capture::read(path)?;
        let manifest = path.join(MANIFEST);
        let text =
            fs::read_to_string(&manifest).map_err(|source| GoldenError::File { path: manifest.clone(), source })?;
        let listing: Listing =
            serde_json::from_str(&text).map_err(|source| GoldenError::Json { path: manifest, source })?;
        let mut slices = BTreeMap::new();
        for (tensor, said) in listing.tensors.into_iter().filter_map(|one| Some((one.name, one.slices?))) {
            let kept = capture.tensors.get(&tensor).map_or(0, Tensor::count);
            let cut = Slices::new(kept, said.run, said.of).map_err(|why| GoldenError::Slices {
                path: path.to_path_buf(),
                tensor: tensor.clone(),
                why,
            })?;
            slices.insert(tensor, cut);
        }
        Ok(Golden { path: path.to_path_buf(), capture, slices })
    }

    /// How much of a tensor the golden holds, where it is not all: `256 of 43776 elements, and statistics`.
    pub fn coverage(&self, tensor: &str) -> Option<String> {
        self.slices.get(tensor).map(Slices::coverage)
    }

    /// A capture cut as the golden is, so that the two can be compared element by element. What the golden does not cut is
    /// as it was.
    pub fn cut(&self, found: &Capture) -> Result<Capture, GoldenError> {
        let mut cut = Capture { manifest: found.manifest.clone(), tensors: BTreeMap::new() };
        for (name, tensor) in &found.tensors {
            let tensor = match self.slices.get(name) {
                Some(slices) if slices.of.shape != tensor.shape => {
                    let (found, expected) = (tensor.shape.clone(), slices.of.shape.clone());
                    return Err(GoldenError::Shape { path: self.path.clone(), tensor: name.clone(), found, expected });
                }
                Some(slices) => slices.cut(tensor),
                None => tensor.clone(),
            };
            cut.tensors.insert(name.clone(), tensor);
        }
        Ok(cut)
    }
}
