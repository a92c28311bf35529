//! Checkpoints 1 to 12: a worker's tensors, held against those of others and against what must hold by themselves.
//!
//! A `subject` is a model and a prompt, most of them with goldens; `captured` starts a worker on it and reads what it wrote;
//! `judge` holds a capture against a golden, against the f64 reference and against its own inputs, and `properties` against
//! what needs no reference. `models` writes the models that show what ordinary ones don't. `engines` holds whole engines
//! against each other, station by station, and `quantised` does it for files whose weights are.

pub mod captured;
pub mod engines;
pub mod judge;
pub mod models;
pub mod properties;
pub mod quantised;
pub mod subject;

pub use captured::Captured;
pub use subject::Subject;
