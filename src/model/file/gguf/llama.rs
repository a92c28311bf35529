//! Llama and Qwen2 in GGUF: their sizes, and how llama.cpp turns the rows of a Llama's queries and keys.

use super::Sizes;
use crate::model::configuration::{LlamaArchitecture, LlamaConfiguration, RopeScaling};
use crate::model::error::Problem;
use crate::model::weights::load::Arrangement;

/// Divisors of the rotary frequencies, as llama.cpp's converter computes them for Llama 3.
pub const DIVISORS: &str = "rope_freqs.weight";

pub(super) fn read(sizes: &Sizes, architecture: LlamaArchitecture) -> Result<LlamaConfiguration, Problem> {
    check_computation(sizes)?;
    let (n_embd, n_head) = (sizes.required("embedding_length")?, sizes.required("attention.head_count")?);
    let head_size = head_size(sizes, n_embd, n_head)?;
    LlamaConfiguration {
        architecture,
        n_layer: sizes.required("block_count")?,
        n_head,
        n_kv_head: sizes.get("attention.head_count_kv")?.unwrap_or(n_head),
        head_size,
        n_embd,
        n_inner: sizes.required("feed_forward_length")?,
        n_ctx: sizes.required("context_length")?,
        vocab_size: sizes.vocab_size,
        rms_norm_epsilon: sizes.required_number("attention.layer_norm_rms_epsilon")?,
        rope_theta: sizes.number("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: rope_scaling(sizes, head_size / 2)?,
        qkv_bias: architecture == LlamaArchitecture::Qwen2 || sizes.has_tensor("blk.0.attn_q.bias"),
        output_bias: sizes.has_tensor("blk.0.attn_output.bias"),
        eos_token_id: sizes.eos,
        bos_token_id: sizes.bos,
    }
    .checked()
}

/// Of queries, keys and values alike, and all of it turned.
fn head_size(sizes: &Sizes, n_embd: usize, n_head: usize) -> Result<usize, Problem> {
    let head_size = match sizes.get("attention.key_length")? {
        Some(size) => size,
        None if n_head > 0 && n_embd.is_multiple_of(n_head) => n_embd / n_head,
        None => {
            let why = format!("is {n_head}, which does not divide n_embd {n_embd}");
            return Err(Problem::key("n_head", why));
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = sizes.get(key)?.filter(|&other| other != head_size) {
            let why = format!("is {other}, and a head is {head_size} wide: that is not implemented");
            return Err(Problem::key(sizes.key(key), why));
        }
    }
    Ok(head_size)
}

fn rope_scaling(sizes: &Sizes, pairs: usize) -> Result<RopeScaling, Problem> {
    let older = sizes.number("rope.scale_linear")?;
    let factor = sizes.number("rope.scaling.factor")?.or(older).filter(|&factor| factor != 0.0);
    // Without a type a factor is linear, as llama.cpp reads it.
    let linear = match sizes.text("rope.scaling.type")? {
        Some("none") => None,
        None | Some("linear") => factor.filter(|&factor| factor != 1.0),
        Some(other) => {
            let why = format!("is `{}`; none and linear are implemented", other.chars().take(60).collect::<String>());
            return Err(Problem::key(sizes.key("rope.scaling.type"), why));
        }
    };
    match (linear, sizes.vector(DIVISORS, pairs)?) {
        (None, None) => Ok(RopeScaling::None),
        (Some(factor), None) => Ok(RopeScaling::Linear { factor }),
        (None, Some(divisors)) => Ok(RopeScaling::Divisors(divisors)),
        (Some(_), Some(_)) => {
            let why = format!("is there as well as tensor `{DIVISORS}`, which is not implemented");
            Err(Problem::key(sizes.key("rope.scaling.factor"), why))
        }
    }
}

/// Settings that would make the forward pass another function.
fn check_computation(sizes: &Sizes) -> Result<(), Problem> {
    let refuse =
        |key: &str, found: String| Err(Problem::key(sizes.key(key), format!("is {found}, which is not implemented")));
    for key in ["expert_count", "attention.sliding_window"] {
        if let Some(count) = sizes.get(key)?.filter(|&count| count != 0) {
            return refuse(key, count.to_string());
        }
    }
    for key in ["attention.scale", "attention.clamp_kqv", "logit_scale", "residual_scale", "embedding_scale"] {
        if let Some(scale) = sizes.number(key)?.filter(|&scale| scale != 0.0) {
            return refuse(key, scale.to_string());
        }
    }
    match sizes.flag("attention.causal")? {
        Some(false) => refuse("attention.causal", "false".into()),
        _ => Ok(()),
    }
}

/// llama.cpp turns adjacent channels of a Llama's heads, and its converter moves the rows of the projections to match; a
/// Qwen2 is left as it is.
pub(super) fn arrangement(configuration: &LlamaConfiguration, name: &str) -> Arrangement {
    let heads = match name.split('.').nth(3) {
        Some("q_proj") => configuration.n_head,
        Some("k_proj") => configuration.n_kv_head,
        _ => return Arrangement::AsHeld,
    };
    match configuration.architecture {
        LlamaArchitecture::Llama => Arrangement::Pairs { heads },
        LlamaArchitecture::Qwen2 => Arrangement::AsHeld,
    }
}
