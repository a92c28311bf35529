//! Digests of what the program holds, so that it can be compared with what a file holds and with what another engine holds.

use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::Problem;
use super::weights::{StoredWeights, Weight, Weights};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorDigest {
    /// Hugging Face's, without the prefix (`transformer.`, `model.`).
    pub name: String,
    pub shape: Vec<usize>,
    /// SHA-256, in hex, of the values as held: little-endian f32, row-major.
    pub sha256: String,
}

/// One digest per tensor, in the order of the names (byte by byte).
pub fn tensor_digests(weights: &Weights) -> Vec<TensorDigest> {
    let digest = |(name, weight): (&str, &Weight)| TensorDigest {
        name: name.into(),
        shape: weight.shape().into(),
        sha256: values_digest(weight.values()),
    };
    weights.iter().map(digest).collect()
}

/// The identity of a model, whatever file it came from: SHA-256 over the values of all tensors that the model uses, one after
/// the other in the order of their names (byte by byte), each as little-endian f32, row-major, in Hugging Face's orientation.
/// Names and shapes are not hashed; a tied head is not a tensor of its own; mask buffers are none.
pub fn model_digest(weights: &Weights) -> String {
    let mut sha256 = Sha256::new();
    for (_, weight) in weights.iter() {
        update(&mut sha256, weight.values());
    }
    hex(&sha256.finalize())
}

/// The same of weights that are not decoded: one tensor after the other is, and let go.
pub fn stored_model_digest(weights: &StoredWeights) -> Result<String, Problem> {
    let mut sha256 = Sha256::new();
    for (_, weight) in weights.iter() {
        update(&mut sha256, weight.decode()?.values());
    }
    Ok(hex(&sha256.finalize()))
}

/// SHA-256 of values, in hex.
pub fn values_digest(values: &[f32]) -> String {
    let mut sha256 = Sha256::new();
    update(&mut sha256, values);
    hex(&sha256.finalize())
}

/// Adds values as little-endian f32.
fn update(sha256: &mut Sha256, values: &[f32]) {
    const RUN: usize = 4096; // values turned into bytes at a time
    let mut bytes = [0; 4 * RUN];
    for values in values.chunks(RUN) {
        for (value, bytes) in values.iter().zip(bytes.as_chunks_mut::<4>().0) {
            *bytes = value.to_le_bytes();
        }
        sha256.update(&bytes[..size_of_val(values)]);
    }
}

/// SHA-256 of bytes, in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
