//! In whose words a station is told. The tensors of a capture have GPT-2's names, whoever computed them; a person who looks at
//! a Llama or a Qwen2 is told in the names of that model's own code.

use std::borrow::Cow;

use crate::layers::Station;
use crate::model::Configuration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Words {
    #[default]
    Gpt2,
    /// And Qwen2.
    Llama,
}

impl From<&Configuration> for Words {
    fn from(configuration: &Configuration) -> Words {
        match configuration {
            Configuration::Gpt2(_) => Words::Gpt2,
            Configuration::Llama(_) => Words::Llama,
        }
    }
}

/// GPT-2's names in the texts that are told of every model, and what the same is called in a Llama; a longer name comes before
/// one that is a part of it.
const NAMES: [(&str, &str); 8] = [
    ("attn.c_proj", "o_proj"),
    ("mlp.c_proj", "down_proj"),
    (" (c_attn)", ""),
    ("ln_1", "input_layernorm"),
    ("ln_2", "post_attention_layernorm"),
    ("ln_f", "model.norm"),
    ("wte", "embed_tokens"),
    ("embeddingᵀ", "embed_tokensᵀ"),
];

impl Words {
    /// Of a capture: some stations only one family has, and else its manifest says whose it is.
    pub fn of(architecture: &str, mut stations: impl Iterator<Item = Station>) -> Words {
        use Station::{Gate, GatedProduct, KeyRotated, QueryRotated, Up};
        let is_llamas = |station| matches!(station, QueryRotated | KeyRotated | Gate | Up | GatedProduct);
        if matches!(architecture, "llama" | "qwen2") || stations.any(is_llamas) { Words::Llama } else { Words::Gpt2 }
    }

    /// A text of the catalogue.
    pub fn tell(self, text: &str) -> Cow<'_, str> {
        match self {
            Words::Gpt2 => Cow::Borrowed(text),
            Words::Llama => NAMES.iter().fold(Cow::Borrowed(text), |text, (name, own)| match text.contains(name) {
                true => Cow::Owned(text.replace(name, own)),
                false => text,
            }),
        }
    }

    /// What the model calls a station whose tensor has another model's name.
    pub fn own_name(self, station: Station) -> Option<&'static str> {
        match (self, station) {
            (Words::Gpt2, _) => None,
            (Words::Llama, Station::Embedding) => Some("embed_tokens"),
            (Words::Llama, Station::LayerNorm1) => Some("input_layernorm"),
            (Words::Llama, Station::AttentionOutput) => Some("o_proj"),
            (Words::Llama, Station::LayerNorm2) => Some("post_attention_layernorm"),
            (Words::Llama, Station::FeedForwardOutput) => Some("down_proj"),
            (Words::Llama, Station::FinalLayerNorm) => Some("model.norm"),
            (Words::Llama, Station::Logits) => Some("lm_head"),
            (Words::Llama, _) => None,
        }
    }

    /// What a station is.
    pub fn title(self, station: Station) -> &'static str {
        match (self, station) {
            (Words::Llama, Station::Embedding) => "token embedding",
            (Words::Llama, Station::LayerNorm1) => "RMSNorm before attention, input_layernorm",
            (Words::Llama, Station::AttentionOutput) => "attention output, o_proj",
            (Words::Llama, Station::LayerNorm2) => "RMSNorm before the feed-forward layer, post_attention_layernorm",
            (Words::Llama, Station::FeedForwardOutput) => "feed-forward output, down_proj",
            (Words::Llama, Station::FinalLayerNorm) => "last RMSNorm, model.norm",
            (_, Station::Embedding) => "token plus position embedding",
            (_, Station::LayerNorm1) => "layer norm ln_1",
            (_, Station::Query) => "queries",
            (_, Station::Key) => "keys",
            (_, Station::Value) => "values",
            (_, Station::QueryRotated) => "queries after rotary embedding",
            (_, Station::KeyRotated) => "keys after rotary embedding",
            (_, Station::CachedKeys) => "cached keys",
            (_, Station::CachedValues) => "cached values",
            (_, Station::Scores) => "scaled attention scores",
            (_, Station::ScoresMasked) => "masked attention scores",
            (_, Station::Probabilities) => "attention probabilities",
            (_, Station::Merged) => "heads merged, before the output projection",
            (_, Station::AttentionOutput) => "attention output",
            (_, Station::AttentionResidual) => "residual after attention",
            (_, Station::LayerNorm2) => "layer norm ln_2",
            (_, Station::FeedForwardHidden) => "feed-forward hidden layer, c_fc",
            (_, Station::Gelu) => "GELU output",
            (_, Station::Gate) => "feed-forward gate, gate_proj",
            (_, Station::Up) => "feed-forward hidden layer, up_proj",
            (_, Station::GatedProduct) => "gated product, silu(gate) · up",
            (_, Station::FeedForwardOutput) => "feed-forward output, c_proj",
            (_, Station::Block | Station::BlockOutput) => "output of the block",
            (_, Station::FinalLayerNorm) => "final layer norm ln_f",
            (_, Station::Logits) => "logits",
            (_, Station::SelectedLogits) => "logits of the last position",
            (_, Station::Argmax) => "the most likely token",
            (_, Station::SoftmaxHalf) => "probabilities at temperature 0.5",
            (_, Station::SoftmaxOne) => "probabilities at temperature 1",
            (_, Station::SoftmaxTwo) => "probabilities at temperature 2",
            (_, Station::GeneratedIds) => "generated token ids",
        }
    }
}
