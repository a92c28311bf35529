//! Any bytes as a GGUF file: an error or a model, never a panic.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use llorch::model::digest::model_digest;
use llorch::model::file::from_gguf_bytes;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = from_gguf_bytes(Arc::<[u8]>::from(bytes)) {
        model_digest(&model.weights); // every value can be read
    }
});
