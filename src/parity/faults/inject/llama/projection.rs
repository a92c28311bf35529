//! Products with matrices, which are `[out, in]`: q, k and v, the output of attention, gate, up and down.

use super::super::norm::weight_of_block as weight;
use super::super::projection::reread;
use super::{Faulty, Here};
use crate::layers::Station;
use crate::model::{LlamaConfiguration, ModelError};
use crate::parity::faults::Fault;
use crate::parity::oracle::{self, Tensor};

/// x · Wᵀ, and + b where there is one: [T, out]
fn projected(
    here: Here<'_>,
    pass: &Faulty<'_>,
    x: &Tensor,
    name: &str,
    out: usize,
    biased: bool,
) -> Result<Tensor, ModelError> {
    let mut w = weight(here, pass, &format!("{name}.weight"), &[out, x.row_len()])?;
    if here.has(Fault::LinearTransposed) {
        w = reread(&w);
    }
    let y = oracle::product(x, &w);
    if !biased {
        return Ok(y);
    }
    Ok(oracle::shifted(y, &weight(here, pass, &format!("{name}.bias"), &[out])?))
}

/// q: [T, H, D], k or v: [T, KV, D]
pub fn heads(here: Here<'_>, pass: &Faulty<'_>, sizes: &LlamaConfiguration) -> Result<Tensor, ModelError> {
    let swapped = here.has(Fault::KeyValueSwapped);
    let (name, own, heads) = match here.station {
        Station::Query => ("q", 0, sizes.n_head),
        Station::Key if swapped => ("v", 1, sizes.n_kv_head),
        Station::Key => ("k", 1, sizes.n_kv_head),
        _ if swapped => ("k", 2, sizes.n_kv_head),
        _ => ("v", 2, sizes.n_kv_head),
    };
    let x = if here.has(Fault::PostNorm) {
        pass.block_input(here.layer)?
    } else {
        pass.get(Station::LayerNorm1, here.layer)?
    };
    let zeroed = here.has(Fault::QkvBiasesZeroed) || here.variant(Fault::OneBiasMissing) == Some(own);
    let d = sizes.head_size;
    let name = format!("self_attn.{name}_proj");
    let y = projected(here, pass, &x, &name, heads * d, sizes.qkv_bias && !zeroed)?; // [T, heads · D]
    let rows = Tensor::from_fn([pass.rows(), heads, d], |[t, head, channel]| {
        let column = if here.has(Fault::HeadsInterleaved) {
            channel * heads + head
        } else {
            // Where a channel of a head lies whose rows are in pairs, or are taken out of pairs in which they were not.
            let own = match here.variant(Fault::RotaryRowsPermuted) {
                None => channel,
                Some(0) => channel % 2 * (d / 2) + channel / 2,
                Some(_) => channel % (d / 2) * 2 + channel / (d / 2),
            };
            head * d + own
        };
        y.at([t, column])
    });
    Ok(if here.variant(Fault::RotaryOnValues) == Some(1) { super::turned(pass, &rows) } else { rows })
}

/// The output of attention, gate, up and the output of the feed-forward layer.
pub fn linear(here: Here<'_>, pass: &Faulty<'_>, sizes: &LlamaConfiguration) -> Result<Tensor, ModelError> {
    let (c, inner) = (sizes.n_embd, sizes.n_inner);
    // Post-norm feeds it the first norm's output, and so does a parallel MLP without a norm of its own.
    let fed_by_first = here.has(Fault::PostNorm) || here.variant(Fault::Parallel) == Some(1);
    let normed = if fed_by_first { Station::LayerNorm1 } else { Station::LayerNorm2 };
    let swapped = here.has(Fault::GateUpSwapped);
    let (name, out, input, biased) = match here.station {
        Station::AttentionOutput => {
            let biased = sizes.output_bias && !here.has(Fault::OutputBiasMissing);
            ("self_attn.o_proj", c, Station::Merged, biased)
        }
        Station::Gate if !swapped => ("mlp.gate_proj", inner, normed, false),
        Station::Up if swapped => ("mlp.gate_proj", inner, normed, false),
        Station::Gate | Station::Up => ("mlp.up_proj", inner, normed, false),
        _ => ("mlp.down_proj", c, Station::GatedProduct, false),
    };
    projected(here, pass, &*pass.get(input, here.layer)?, name, out, biased)
}
