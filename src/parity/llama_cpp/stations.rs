//! Which nodes of llama.cpp's graph for GPT-2 are stations. Nodes have names, but for one: the output projection of the
//! attention, which is known by the bias that it adds.

use crate::layers::Station;

/// What to do with a node that was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// `[T, …]` rows as they are.
    Rows(Station),
    /// `[T, H, D]`
    Heads(Station),
    /// Unscaled, unmasked scores over padded keys; and as its first source, the cached keys.
    Scores,
    /// `[H, T, N]` over padded keys.
    Probabilities,
    /// As its first source, the cached values.
    Values,
    Gelu,
}

/// A node's meaning and its layer, from its name and that of what it adds.
pub fn meaning(name: &str, adds: &str) -> Option<(Shows, usize)> {
    use Shows::{Gelu, Heads, Probabilities, Rows, Scores, Values};
    let whole = match name {
        "inpL" => Some(Station::Embedding),
        "result_norm" => Some(Station::FinalLayerNorm),
        "result_output" => Some(Station::Logits),
        _ => None,
    };
    if let Some(station) = whole {
        return Some((Rows(station), 0));
    }
    if let Some(layer) = adds.strip_prefix("blk.").and_then(|rest| rest.strip_suffix(".attn_output.bias")) {
        return Some((Rows(Station::AttentionOutput), layer.parse().ok()?));
    }
    let (name, layer) = name.rsplit_once('-')?;
    let shows = match name {
        "attn_norm" => Rows(Station::LayerNorm1),
        "Qcur" => Heads(Station::Query),
        "Kcur" => Heads(Station::Key),
        "Vcur" => Heads(Station::Value),
        "kq" => Scores,
        "kq_soft_max" => Probabilities,
        "kqv" => Values,
        "kqv_out" => Rows(Station::Merged),
        "ffn_inp" => Rows(Station::AttentionResidual),
        "ffn_norm" => Rows(Station::LayerNorm2),
        "ffn_up_b" => Rows(Station::FeedForwardHidden),
        "ffn_gelu" => Gelu,
        "ffn_out" => Rows(Station::FeedForwardOutput),
        "l_out" => Rows(Station::BlockOutput),
        _ => return None,
    };
    Some((shows, layer.parse().ok()?))
}
