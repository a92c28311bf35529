//! GPT-2 in GGUF: its sizes, and llama.cpp's names for its tensors.

use super::Sizes;
use crate::model::configuration::Gpt2Configuration;
use crate::model::error::Problem;
use crate::model::weights::load::Arrangement;

pub(super) fn read(sizes: &Sizes) -> Result<Gpt2Configuration, Problem> {
    Gpt2Configuration {
        n_layer: sizes.required("block_count")?,
        n_head: sizes.required("attention.head_count")?,
        n_embd: sizes.required("embedding_length")?,
        n_inner: sizes.required("feed_forward_length")?,
        n_ctx: sizes.required("context_length")?,
        vocab_size: sizes.vocab_size,
        layer_norm_epsilon: sizes.required_number("attention.layer_norm_epsilon")?,
        eos_token_id: sizes.eos,
        bos_token_id: sizes.bos,
    }
    .checked()
}

/// The matrices of linear layers: `[in, out]` at Hugging Face, `[out, in]` in GGUF.
pub(super) fn arrangement(name: &str) -> Arrangement {
    match [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"].iter().any(|ending| name.ends_with(ending)) {
        true => Arrangement::Transposed,
        false => Arrangement::AsHeld,
    }
}
