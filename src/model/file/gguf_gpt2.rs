//! A GPT-2 in GGUF: metadata to configuration and tokenizer, and llama.cpp's tensor names to Hugging Face's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{GgufTokenizer, HEAD, Plan, TokenizerSource};
use crate::model::configuration::Gpt2Configuration;
use crate::model::error::{ModelError, Problem};
use crate::model::weights::bytes::FileBytes;
use crate::model::weights::gguf::{self, Header, TensorEntry, Value, file_type_name};
use crate::model::weights::load::{Arrangement, Stored};

pub(super) fn plan(file: &Path) -> Result<Plan, ModelError> {
    FileBytes::map(file).and_then(plan_bytes).map_err(|problem| problem.of(file))
}

pub(super) fn plan_bytes(file: Arc<FileBytes>) -> Result<Plan, Problem> {
    let header = gguf::read(&file)?;
    check_architecture(&header)?;
    let mut found: HashMap<&str, &TensorEntry> = header.tensors.iter().map(|entry| (entry.name, entry)).collect();
    let tokenizer_source = read_tokenizer(&header)?;
    let configuration = read_configuration(&header, found.get("token_embd.weight").copied(), &tokenizer_source)?;

    let mut tensors = Vec::new();
    for (name, shape) in configuration.tensors() {
        let in_file = name_in_gguf(&name);
        let entry = found.remove(in_file.as_str()).ok_or(Problem::MissingTensor { tensor: in_file })?;
        tensors.push(stored(name, shape, entry, &file)?);
    }
    if let Some(head) = found.remove("output.weight") {
        let shape = vec![configuration.vocab_size, configuration.n_embd];
        tensors.push(stored(HEAD.into(), shape, head, &file)?);
    }
    let mut unused: Vec<String> = found.into_keys().map(String::from).collect();
    unused.sort();
    let quant_kind = header.unsigned("general.file_type")?.and_then(file_type_name).map(String::from);
    let name = header.string("general.name")?.filter(|name| !name.is_empty()).map(String::from);
    let end_of_text = configuration.eos_token_id.into_iter().collect();
    Ok(Plan { name, configuration: configuration.into(), end_of_text, tensors, quant_kind, tokenizer_source, unused })
}

fn check_architecture(header: &Header) -> Result<(), Problem> {
    const KEY: &str = "general.architecture";
    match header.string(KEY)? {
        None => return Err(Problem::MissingKey { key: KEY.into() }),
        Some("gpt2") => {}
        Some(name) => {
            let name = name.chars().take(60).collect();
            return Err(Problem::UnknownArchitecture { name });
        }
    }
    match header.unsigned("split.count")? {
        Some(count) if count > 1 => {
            Err(Problem::key("split.count", format!("is {count}: join the parts into one file")))
        }
        _ => Ok(()),
    }
}

fn read_configuration(
    header: &Header,
    embedding: Option<&TensorEntry>,
    tokenizer: &TokenizerSource,
) -> Result<Gpt2Configuration, Problem> {
    let size = |key: &str| -> Result<usize, Problem> {
        let key = format!("gpt2.{key}");
        let size = header.unsigned(&key)?.ok_or_else(|| Problem::MissingKey { key: key.clone() })?;
        usize::try_from(size).map_err(|_| Problem::Overflow { what: format!("`{key}`") })
    };
    let n_embd = size("embedding_length")?;
    let rows = embedding.and_then(|entry| entry.shape.first()).copied();
    let rows = rows.ok_or_else(|| Problem::MissingTensor { tensor: "token_embd.weight".into() })?;
    let tokens = match tokenizer {
        TokenizerSource::Gguf(tokenizer) => Some(tokenizer),
        _ => None,
    };
    if let Some(found) = tokens.map(|tokenizer| tokenizer.tokens.len() as u64).filter(|&found| found != rows) {
        let (key, other) = ("the number of tokens".into(), "token_embd.weight".into());
        return Err(Problem::KeysDisagree { key, found, other, expected: rows });
    }
    let epsilon_key = "gpt2.attention.layer_norm_epsilon";
    Gpt2Configuration {
        n_layer: size("block_count")?,
        n_head: size("attention.head_count")?,
        n_embd,
        n_inner: size("feed_forward_length")?,
        n_ctx: size("context_length")?,
        vocab_size: usize::try_from(rows).map_err(|_| Problem::Overflow { what: "the vocabulary".into() })?,
        layer_norm_epsilon: header
            .float(epsilon_key)?
            .ok_or_else(|| Problem::MissingKey { key: epsilon_key.into() })?,
        eos_token_id: tokens.and_then(|tokenizer| tokenizer.eos_token_id),
        bos_token_id: tokens.and_then(|tokenizer| tokenizer.bos_token_id),
    }
    .checked()
}

fn read_tokenizer(header: &Header) -> Result<TokenizerSource, Problem> {
    let model = match header.string("tokenizer.ggml.model")? {
        None | Some("none" | "no_vocab") => return Ok(TokenizerSource::Absent),
        Some(model) => model.to_string(),
    };
    const TOKENS: &str = "tokenizer.ggml.tokens";
    const TYPES: &str = "tokenizer.ggml.token_type";
    const MERGES: &str = "tokenizer.ggml.merges";
    for key in [TOKENS, TYPES, MERGES] {
        check_length(header, key)?;
    }
    let tokens = header.strings(TOKENS)?.ok_or_else(|| Problem::MissingKey { key: TOKENS.into() })?;
    let tokens: Vec<String> = tokens.map(String::from).collect();
    let token_types: Vec<i32> = match header.integers(TYPES)? {
        None => Vec::new(),
        Some(types) => types
            .map(i32::try_from)
            .collect::<Result<_, _>>()
            .map_err(|_| Problem::key(TYPES, "has a number beyond 32 bits"))?,
    };
    if !token_types.is_empty() && token_types.len() != tokens.len() {
        let (found, expected) = (token_types.len() as u64, tokens.len() as u64);
        return Err(Problem::KeysDisagree { key: TYPES.into(), found, other: TOKENS.into(), expected });
    }
    let merges = header.strings(MERGES)?;
    let id = |key: &str| -> Result<Option<u32>, Problem> {
        let Some(id) = header.unsigned(key)? else { return Ok(None) };
        match u32::try_from(id) {
            Ok(id) if (id as usize) < tokens.len() => Ok(Some(id)),
            _ => Err(Problem::OverLimit {
                what: format!("`{key}`"),
                found: id,
                limit: (tokens.len() as u64).saturating_sub(1),
            }),
        }
    };
    Ok(TokenizerSource::Gguf(GgufTokenizer {
        model,
        pre: header.string("tokenizer.ggml.pre")?.map(String::from),
        bos_token_id: id("tokenizer.ggml.bos_token_id")?,
        eos_token_id: id("tokenizer.ggml.eos_token_id")?,
        add_bos_token: header.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
        tokens,
        token_types,
        merges: merges.map(|merges| merges.map(String::from).collect()).unwrap_or_default(),
    }))
}

/// Longer than any vocabulary: refused before it is copied out of the file.
fn check_length(header: &Header, key: &str) -> Result<(), Problem> {
    const MAX_TOKENS: u64 = 1 << 22;
    match header.get(key).and_then(Value::as_array) {
        Some(array) if array.count > MAX_TOKENS => {
            Err(Problem::OverLimit { what: format!("the length of `{key}`"), found: array.count, limit: MAX_TOKENS })
        }
        _ => Ok(()),
    }
}

/// Hugging Face's name (without prefix) and llama.cpp's, for what stands outside the blocks and inside them.
const OUTSIDE: [(&str, &str); 3] = [("wte", "token_embd"), ("wpe", "position_embd"), ("ln_f", "output_norm")];
const IN_BLOCK: [(&str, &str); 6] = [
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];

/// `h.3.mlp.c_fc.weight` is `blk.3.ffn_up.weight`; a name that GPT-2 does not have stays as it is.
pub fn name_in_gguf(name: &str) -> String {
    let translate = |table: &[(&str, &str)], stem: &str| {
        table.iter().find(|(ours, _)| *ours == stem).map(|(_, theirs)| theirs.to_string())
    };
    let Some((stem, kind)) = name.rsplit_once('.') else { return name.into() };
    let theirs = match stem.strip_prefix("h.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => translate(&IN_BLOCK, part).map(|part| format!("blk.{layer}.{part}")),
        None => translate(&OUTSIDE, stem),
    };
    theirs.map_or_else(|| name.into(), |theirs| format!("{theirs}.{kind}"))
}

/// The matrices of linear layers: `[in, out]` at Hugging Face, `[out, in]` in GGUF.
pub fn is_transposed(name: &str) -> bool {
    [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"].iter().any(|ending| name.ends_with(ending))
}

fn stored(name: String, shape: Vec<usize>, entry: &TensorEntry, file: &Arc<FileBytes>) -> Result<Stored, Problem> {
    let transposed = is_transposed(&name);
    let mut in_file: Vec<u64> = entry.shape.clone();
    if transposed {
        in_file.reverse();
    }
    if !in_file.iter().copied().eq(shape.iter().map(|&size| size as u64)) {
        return Err(Problem::Shape { tensor: entry.name.into(), expected: shape, found: in_file });
    }
    let Some(element) = entry.stored.element else {
        return Err(Problem::UnsupportedElement { tensor: entry.name.into(), element: entry.stored.name.into() });
    };
    // Inside the file, so inside the address space.
    let range = entry.range.start as usize..entry.range.end as usize;
    let arrangement = if transposed { Arrangement::Transposed } else { Arrangement::AsHeld };
    Ok(Stored { name, shape, element, arrangement, file: file.clone(), range })
}
