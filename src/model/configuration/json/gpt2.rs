//! GPT-2's keys.

use super::{Keys, Tokens};
use crate::model::configuration::Gpt2Configuration;
use crate::model::error::Problem;

pub(super) fn read(keys: &Keys, tokens: Tokens) -> Result<Gpt2Configuration, Problem> {
    // The second name is the same function: the tanh approximation.
    keys.check_activation("activation_function", &["gelu_new", "gelu_pytorch_tanh"])?;
    keys.check_plain(&[
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("reorder_and_upcast_attn", false),
        ("add_cross_attention", false),
    ])?;
    let n_embd = keys.required_size("n_embd")?;
    Gpt2Configuration {
        n_layer: keys.required_size("n_layer")?,
        n_head: keys.required_size("n_head")?,
        n_embd,
        n_inner: match keys.size("n_inner")? {
            Some(inner) => inner,
            None => n_embd.checked_mul(4).ok_or_else(|| Problem::Overflow { what: "4 times `n_embd`".into() })?,
        },
        n_ctx: match keys.size("n_positions")? {
            Some(positions) => positions,
            None => keys.required_size("n_ctx")?,
        },
        vocab_size: tokens.vocab_size,
        layer_norm_epsilon: keys.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        eos_token_id: tokens.eos,
        bos_token_id: tokens.bos,
    }
    .checked()
}
