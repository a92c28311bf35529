//! Which nodes of llama.cpp's graphs for GPT-2, Llama and Qwen2 are stations. Most have a name of their own. Two things
//! are told by how a node is computed: queries and keys keep one name from the projection to the rotary embedding, and the
//! output projection of the attention has none, and is known by its weights, or by the bias that it adds.

use llama_cpp_sys_2::{GGML_OP_ADD, GGML_OP_MUL_MAT, GGML_OP_ROPE, ggml_op};

use crate::layers::Station;

/// What to do with a node that was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// `[T, …]` rows as they are.
    Rows(Station),
    /// `[T, H, D]`, and of keys and values `[T, KV, D]`.
    Heads(Station),
    /// Unscaled, unmasked scores over padded keys; and as its first source, the cached keys.
    Scores,
    /// `[H, T, N]` over padded keys.
    Probabilities,
    /// As its first source, the cached values.
    Values,
    Gelu,
}

/// A node, as far as it says what it is.
pub struct Look<'a> {
    pub name: &'a str,
    pub operation: ggml_op,
    /// The names of its sources.
    pub first: &'a str,
    pub second: &'a str,
}

/// A node's meaning and its layer. Of several nodes that mean the same, the last is it: a sum with a bias after the product.
pub fn meaning(node: &Look, is_gated: bool) -> Option<(Shows, usize)> {
    use Shows::{Gelu, Heads, Probabilities, Rows, Scores, Values};
    let whole = match node.name {
        // GPT-2 adds positions to what it looked up; the others have the looked up alone.
        "inpL" | "embd" => Some(Station::Embedding),
        "result_norm" => Some(Station::FinalLayerNorm),
        "result_output" => Some(Station::Logits),
        _ => None,
    };
    if let Some(station) = whole {
        return Some((Rows(station), 0));
    }
    if let Some(layer) = projected_by(node) {
        return Some((Rows(Station::AttentionOutput), layer));
    }
    let (name, layer) = node.name.rsplit_once('-')?;
    let is_turned = node.operation == GGML_OP_ROPE;
    let is_flat = matches!(node.operation, GGML_OP_MUL_MAT | GGML_OP_ADD);
    let shows = match name {
        "attn_norm" => Rows(Station::LayerNorm1),
        // The product and its bias, before they are cut into heads.
        "Qcur" | "Kcur" | "Vcur" if is_flat => return None,
        "Qcur" if is_turned => Heads(Station::QueryRotated),
        "Kcur" if is_turned => Heads(Station::KeyRotated),
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
        "ffn_gate" => Rows(Station::Gate),
        // of GPT-2 this is a product without its bias
        "ffn_up" if is_gated => Rows(Station::Up),
        "ffn_swiglu" => Rows(Station::GatedProduct),
        "ffn_out" => Rows(Station::FeedForwardOutput),
        "l_out" => Rows(Station::BlockOutput),
        _ => return None,
    };
    Some((shows, layer.parse().ok()?))
}

/// The layer whose attention's output projection this is.
fn projected_by(node: &Look) -> Option<usize> {
    let (weights, ending) = match node.operation {
        GGML_OP_MUL_MAT => (node.first, ".attn_output.weight"),
        GGML_OP_ADD => (node.second, ".attn_output.bias"),
        _ => return None,
    };
    weights.strip_prefix("blk.")?.strip_suffix(ending)?.parse().ok()
}
