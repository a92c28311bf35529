//! Recipe models: weights of any size from a short exact rule, so that full-size shapes need no download. The rule uses
//! integers and powers of two, and gives the same bits in every language; `fixtures/recipe/recipe.py` is the same in Python.
//!
//! # The rule
//! All integers are 64 bits wide and wrap. `mix` is the finalizer of SplitMix64:
//! ```text
//! mix(z):  z ^= z >> 30;  z *= 0xBF58476D1CE4E5B9;  z ^= z >> 27;  z *= 0x94D049BB133111EB;  z ^= z >> 31
//! ```
//! A tensor is known by its Hugging Face name without the prefix (`transformer.`, `model.`), `fnv1a64` is FNV-1a over that name's bytes
//! (offset 0xCBF29CE484222325, prime 0x100000001B3), and an element by its row-major index in Hugging Face's orientation:
//! ```text
//! stream(seed, name)      = mix(mix(seed + 0x9E3779B97F4A7C15) ^ fnv1a64(name))
//! hash(seed, name, index) = mix(stream(seed, name) + (index + 1) · 0x9E3779B97F4A7C15)
//! value                   = ((hash >> 40) · 2⁻²⁴ − ½) · 2ᵉ + o
//! ```
//! The first product and difference are exact in f32. `o` is 1 for the weights of norms, where the sum is rounded once, to
//! the nearest even; elsewhere it is 0 and nothing is rounded.
//!
//! With `a = 2 − ⌊⌈log₂ C⌉ / 2⌋` (−3 at the widths of GPT-2 base and medium), which gives a matrix of C inputs an output of about
//! unit variance and attention that is far from uniform, `e` is
//!
//! | tensor | e |
//! |---|---|
//! | `wte.weight`, `embed_tokens.weight`, `lm_head.weight` | a + 1: logits with a standard deviation of about 2 |
//! | `wpe.weight`, every matrix of a block, `c_attn.bias`, `c_fc.bias` | a |
//! | `c_proj.bias` | a − 1 |
//! | biases of `q_proj`, `k_proj`, `v_proj`, `o_proj` | 1: as large as what they are added to, as those of a real Qwen2 |
//! | norm weights | −1: 0.75 to 1.25 |
//! | layer norm biases | −2 |
//!
//! The rows of the embedding and of a head of its own that belong to bytes which are not printable ASCII (ids 0–31 and 127–255) are zero: their
//! logits are 0, below the largest of all others, so that greedy text is clean.

mod config;
mod gguf_writer;
mod sizes;
mod tokenizer;
mod write;

use std::collections::BTreeMap;

use super::configuration::{Configuration, HEAD};
use super::error::Problem;
use super::weights::{Weight, Weights};
pub use sizes::{LlamaSize, Size};
pub use tokenizer::{END_OF_TEXT, FIRST_WORD, tokenizer_json};
pub use write::{OutputFormat, RecipeError};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// One recipe model.
#[derive(Clone, Debug)]
pub struct Recipe {
    configuration: Configuration,
    /// The head is the embedding.
    tied: bool,
    seed: u64,
}

impl Recipe {
    /// A model whose head is the embedding.
    pub fn new(configuration: impl Into<Configuration>, seed: u64) -> Result<Self, Problem> {
        let configuration = configuration.into().checked()?;
        if configuration.vocab_size() < FIRST_WORD as usize {
            let found = configuration.vocab_size();
            let why = format!("is {found}; a recipe's tokenizer has {FIRST_WORD} tokens or more");
            return Err(Problem::key("vocab_size", why));
        }
        Ok(Recipe { configuration, tied: true, seed })
    }

    /// One of the sizes of the Llama family.
    pub fn llama(size: LlamaSize, seed: u64) -> Result<Self, Problem> {
        Ok(Recipe { tied: size.tied, ..Recipe::new(size.configuration, seed)? })
    }

    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub fn is_tied(&self) -> bool {
        self.tied
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Every tensor, a head of its own among them.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = self.configuration.tensors();
        if !self.tied {
            tensors.push((HEAD.into(), vec![self.configuration.vocab_size(), self.configuration.n_embd()]));
        }
        tensors
    }

    /// The values of one of [`Recipe::tensors`].
    pub fn tensor(&self, name: &str) -> RecipeTensor {
        let (exponent, offset) = self.scale(name);
        let has_rows_of_tokens = name == self.configuration.embedding() || name == HEAD;
        RecipeTensor {
            stream: mix(mix(self.seed.wrapping_add(GOLDEN)) ^ fnv1a64(name.as_bytes())),
            // (hash >> 40) · 2⁻²⁴ − ½ is a whole number of 2⁻²⁴.
            unit: power_of_two(exponent - 24),
            offset,
            row: has_rows_of_tokens.then_some(self.configuration.n_embd() as u64),
        }
    }

    /// The power of two and the offset of a tensor.
    fn scale(&self, name: &str) -> (i32, f32) {
        let bits = self.configuration.n_embd().next_power_of_two().trailing_zeros() as i32; // ⌈log₂ C⌉
        let matrix = 2 - bits / 2;
        let is_norm = name.rsplit('.').nth(1).is_some_and(|part| part.starts_with("ln_") || part.ends_with("norm"));
        match name {
            _ if is_norm && name.ends_with(".weight") => (-1, 1.0),
            _ if is_norm => (-2, 0.0),
            "wte.weight" | "embed_tokens.weight" | HEAD => (matrix + 1, 0.0),
            _ if name.ends_with("c_proj.bias") => (matrix - 1, 0.0),
            _ if name.ends_with("_proj.bias") => (1, 0.0),
            _ => (matrix, 0.0),
        }
    }

    /// The whole model in memory, for the small sizes.
    pub fn weights(&self) -> Weights {
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let mut values = vec![0.0; shape.iter().product()];
            self.tensor(&name).fill(0, &mut values);
            (name, Weight::from_vec(shape, values))
        };
        let tensors: BTreeMap<String, Weight> = self.tensors().into_iter().map(tensor).collect();
        Weights::new("recipe", tensors)
    }
}

/// One tensor's rule: any element at any time, without the ones before it.
#[derive(Clone, Copy, Debug)]
pub struct RecipeTensor {
    stream: u64,
    unit: f32,
    offset: f32,
    /// The width of an embedding with rows that are zero; `None` for all other tensors.
    row: Option<u64>,
}

impl RecipeTensor {
    pub fn value(&self, index: u64) -> f32 {
        if self.row.is_some_and(|width| is_silent(index / width)) { 0.0 } else { self.drawn(index) }
    }

    fn drawn(&self, index: u64) -> f32 {
        let hash = mix(self.stream.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN)));
        let steps = (hash >> 40) as i32 - (1 << 23);
        steps as f32 * self.unit + self.offset
    }

    /// The elements from `first` on, in order.
    pub fn fill(&self, first: u64, values: &mut [f32]) {
        for (index, value) in (first..).zip(values) {
            *value = self.value(index);
        }
    }
}

/// Whether a token is a byte that is no printable ASCII.
fn is_silent(id: u64) -> bool {
    id < 256 && !(0x20..0x7f).contains(&id)
}

/// 2ᵉ exactly, for the exponents of normal numbers.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}
