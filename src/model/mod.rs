//! A model from its files: the configuration, the weights and the tokenizer.
//!
//! [`file::open`] is the way in. Nothing that a file says is believed before it is checked; what is wrong is an
//! [`error::ModelError`], never a panic, and nothing is allocated that the bytes of the file do not justify.

pub mod chat;
pub mod configuration;
pub mod digest;
pub mod error;
pub mod file;
pub(crate) mod json;
pub mod memory;
pub mod recipe;
pub mod tokenizer;
pub mod weights;

pub use configuration::{Configuration, Gpt2Configuration, LlamaConfiguration};
pub use error::ModelError;
pub use file::ModelFile;
pub use weights::{StoredWeight, StoredWeights, Weight, Weights};
