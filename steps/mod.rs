//! The sentences of the features, one file for each noun. A step is a line or two that calls `harness/`.

pub mod world;
