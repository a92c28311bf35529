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

// What computes
pub mod backend;

// What daemons share, the HTTP contract of a worker, and who hands out the work
pub mod http;
pub mod orchestrator;
pub mod pool;
pub mod worker;

// The command lines
pub mod cli;

// What drives and judges: built into the tool, absent from a worker built alone.
#[cfg(feature = "bdd")]
#[path = "../harness/mod.rs"]
pub mod harness;
#[cfg(feature = "bdd")]
#[path = "../steps/mod.rs"]
pub mod steps;
