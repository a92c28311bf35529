//! What can be wrong with a model file. Every message names the file, the tensor or key, and the two numbers that
//! disagree, so that a person can go and look.

use std::path::{Path, PathBuf};

/// One problem, in one file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct ModelError {
    pub file: PathBuf,
    #[source]
    pub problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    // The file as a whole
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("no model here: {0}")]
    NoModel(String),
    #[error("not a {format} file: {why}")]
    NotThisFormat { format: &'static str, why: String },
    #[error("{what} runs to byte {end}, but the file has {file} bytes")]
    Truncated { what: String, end: u64, file: u64 },
    #[error("the last tensor `{tensor}` ends at byte {end}, but the file has {file} bytes")]
    BytesAfterTheEnd { tensor: String, end: u64, file: u64 },

    #[error("{what} would take {required} bytes of memory, and {available} are available")]
    Memory { what: &'static str, required: u64, available: u64 },

    // The header
    #[error("{what} does not fit in 64 bits")]
    Overflow { what: String },
    #[error("{what} is {found}; the limit is {limit}")]
    OverLimit { what: String, found: u64, limit: u64 },
    #[error("{what} is not UTF-8")]
    NotUtf8 { what: String },
    #[error("{what} is not valid JSON: {source}")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("{kind} `{name}` is there twice")]
    Duplicate { kind: &'static str, name: String },
    #[error("alignment {found} is not a power of two")]
    Alignment { found: u64 },
    #[error("{what} has the type number {number}, which is not one of GGUF's")]
    UnknownValueType { what: String, number: u32 },

    // Tensors and their bytes
    #[error("tensor `{tensor}`: {shape:?} of {element} needs {needs} bytes, its place in the file has {found}")]
    TensorBytes { tensor: String, shape: Vec<u64>, element: &'static str, needs: u64, found: u64 },
    #[error("tensor `{tensor}` ends at byte {end}, before it begins at {begin}")]
    BackwardRange { tensor: String, begin: u64, end: u64 },
    #[error("tensor `{tensor}` begins at byte {begin}, inside `{previous}`, which ends at {end}")]
    Overlap { tensor: String, begin: u64, previous: String, end: u64 },
    #[error("tensor `{tensor}` begins at byte {begin}, but what comes before it ends at {end}")]
    Gap { tensor: String, begin: u64, end: u64 },
    #[error("tensor `{tensor}` begins at offset {offset}, which is no multiple of the alignment {alignment}")]
    Misaligned { tensor: String, offset: u64, alignment: u64 },
    #[error("tensor `{tensor}`: rows of {row} elements do not divide into {element} blocks of {block}")]
    BrokenBlocks { tensor: String, row: u64, element: &'static str, block: u64 },
    #[error("tensor `{tensor}` has the empty shape {shape:?}")]
    EmptyShape { tensor: String, shape: Vec<u64> },
    #[error("tensor `{tensor}` has the unknown element type `{element}`")]
    UnknownElement { tensor: String, element: String },
    #[error("tensor `{tensor}` has the element type {element}, which this engine does not read")]
    UnsupportedElement { tensor: String, element: String },

    // The model
    #[error("architecture `{name}` is not one that is read here (gpt2, llama and qwen2 are)")]
    UnknownArchitecture { name: String },
    #[error("architecture `{name}` is not one that {who} computes; the worker llorch-candled does")]
    OtherArchitecture { name: &'static str, who: &'static str },
    #[error("the model needs tensor `{tensor}`, and the file lacks it")]
    MissingTensor { tensor: String },
    #[error("the file has tensor `{tensor}`, which changes the computation and is not implemented")]
    UnknownTensor { tensor: String },
    #[error("tensor `{tensor}` has shape {found:?}, the configuration says {expected:?}")]
    Shape { tensor: String, expected: Vec<usize>, found: Vec<u64> },
    #[error("tensor `{tensor}` holds {value} at index {index}")]
    NotFinite { tensor: String, index: u64, value: f32 },
    #[error("`{key}` is missing")]
    MissingKey { key: String },
    #[error("`{key}` {why}")]
    Key { key: String, why: String },
    #[error("`{key}` is {found}, and `{other}` says {expected}")]
    KeysDisagree { key: String, found: u64, other: String, expected: u64 },

    // Sharded models
    #[error("the index names the shard `{shard}`, which is not a plain file name")]
    ShardPath { shard: String },
    #[error("the index names the shard `{shard}`, which is not there")]
    MissingShard { shard: String },
    #[error("the index says that tensor `{tensor}` is in `{shard}`, and it is not")]
    NotInShard { tensor: String, shard: String },
}

impl Problem {
    /// The problem together with the file that has it.
    pub fn of(self, file: impl AsRef<Path>) -> ModelError {
        ModelError { file: file.as_ref().to_path_buf(), problem: self }
    }

    /// A tensor that was asked for in another shape.
    pub fn shape(tensor: &str, expected: &[usize], found: &[usize]) -> Self {
        let found = found.iter().map(|&size| size as u64).collect();
        Problem::Shape { tensor: tensor.into(), expected: expected.into(), found }
    }

    pub fn key(key: impl Into<String>, why: impl Into<String>) -> Self {
        Problem::Key { key: key.into(), why: why.into() }
    }
}
