//! llorch: proof that an LLM inference worker is right and real.
//!
//! From the ground up; a module may use those above it in this list, never those below.

// The mathematics
pub mod cache;
pub mod layers;
pub mod model;
pub mod sampling;
pub mod tensor;

// Capture, comparison and the reference to compare with
pub mod parity;

// What computes, and the HTTP contract around it
pub mod backend;
pub mod worker;

// The machines of a pool: their models and workers
pub mod pool;

// The command lines
pub mod cli;

// What drives and judges: built into the tool, absent from a worker built alone.
#[cfg(feature = "bdd")]
#[path = "../harness/mod.rs"]
pub mod harness;
#[cfg(feature = "bdd")]
#[path = "../steps/mod.rs"]
pub mod steps;
