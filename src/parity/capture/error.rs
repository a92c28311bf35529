//! What can be wrong with a capture. Every message names the file, the tensor, what was expected and what was found.

use std::path::{Path, PathBuf};

use crate::model::error::Problem as ContainerProblem;

/// One problem, in one file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct CaptureError {
    pub file: PathBuf,
    pub problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    #[error("cannot be written: {0}")]
    Write(std::io::Error),
    #[error("is there already, and a capture is never written over another one")]
    Exists,
    #[error("no capture here: {0}")]
    NotACapture(String),

    // The tensors' file
    /// Truncated, overlapping, a lying shape, a name twice: the container does not hold what it says.
    #[error(transparent)]
    Container(ContainerProblem),
    #[error(
        "tensor `{tensor}` has the element type {element}; read are F64, F32, F16, BF16, I64 to I8, U64 to U8 and BOOL"
    )]
    Element { tensor: String, element: String },
    #[error("tensor `{tensor}` holds {value} at index {index}, which does not fit in 64 bits with a sign")]
    TooLarge { tensor: String, index: usize, value: u64 },

    // The manifest by itself
    #[error("there is no manifest: expected {expected}")]
    NoManifest { expected: &'static str },
    #[error("the manifest is not valid JSON: {0}")]
    ManifestJson(serde_json::Error),
    #[error("the manifest's `{field}` is missing")]
    ManifestLacks { field: &'static str },
    #[error("the manifest cannot be read: {0}")]
    ManifestField(String),
    #[error("the manifest has schema_version {found}; this tool reads {expected}")]
    SchemaVersion { expected: u32, found: u64 },
    #[error("the manifest lists tensor `{tensor}` twice")]
    ListedTwice { tensor: String },

    // The manifest against the tensors
    #[error("the manifest lists tensor `{tensor}`, and it is not there")]
    Missing { tensor: String },
    #[error("tensor `{tensor}` is there, and the manifest does not list it")]
    Unlisted { tensor: String },
    #[error("tensor `{tensor}`: the manifest says shape {expected:?}, found {found:?}")]
    Shape { tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("tensor `{tensor}`: the manifest says {expected}, found {found}")]
    Dtype { tensor: String, expected: String, found: String },
    #[error("tensor `{tensor}`: the manifest says {expected} numbers, found {found}")]
    Count { tensor: String, expected: u64, found: u64 },
    #[error("tensor `{tensor}`: the manifest says SHA-256 {expected}, found {found}: its bytes were changed")]
    Digest { tensor: String, expected: String, found: String },

    // numpy
    #[error("array `{array}`: {why}")]
    Npy { array: String, why: String },
    #[error("array `{array}`: {count} numbers of {width} bytes need {needs} bytes, found {found}")]
    NpyBytes { array: String, count: u64, width: u64, needs: u64, found: u64 },
    #[error("not a zip file that can be read: {0}")]
    Zip(String),

    /// Of a capture that is to be written.
    #[error("tensor `{tensor}` has shape {shape:?} and {found} numbers")]
    Inconsistent { tensor: String, shape: Vec<usize>, found: usize },
    #[error("tensor name `{tensor}` is refused: {why}")]
    Name { tensor: String, why: &'static str },
}

impl Problem {
    /// The problem together with the file that has it.
    pub fn of(self, file: impl AsRef<Path>) -> CaptureError {
        CaptureError { file: file.as_ref().to_path_buf(), problem: self }
    }
}

impl From<ContainerProblem> for Problem {
    fn from(problem: ContainerProblem) -> Self {
        match problem {
            ContainerProblem::Io(error) => Problem::Read(error),
            other => Problem::Container(other),
        }
    }
}
