//! A recipe model's `config.json`, as Hugging Face reads it.

use serde_json::{Value, json};

use super::Recipe;
use crate::model::configuration::{
    Configuration, Gpt2Configuration, LlamaArchitecture, LlamaConfiguration, RopeScaling,
};

pub fn text(recipe: &Recipe) -> String {
    let mut config = match recipe.configuration() {
        Configuration::Gpt2(configuration) => gpt2(configuration),
        Configuration::Llama(configuration) => llama(configuration),
    };
    let common = [
        ("vocab_size", json!(recipe.configuration().vocab_size())),
        ("bos_token_id", json!(recipe.configuration().bos_token_id())),
        ("eos_token_id", json!(recipe.configuration().eos_token_id())),
        ("tie_word_embeddings", json!(recipe.is_tied())),
        ("torch_dtype", json!("float32")),
        ("llorch_recipe_seed", json!(recipe.seed())),
    ];
    for (key, value) in common {
        config[key] = value;
    }
    format!("{config:#}\n")
}

fn gpt2(configuration: &Gpt2Configuration) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_layer": configuration.n_layer,
        "n_head": configuration.n_head,
        "n_embd": configuration.n_embd,
        "n_inner": configuration.n_inner,
        "n_ctx": configuration.n_ctx,
        "n_positions": configuration.n_ctx,
        "layer_norm_epsilon": configuration.layer_norm_epsilon,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    })
}

fn llama(configuration: &LlamaConfiguration) -> Value {
    let class = match configuration.architecture {
        LlamaArchitecture::Llama => "LlamaForCausalLM",
        LlamaArchitecture::Qwen2 => "Qwen2ForCausalLM",
    };
    let mut config = json!({
        "architectures": [class],
        "model_type": configuration.architecture.name(),
        "hidden_act": "silu",
        "num_hidden_layers": configuration.n_layer,
        "num_attention_heads": configuration.n_head,
        "num_key_value_heads": configuration.n_kv_head,
        "head_dim": configuration.head_size,
        "hidden_size": configuration.n_embd,
        "intermediate_size": configuration.n_inner,
        "max_position_embeddings": configuration.n_ctx,
        "rms_norm_eps": configuration.rms_norm_epsilon,
        "rope_theta": configuration.rope_theta,
        "rope_scaling": rope_scaling(configuration),
        "attention_dropout": 0.0,
    });
    if configuration.architecture == LlamaArchitecture::Llama {
        config["attention_bias"] = json!(configuration.qkv_bias);
    }
    config
}

/// The older form, which every version of transformers reads.
fn rope_scaling(configuration: &LlamaConfiguration) -> Value {
    match &configuration.rope_scaling {
        // Only GGUF has divisors, and a recipe has none.
        RopeScaling::None | RopeScaling::Divisors(_) => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": original_context,
        }),
    }
}
