//! The weights of a model, as the forward pass holds them: f32, row-major, in Hugging Face's orientation.
//!
//! A reader ([`safetensors`], [`gguf`]) checks a file's header and says where each tensor lies and how it is stored;
//! [`load`] checks the values and brings them into that form, in place where they already have it, and
//! [`element`] and [`quantised`] decode what is stored otherwise. [`StoredWeights`] are checked and left as they are stored.

pub mod bytes;
pub mod element;
pub mod gguf;
mod layout;
pub mod load;
pub mod memory;
pub mod quantised;
pub mod safetensors;
mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::error::{ModelError, Problem};
use bytes::MappedValues;
pub use stored::{StoredWeight, StoredWeights};

/// One tensor. Cloning shares its memory.
#[derive(Clone)]
pub struct Weight {
    /// Row-major; a matrix of a linear layer as Hugging Face stores it: `[in, out]` in a GPT-2 (Conv1D), else `[out, in]`.
    shape: Vec<usize>,
    values: Values,
}

#[derive(Clone)]
enum Values {
    Mapped(MappedValues),
    Owned(Arc<Vec<f32>>),
    Decoded(Arc<memory::Values>),
}

impl Weight {
    /// # Panics
    /// When the shape does not hold exactly the values: the caller's mistake, never a file's.
    pub fn from_vec(shape: Vec<usize>, values: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "a weight of shape {shape:?}");
        Weight { shape, values: Values::Owned(Arc::new(values)) }
    }

    fn decoded(shape: Vec<usize>, values: memory::Values) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "a weight of shape {shape:?}");
        Weight { shape, values: Values::Decoded(Arc::new(values)) }
    }

    fn from_map(shape: Vec<usize>, values: MappedValues) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.as_slice().len(), "a weight of shape {shape:?}");
        Weight { shape, values: Values::Mapped(values) }
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn values(&self) -> &[f32] {
        match &self.values {
            Values::Mapped(mapped) => mapped.as_slice(),
            Values::Owned(values) => values,
            Values::Decoded(values) => values,
        }
    }

    /// The same bytes at the same place: what a tied head must be.
    pub fn shares_memory_with(&self, other: &Weight) -> bool {
        let (mine, others) = (self.values(), other.values());
        std::ptr::eq(mine.as_ptr(), others.as_ptr()) && mine.len() == others.len()
    }

    pub fn held_bytes(&self) -> u64 {
        size_of_val(self.values()) as u64
    }

    /// Whether the values are used where the file was mapped, without a copy.
    pub fn is_mapped(&self) -> bool {
        matches!(self.values, Values::Mapped(_))
    }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Weight{:?}", self.shape)
    }
}

/// All tensors that a model uses, by Hugging Face's names without their prefix (`transformer.`, `model.`). A head that is
/// tied to the embedding is not among them: it *is* the embedding.
#[derive(Clone, Debug)]
pub struct Weights {
    /// For messages.
    file: PathBuf,
    tensors: BTreeMap<String, Weight>,
}

impl Weights {
    pub fn new(file: impl AsRef<Path>, tensors: BTreeMap<String, Weight>) -> Self {
        Weights { file: file.as_ref().to_path_buf(), tensors }
    }

    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        let Some(weight) = self.tensors.get(name) else {
            return Err(Problem::MissingTensor { tensor: name.into() }.of(&self.file));
        };
        if weight.shape() != shape {
            return Err(Problem::shape(name, shape, weight.shape()).of(&self.file));
        }
        Ok(weight.clone())
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// In the order of the names (byte by byte).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// In the order of the names (byte by byte).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Weight)> {
        self.tensors.iter().map(|(name, weight)| (name.as_str(), weight))
    }

    /// The same model with one tensor replaced (or added): for perturbed weights.
    pub fn with(mut self, name: &str, weight: Weight) -> Self {
        self.tensors.insert(name.into(), weight);
        self
    }

    pub fn held_bytes(&self) -> u64 {
        self.tensors.values().map(Weight::held_bytes).sum()
    }
}
