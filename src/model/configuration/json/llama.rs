//! The keys of Llama and Qwen2, as older and newer versions of transformers write them.

use serde_json::Value;

use super::{Keys, Tokens, shortened};
use crate::model::configuration::{LlamaArchitecture, LlamaConfiguration, RopeScaling};
use crate::model::error::Problem;

pub(super) fn read(
    keys: &Keys,
    architecture: LlamaArchitecture,
    tokens: Tokens,
) -> Result<LlamaConfiguration, Problem> {
    // Two names of x · sigmoid(x).
    keys.check_activation("hidden_act", &["silu", "swish"])?;
    keys.check_plain(&[("mlp_bias", false), ("use_sliding_window", false), ("use_mrope", false)])?;
    check_attention(keys)?;
    let bias = match architecture {
        LlamaArchitecture::Llama => keys.flag("attention_bias")?.unwrap_or(false),
        LlamaArchitecture::Qwen2 => false,
    };
    let (n_embd, n_head) = (keys.required_size("hidden_size")?, keys.required_size("num_attention_heads")?);
    let (rope_theta, rope_scaling) = read_rope(keys)?;
    LlamaConfiguration {
        architecture,
        n_layer: keys.required_size("num_hidden_layers")?,
        n_head,
        n_kv_head: match keys.size("num_key_value_heads")? {
            Some(heads) => heads,
            // Where nothing is said, a Qwen2 has 32 of them, which no one may have meant.
            None if architecture == LlamaArchitecture::Qwen2 => return Err(keys.missing("num_key_value_heads")),
            None => n_head,
        },
        head_size: match keys.size("head_dim")? {
            Some(size) => size,
            None if n_head > 0 && n_embd.is_multiple_of(n_head) => n_embd / n_head,
            None => {
                let why = format!("is {n_head}, which does not divide hidden_size {n_embd}");
                return Err(keys.problem("num_attention_heads", why));
            }
        },
        n_embd,
        n_inner: keys.required_size("intermediate_size")?,
        n_ctx: keys.required_size("max_position_embeddings")?,
        vocab_size: tokens.vocab_size,
        rms_norm_epsilon: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        qkv_bias: bias || architecture == LlamaArchitecture::Qwen2,
        output_bias: bias,
        eos_token_id: tokens.eos,
        bos_token_id: tokens.bos,
    }
    .checked()
}

/// Every layer attends to everything before.
fn check_attention(keys: &Keys) -> Result<(), Problem> {
    let layers = match keys.present("layer_types") {
        None => return Ok(()),
        Some(Value::Array(layers)) => layers,
        Some(_) => return Err(keys.problem("layer_types", "is not a list")),
    };
    match layers.iter().find(|layer| *layer != "full_attention") {
        Some(other) => {
            Err(keys.problem("layer_types", format!("names {}; only full_attention is implemented", shortened(other))))
        }
        None => Ok(()),
    }
}

/// `rope_parameters` has all of it in newer files; older ones have `rope_theta` and, where it is scaled, `rope_scaling`.
fn read_rope(keys: &Keys) -> Result<(f64, RopeScaling), Problem> {
    const DEFAULT_THETA: f64 = 10_000.0;
    let outer = keys.number("rope_theta")?;
    check_whole(keys)?;
    let newer = keys.object("rope_parameters", "rope_parameters.")?;
    let Some(rope) = newer.map_or_else(|| keys.object("rope_scaling", "rope_scaling."), |newer| Ok(Some(newer)))?
    else {
        return Ok((outer.unwrap_or(DEFAULT_THETA), RopeScaling::None));
    };
    check_whole(&rope)?;
    let theta = rope.number("rope_theta")?.or(outer).unwrap_or(DEFAULT_THETA);
    let kind = match rope.text("rope_type")? {
        Some(kind) => Some(kind),
        None => rope.text("type")?,
    };
    let scaling = match kind {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: rope.required_number("factor")? },
        Some("llama3") => RopeScaling::Llama3 {
            factor: rope.required_number("factor")?,
            low_frequency_factor: rope.required_number("low_freq_factor")?,
            high_frequency_factor: rope.required_number("high_freq_factor")?,
            original_context: rope.required_size("original_max_position_embeddings")?,
        },
        Some(other) => {
            let why = format!("is `{}`; default, linear and llama3 are implemented", shortened(&other));
            return Err(rope.problem("rope_type", why));
        }
    };
    Ok((theta, scaling))
}

/// All channels of a head are turned.
fn check_whole(keys: &Keys) -> Result<(), Problem> {
    match keys.number("partial_rotary_factor")? {
        Some(factor) if factor != 1.0 => {
            Err(keys.problem("partial_rotary_factor", format!("is {factor}, which is not implemented")))
        }
        _ => Ok(()),
    }
}
