//! What each station computes: the line of the paper to hold one's code against.

use crate::layers::Station;
use crate::parity::Words;

/// One line, in plain text.
pub fn formula(words: Words, station: Station) -> &'static str {
    match words {
        Words::Gpt2 => common(station),
        Words::Llama => of_llama(station).unwrap_or_else(|| common(station)),
    }
}

/// What a Llama or a Qwen2 computes otherwise.
fn of_llama(station: Station) -> Option<&'static str> {
    Some(match station {
        Station::Embedding => "embed_tokens[token], neither scaled nor with a position added",
        Station::LayerNorm1 => {
            "x / √(mean of x² + rms_norm_eps) · weight over each row: no mean subtracted, no bias; it comes before attention"
        }
        Station::Query => "x · q_projᵀ (+ bias in Qwen2), split into H heads of D; weight is stored [out, in]",
        Station::Key => "x · k_projᵀ (+ bias in Qwen2), split into KV heads of D; weight is stored [out, in]",
        Station::Value => "x · v_projᵀ (+ bias in Qwen2), split into KV heads of D; weight is stored [out, in]",
        Station::Scores => {
            "q · k / √D for each head, over all N cached positions; H / KV neighbouring heads of q share one of k"
        }
        Station::Merged => {
            "Σ p · v of each head, H / KV neighbouring heads sharing one of v; heads side by side in their order"
        }
        Station::AttentionOutput => "merged heads · o_projᵀ; weight is stored [out, in]",
        Station::LayerNorm2 => "RMSNorm of the residual after attention, with post_attention_layernorm's own weight",
        Station::Gate => "post_attention_layernorm's output · gate_projᵀ; weight is stored [out, in]",
        Station::Up => "post_attention_layernorm's output · up_projᵀ; weight is stored [out, in]",
        Station::FeedForwardOutput => "silu(gate) · up · down_projᵀ, back to width C; weight is stored [out, in]",
        Station::Block => "h = x + attn(input_layernorm(x)), y = h + mlp(post_attention_layernorm(h))",
        Station::FinalLayerNorm => "RMSNorm once, with model.norm's weight, on the last block's output",
        Station::Logits => "model.norm's output · lm_headᵀ, which is embed_tokensᵀ where the model ties them; no bias",
        _ => return None,
    })
}

fn common(station: Station) -> &'static str {
    match station {
        Station::Embedding => "wte[token] + wpe[position], positions counted from 0",
        Station::LayerNorm1 => {
            "(x − mean) / √(variance + 1e-5) · weight + bias over each row; variance divided by C; ln_1 comes before attention"
        }
        Station::Query => "columns 0..C of x · c_attn.weight + bias, split into heads of D; weight is stored [in, out]",
        Station::Key => "columns C..2C of x · c_attn.weight + bias, split into heads of D; weight is stored [in, out]",
        Station::Value => {
            "columns 2C..3C of x · c_attn.weight + bias, split into heads of D; weight is stored [in, out]"
        }
        Station::QueryRotated | Station::KeyRotated => {
            "rotary embedding: channel i turns with channel i + D/2 by position · θ^(−2i/D)"
        }
        Station::CachedKeys => {
            "row start_pos + t of this layer's cache is the key of token t; earlier rows stay as they were"
        }
        Station::CachedValues => {
            "row start_pos + t of this layer's cache is the value of token t; earlier rows stay as they were"
        }
        Station::Scores => "q · k / √D for each head, over all N cached positions",
        Station::ScoresMasked => "−∞ where the attended position is later than the token's own, else the score itself",
        Station::Probabilities => "softmax over the attended positions of each row",
        Station::Merged => "Σ p · v of each head, heads side by side in their order",
        Station::AttentionOutput => "merged heads · c_proj.weight + bias; weight is stored [in, out]",
        Station::AttentionResidual => "x + attention output, x being the block's own input",
        Station::LayerNorm2 => "layer norm of the residual after attention, with ln_2's own weight and bias",
        Station::FeedForwardHidden => "x · c_fc.weight + bias, of width 4C",
        Station::Gelu => "½ · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))), the tanh form, not erf",
        Station::Gate => "ln_2's output · gate_projᵀ; weight is stored [out, in]",
        Station::Up => "ln_2's output · up_projᵀ; weight is stored [out, in]",
        Station::GatedProduct => "gate · sigmoid(gate) · up: the activation is on gate_proj's output, not on up_proj's",
        Station::FeedForwardOutput => "hidden · c_proj.weight + bias, back to width C",
        Station::Block => "h = x + attn(ln_1(x)), y = h + mlp(ln_2(h))",
        Station::BlockOutput => "every block once, in order, each on the output of the one before",
        Station::FinalLayerNorm => "ln_f once, on the last block's output",
        Station::Logits => "ln_f's output · wteᵀ: the embedding's own matrix, no bias",
        Station::SelectedLogits => "the logits' last row",
        Station::Argmax => "the index of the largest logit of the last row; the lowest where several are equal",
        Station::SoftmaxHalf => "softmax(logits / 0.5)",
        Station::SoftmaxOne => "softmax(logits / 1)",
        Station::SoftmaxTwo => "softmax(logits / 2)",
        Station::GeneratedIds => {
            "each chosen token is appended, computed at the next position with the cache, and counted; the prompt is not part"
        }
    }
}
