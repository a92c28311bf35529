//! The sentences of the features, one file per noun. A step is a line or two that calls `harness/`: no loop, no HTTP,
//! no judgement of its own.

mod answer;
mod callback;
mod chain;
mod document;
mod engine;
mod fault;
mod fleet;
mod haiku;
mod job;
mod ladder;
mod log;
mod metrics;
mod model;
mod pool_cli;
mod provision;
mod sampling;
mod selftest;
mod stream;
mod task;
mod tensor;
mod worker;
pub mod world;

pub use world::World;
