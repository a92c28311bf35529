//! The sizes of a model, from `config.json` or GGUF metadata, checked before anything is built from them; and the tensors
//! that a model of these sizes consists of. Every size comes from the model file; none is a constant anywhere.

mod gpt2;
mod json;
mod llama;

pub use gpt2::Gpt2Configuration;
pub use json::ConfigurationFile;
pub use llama::{LlamaArchitecture, LlamaConfiguration, RopeScaling};

use super::error::Problem;

/// What a model file says of itself, by the family of its architecture.
#[derive(Clone, Debug, PartialEq)]
pub enum Configuration {
    Gpt2(Gpt2Configuration),
    Llama(LlamaConfiguration),
}

/// The name of a head of its own, in every architecture; a tied one is the embedding.
pub const HEAD: &str = "lm_head.weight";

/// What all families have, under one name.
macro_rules! common {
    ($($(#[$about:meta])* $name:ident: $kind:ty),* $(,)?) => {
        $($(#[$about])*
        pub fn $name(&self) -> $kind {
            match self {
                Configuration::Gpt2(configuration) => configuration.$name,
                Configuration::Llama(configuration) => configuration.$name,
            }
        })*
    };
}

impl Configuration {
    common! {
        /// L, the number of blocks.
        n_layer: usize,
        /// H, the heads of the queries.
        n_head: usize,
        /// C, the width.
        n_embd: usize,
        /// The width inside the feed-forward layers.
        n_inner: usize,
        /// The longest context.
        n_ctx: usize,
        /// V.
        vocab_size: usize,
        /// The end of text; the first where there are several.
        eos_token_id: Option<u32>,
        bos_token_id: Option<u32>,
    }

    /// As GGUF's `general.architecture` and `config.json`'s `model_type` call it.
    pub fn architecture(&self) -> &'static str {
        match self {
            Configuration::Gpt2(_) => "gpt2",
            Configuration::Llama(configuration) => configuration.architecture.name(),
        }
    }

    /// The heads of keys and values: fewer than those of the queries where several queries share one.
    pub fn n_kv_head(&self) -> usize {
        match self {
            Configuration::Gpt2(configuration) => configuration.n_head,
            Configuration::Llama(configuration) => configuration.n_kv_head,
        }
    }

    /// D, the width of one head.
    pub fn head_size(&self) -> usize {
        match self {
            Configuration::Gpt2(configuration) => configuration.head_size(),
            Configuration::Llama(configuration) => configuration.head_size,
        }
    }

    /// Every tensor of the model with its shape, by Hugging Face's names without their prefix, in the order of computation.
    /// A head of its own is not listed.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Configuration::Gpt2(configuration) => configuration.tensors(),
            Configuration::Llama(configuration) => configuration.tensors(),
        }
    }

    /// The token embedding, and the head where that is tied: `[V, C]`.
    pub fn embedding(&self) -> &'static str {
        match self {
            Configuration::Gpt2(_) => "wte.weight",
            Configuration::Llama(_) => "embed_tokens.weight",
        }
    }

    /// The same configuration, if a model can be built of it.
    pub fn checked(self) -> Result<Self, Problem> {
        Ok(match self {
            Configuration::Gpt2(configuration) => configuration.checked()?.into(),
            Configuration::Llama(configuration) => configuration.checked()?.into(),
        })
    }

    /// For what computes GPT-2 and nothing else; `who` is named in the refusal.
    pub fn gpt2(&self, who: &'static str) -> Result<&Gpt2Configuration, Problem> {
        match self {
            Configuration::Gpt2(configuration) => Ok(configuration),
            other => Err(Problem::OtherArchitecture { name: other.architecture(), who }),
        }
    }
}

impl From<Gpt2Configuration> for Configuration {
    fn from(configuration: Gpt2Configuration) -> Self {
        Configuration::Gpt2(configuration)
    }
}

impl From<LlamaConfiguration> for Configuration {
    fn from(configuration: LlamaConfiguration) -> Self {
        Configuration::Llama(configuration)
    }
}

/// Sizes that no model exceeds, by the names that messages give them: a size above is a damaged or hostile file, and is
/// refused before it is multiplied.
fn check_sizes<const N: usize>(sizes: [(&str, usize, usize); N]) -> Result<(), Problem> {
    for (key, size, limit) in sizes {
        if size == 0 {
            return Err(Problem::key(key, "is 0"));
        }
        if size > limit {
            return Err(Problem::OverLimit { what: format!("`{key}`"), found: size as u64, limit: limit as u64 });
        }
    }
    Ok(())
}

const MAX_LAYERS: usize = 1 << 10;
const MAX_HEADS: usize = 1 << 10;
const MAX_WIDTH: usize = 1 << 16;
const MAX_INNER: usize = 1 << 18;
const MAX_VOCABULARY: usize = 1 << 22;

fn check_epsilon(key: &str, epsilon: f64) -> Result<(), Problem> {
    if epsilon > 0.0 && epsilon < 1.0 {
        return Ok(());
    }
    Err(Problem::key(key, format!("is {epsilon}, not between 0 and 1")))
}

/// The special tokens are inside the vocabulary.
fn check_ids(vocab_size: usize, eos: Option<u32>, bos: Option<u32>) -> Result<(), Problem> {
    for (key, id) in [("eos_token_id", eos), ("bos_token_id", bos)] {
        if let Some(id) = id.filter(|&id| id as usize >= vocab_size) {
            let (found, expected) = (u64::from(id), vocab_size as u64);
            return Err(Problem::OverLimit { what: format!("`{key}`"), found, limit: expected - 1 });
        }
    }
    Ok(())
}
