//! What an engine computed in one run: every tensor it showed, under its name, and who it was, on what.
//!
//! [`Capture::read`] takes a folder (`manifest.json` and `tensors.safetensors`), one `.safetensors` file with the manifest
//! in its metadata, and numpy's `.npz`, `.npy` and folders of `.npy`. [`Capture::write`] and [`Capture::write_file`]
//! write the first two, so that nobody ever sees half of one. What is wrong with a file is a [`CaptureError`].

mod error;
pub mod manifest;
pub mod npy;
mod npz;
mod read;
mod safetensors;
pub mod summary;
mod text;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use error::{CaptureError, Problem};
pub use manifest::{Manifest, Sizes};
pub use read::{Opened, open, open_bytes};
pub use summary::Summary;

/// In a folder: the two files, and the key under which one file carries the manifest.
pub const MANIFEST: &str = "manifest.json";
pub const TENSORS: &str = "tensors.safetensors";
pub const MANIFEST_KEY: &str = "llorch.manifest";

/// One run of one engine.
#[derive(Clone, Debug, Default, PartialEq)]
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

impl Values {
    /// The format's name of the element type.
    pub fn dtype(&self) -> &'static str {
        match self {
            Values::F32(_) => "F32",
            Values::F64(_) => "F64",
            Values::I64(_) => "I64",
        }
    }

    /// Bytes of one number.
    pub fn width(&self) -> usize {
        match self {
            Values::F32(_) => 4,
            Values::F64(_) | Values::I64(_) => 8,
        }
    }

    /// The numbers as little-endian bytes, a few thousand at a time.
    fn for_each_run<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        fn runs<T: Copy, const WIDTH: usize, E>(
            values: &[T],
            to_bytes: impl Fn(T) -> [u8; WIDTH],
            take: &mut impl FnMut(&[u8]) -> Result<(), E>,
        ) -> Result<(), E> {
            const RUN: usize = 4096;
            let mut bytes = Vec::with_capacity(RUN * WIDTH);
            for values in values.chunks(RUN) {
                bytes.clear();
                bytes.extend(values.iter().flat_map(|value| to_bytes(*value)));
                take(&bytes)?;
            }
            Ok(())
        }
        match self {
            Values::F32(values) => runs(values, f32::to_le_bytes, &mut take),
            Values::F64(values) => runs(values, f64::to_le_bytes, &mut take),
            Values::I64(values) => runs(values, i64::to_le_bytes, &mut take),
        }
    }
}
