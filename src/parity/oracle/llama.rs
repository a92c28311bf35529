//! What is Llama's and Qwen2's own: RMSNorm, rotary positions, fewer heads of keys and values than of queries, a gated
//! feed-forward layer. Weights are `[out, in]`.

use super::operations::{frequencies, gated, product, rms_norm, rotate, rows, shifted};
use super::{Operations, Pass, Tensor};
use crate::layers::Station;
use crate::model::{LlamaConfiguration, ModelError};

pub fn station<O: Operations>(
    pass: &Pass<'_, O>,
    sizes: &LlamaConfiguration,
    station: Station,
    layer: usize,
) -> Result<Tensor, ModelError> {
    let &LlamaConfiguration { n_head: h, n_kv_head: kv, head_size: d, n_embd: c, n_inner: inner, .. } = sizes;
    let get = |station| pass.get(station, layer);
    let weight = |name: &str, shape: &[usize]| pass.block_weight(layer, name, shape);
    let norm = |x: &Tensor, weight| rms_norm(x, &weight, sizes.rms_norm_epsilon);
    // x · Wᵀ, and + b where the model has one
    let projected = |name: &str, x: &Tensor, out: usize, biased: bool| -> Result<Tensor, ModelError> {
        let y = product(x, &weight(&format!("{name}.weight"), &[out, x.row_len()])?);
        if !biased {
            return Ok(y);
        }
        Ok(shifted(y, &weight(&format!("{name}.bias"), &[out])?))
    };
    // q, k or v: head after head
    let heads = |name: &str, heads: usize| -> Result<Tensor, ModelError> {
        let y = projected(name, &*get(Station::LayerNorm1)?, heads * d, sizes.qkv_bias)?;
        Ok(Tensor { shape: vec![pass.rows(), heads, d], values: y.values })
    };
    let rotated = |x| -> Result<Tensor, ModelError> { Ok(rotate(&*get(x)?, pass.position, &frequencies(sizes))) };
    Ok(match station {
        Station::Embedding => rows(pass.tokens, &pass.model.token_embedding()?), // [T, C]
        Station::LayerNorm1 => norm(&*pass.block_input(layer)?, weight("input_layernorm.weight", &[c])?), // [T, C]
        Station::Query => heads("self_attn.q_proj", h)?,                         // [T, H, D]
        Station::Key => heads("self_attn.k_proj", kv)?,                          // [T, KV, D]
        Station::Value => heads("self_attn.v_proj", kv)?,                        // [T, KV, D]
        Station::QueryRotated => rotated(Station::Query)?,
        Station::KeyRotated => rotated(Station::Key)?,
        Station::AttentionOutput => {
            projected("self_attn.o_proj", &*get(Station::Merged)?, c, sizes.output_bias)? // [T, C]
        }
        Station::LayerNorm2 => {
            norm(&*get(Station::AttentionResidual)?, weight("post_attention_layernorm.weight", &[c])?) // [T, C]
        }
        Station::Gate => projected("mlp.gate_proj", &*get(Station::LayerNorm2)?, inner, false)?, // [T, inner]
        Station::Up => projected("mlp.up_proj", &*get(Station::LayerNorm2)?, inner, false)?,     // [T, inner]
        Station::GatedProduct => gated(&*get(Station::Gate)?, &*get(Station::Up)?),              // [T, inner]
        Station::FeedForwardOutput => projected("mlp.down_proj", &*get(Station::GatedProduct)?, c, false)?, // [T, C]
        Station::FinalLayerNorm => {
            norm(&*pass.block_input(sizes.n_layer)?, pass.model.weight("norm.weight", &[c])?) // [T, C]
        }
        // Of other architectures, or common to all
        _ => Tensor::default(),
    })
}
