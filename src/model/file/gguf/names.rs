//! Hugging Face's names (without prefix) and llama.cpp's.

/// `h.3.mlp.c_fc.weight` and `layers.3.mlp.up_proj.weight` are `blk.3.ffn_up.weight`; a name that is none of a model's stays
/// as it is.
pub fn name_in_gguf(name: &str) -> String {
    let translate = |table: &[(&str, &str)], stem: &str| {
        table.iter().find(|(ours, _)| *ours == stem).map(|(_, theirs)| theirs.to_string())
    };
    let Some((stem, kind)) = name.rsplit_once('.') else { return name.into() };
    let in_block = stem.strip_prefix("h.").or_else(|| stem.strip_prefix("layers."));
    let theirs = match in_block.and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => translate(&IN_BLOCK, part).map(|part| format!("blk.{layer}.{part}")),
        None => translate(&OUTSIDE, stem),
    };
    theirs.map_or_else(|| name.into(), |theirs| format!("{theirs}.{kind}"))
}

const OUTSIDE: [(&str, &str); 6] = [
    ("wte", "token_embd"),
    ("wpe", "position_embd"),
    ("ln_f", "output_norm"),
    ("embed_tokens", "token_embd"),
    ("norm", "output_norm"),
    ("lm_head", "output"),
];

const IN_BLOCK: [(&str, &str); 15] = [
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
