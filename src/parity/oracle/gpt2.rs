//! What is GPT-2's own: layer norm, one projection for q, k and v, learned positions, GELU. Weights are `[in, out]`.

use super::operations::{embed, gelu, layer_norm, linear, linear_columns};
use super::{Operations, Pass, Tensor};
use crate::layers::Station;
use crate::model::{Gpt2Configuration, ModelError};

pub fn station<O: Operations>(
    pass: &Pass<'_, O>,
    sizes: &Gpt2Configuration,
    station: Station,
    layer: usize,
) -> Result<Tensor, ModelError> {
    let Gpt2Configuration { n_head: h, n_embd: c, n_inner, n_ctx, layer_norm_epsilon: epsilon, .. } = *sizes;
    let get = |station| pass.get(station, layer);
    let weight = |name: &str, shape: &[usize]| pass.block_weight(layer, name, shape);
    // q, k and v are the first, second and last C columns of one projection; in each, head after head
    let third = |number: usize| -> Result<Tensor, ModelError> {
        let (w, b) = (weight("attn.c_attn.weight", &[c, 3 * c])?, weight("attn.c_attn.bias", &[3 * c])?);
        let x = get(Station::LayerNorm1)?; // [T, C]
        let columns = linear_columns(&x, &w, &b, number * c..(number + 1) * c); // [T, C]
        Ok(Tensor { shape: vec![pass.rows(), h, c / h], values: columns.values }) // [T, H, D]
    };
    Ok(match station {
        Station::Embedding => {
            let (wte, wpe) = (pass.model.token_embedding()?, pass.model.weight("wpe.weight", &[n_ctx, c])?);
            embed(pass.tokens, pass.position, &wte, &wpe) // [T, C]
        }
        Station::LayerNorm1 => {
            let (w, b) = (weight("ln_1.weight", &[c])?, weight("ln_1.bias", &[c])?);
            layer_norm(&*pass.block_input(layer)?, &w, &b, epsilon) // [T, C]
        }
        Station::Query => third(0)?,
        Station::Key => third(1)?,
        Station::Value => third(2)?,
        Station::AttentionOutput => {
            let (w, b) = (weight("attn.c_proj.weight", &[c, c])?, weight("attn.c_proj.bias", &[c])?);
            linear(&*get(Station::Merged)?, &w, &b) // [T, C]
        }
        Station::LayerNorm2 => {
            let (w, b) = (weight("ln_2.weight", &[c])?, weight("ln_2.bias", &[c])?);
            layer_norm(&*get(Station::AttentionResidual)?, &w, &b, epsilon) // [T, C]
        }
        Station::FeedForwardHidden => {
            let (w, b) = (weight("mlp.c_fc.weight", &[c, n_inner])?, weight("mlp.c_fc.bias", &[n_inner])?);
            linear(&*get(Station::LayerNorm2)?, &w, &b) // [T, 4C]
        }
        Station::Gelu => gelu(&*get(Station::FeedForwardHidden)?),
        Station::FeedForwardOutput => {
            let (w, b) = (weight("mlp.c_proj.weight", &[n_inner, c])?, weight("mlp.c_proj.bias", &[c])?);
            linear(&*get(Station::Gelu)?, &w, &b) // [T, C]
        }
        Station::FinalLayerNorm => {
            let (w, b) = (pass.model.weight("ln_f.weight", &[c])?, pass.model.weight("ln_f.bias", &[c])?);
            layer_norm(&*pass.block_input(sizes.n_layer)?, &w, &b, epsilon) // [T, C]
        }
        // Of other architectures
        _ => Tensor::default(),
    })
}
