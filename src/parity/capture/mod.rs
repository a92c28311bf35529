//! What an engine computed in one run: every tensor it showed, under its name, and who it was, on what.

pub mod manifest;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use manifest::{Manifest, Sizes};

/// One run of one engine.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    pub manifest: Manifest,
    /// Under their names in a capture: `cp01.ln_1`, `cp03.step1.k.L07`, …
    pub tensors: BTreeMap<String, Tensor>,
}

/// A tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
}

impl Tensor {
    pub fn f32(shape: &[usize], values: Vec<f32>) -> Self {
        Self { shape: shape.to_vec(), values: Values::F32(values) }
    }

    pub fn f64(shape: &[usize], values: Vec<f64>) -> Self {
        Self { shape: shape.to_vec(), values: Values::F64(values) }
    }

    pub fn i64(shape: &[usize], values: Vec<i64>) -> Self {
        Self { shape: shape.to_vec(), values: Values::I64(values) }
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        match &self.values {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::I64(values) => values.len(),
        }
    }

    /// The numbers as f64: exact, but for integers above 2⁵³, which no tensor of a model has.
    pub fn to_f64(&self) -> Cow<'_, [f64]> {
        match &self.values {
            Values::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Values::F64(values) => Cow::Borrowed(values),
            Values::I64(values) => values.iter().map(|value| *value as f64).collect(),
        }
    }
}
