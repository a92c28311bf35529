//! Any bytes as a safetensors file beside a right configuration: an error or a model, never a panic.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use llorch::model::digest::model_digest;
use llorch::model::file::from_bytes;

const CONFIGURATION: &str = include_str!("../../fixtures/hostile/safetensors/config.json");

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = from_bytes(Arc::<[u8]>::from(bytes), CONFIGURATION, "{}") {
        model_digest(&model.weights); // every value can be read
    }
});
