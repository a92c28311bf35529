//! Any bytes as a capture in each of its single-file forms: an error or tensors, never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use llorch::parity::capture::open_bytes;

fuzz_target!(|bytes: &[u8]| {
    for name in ["a.safetensors", "a.npz", "a.npy"] {
        if let Ok(opened) = open_bytes(Path::new(name), bytes) {
            opened.capture.summaries(); // every number can be read
        }
    }
});
