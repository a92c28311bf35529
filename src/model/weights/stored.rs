//! Weights as their file stores them, for engines that compute with quantised blocks as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Weight;
use super::bytes::FileBytes;
use super::element::Element;
use super::load::{self, Arrangement, Stored};
use crate::model::error::{ModelError, Problem};

/// All tensors that a model uses, named as in [`Weights`](super::Weights), none of them decoded.
#[derive(Debug)]
pub struct StoredWeights {
    /// For messages.
    file: PathBuf,
    tensors: BTreeMap<String, StoredWeight>,
}

/// One tensor, row after row in blocks of its element. Cloning shares its memory.
#[derive(Clone)]
pub struct StoredWeight(Stored);

impl StoredWeights {
    /// Reads every value once, to check it; `progress` is told 0 to 100. Only what is arranged otherwise is copied.
    pub(in crate::model) fn load(
        file: &Path,
        tensors: Vec<Stored>,
        progress: &mut dyn FnMut(u8),
    ) -> Result<Self, Problem> {
        load::check(&tensors, progress)?;
        let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), StoredWeight(arranged(tensor))));
        Ok(StoredWeights { file: file.to_path_buf(), tensors: tensors.collect() })
    }

    /// The file they are from, for messages.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// `shape` is Hugging Face's, as for decoded weights.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<StoredWeight, ModelError> {
        let found = self.tensors.get(name).ok_or_else(|| Problem::MissingTensor { tensor: name.into() });
        let of_shape = found.and_then(|weight| match weight.shape() == shape {
            true => Ok(weight.clone()),
            false => Err(Problem::shape(name, shape, weight.shape())),
        });
        of_shape.map_err(|problem| problem.of(&self.file))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// In the order of the names (byte by byte).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StoredWeight)> {
        self.tensors.iter().map(|(name, weight)| (name.as_str(), weight))
    }

    pub fn held_bytes(&self) -> u64 {
        self.tensors.values().map(|weight| weight.bytes().len() as u64).sum()
    }
}

impl StoredWeight {
    pub fn element(&self) -> Element {
        self.0.element
    }

    /// Hugging Face's.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The shape in which the bytes lie: the matrices of a GPT-2 in GGUF are `[out, in]`, those of Hugging Face `[in, out]`.
    pub fn stored_shape(&self) -> Vec<usize> {
        let mut shape = self.0.shape.clone();
        if self.0.arrangement == Arrangement::Transposed {
            shape.reverse();
        }
        shape
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Tells the system that the bytes were used and are not needed for now.
    pub fn release(&self) {
        self.0.file.release(&self.0.range);
    }

    /// In f32 and in Hugging Face's orientation.
    pub fn decode(&self) -> Result<Weight, Problem> {
        load::decode(&self.0)
    }
}

impl std::fmt::Debug for StoredWeight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{:?}", self.element().name(), self.stored_shape())
    }
}

/// The same with its rows in their order; whole rows are moved, whatever they are stored in.
fn arranged(tensor: Stored) -> Stored {
    let Arrangement::Pairs { heads } = tensor.arrangement else { return tensor };
    let bytes: Vec<u8> = tensor.rows_in_halves(heads).flatten().copied().collect();
    tensor.file.release(&tensor.range);
    let range = 0..bytes.len();
    Stored { arrangement: Arrangement::AsHeld, file: Arc::new(FileBytes::Shared(bytes.into())), range, ..tensor }
}
