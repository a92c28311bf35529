//! Small models with weights from a counter, for the tests of the mathematics.

use std::collections::BTreeMap;

use llorch::layers::Gpt2;
use llorch::model::{Gpt2Configuration, Weight, Weights};

/// Numbers without a pattern: splitmix64 of a seed and an index.
pub fn noise(seed: u64, index: u64) -> f32 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32 - 0.5
}

pub fn noise_vector(seed: u64, length: usize, scale: f32) -> Vec<f32> {
    (0..length as u64).map(|index| noise(seed, index) * scale).collect()
}

/// (layers, heads, head size, context, vocabulary)
pub type Sizes = (usize, usize, usize, usize, usize);

pub fn configuration((n_layer, n_head, head_size, n_ctx, vocab_size): Sizes) -> Gpt2Configuration {
    Gpt2Configuration {
        n_layer,
        n_head,
        n_embd: n_head * head_size,
        n_inner: 4 * n_head * head_size,
        n_ctx,
        vocab_size,
        layer_norm_epsilon: 1e-5,
        eos_token_id: Some(0),
        bos_token_id: Some(0),
    }
}

/// Weights large enough that attention has opinions and the residual stream moves.
pub fn weights(configuration: &Gpt2Configuration, seed: u64) -> Weights {
    let tensors = configuration.tensors().into_iter().enumerate().map(|(number, (name, shape))| {
        let length = shape.iter().product();
        let seed = seed * 1000 + number as u64;
        let is_scale = name.contains("ln_") && name.ends_with("weight");
        let spread = if shape.len() == 2 && !name.starts_with('w') { 2.0 / (shape[0] as f32).sqrt() } else { 0.6 };
        let mut values = noise_vector(seed, length, spread);
        if is_scale {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        (name, Weight::from_vec(shape, values))
    });
    Weights::new("noise", tensors.collect::<BTreeMap<_, _>>())
}

pub fn model(configuration: &Gpt2Configuration, seed: u64) -> Gpt2 {
    Gpt2::load(configuration.clone(), &weights(configuration, seed)).expect("every tensor is there")
}

pub fn tokens(configuration: &Gpt2Configuration, seed: u64, count: usize) -> Vec<u32> {
    let vocabulary = configuration.vocab_size as f32;
    (0..count as u64)
        .map(|index| (((noise(seed, index) + 0.5) * vocabulary) as u32).min(vocabulary as u32 - 1))
        .collect()
}
