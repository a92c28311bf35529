//! What GGUF metadata says about the tokenizer.

use super::super::{GgufTokenizer, TokenizerSource};
use crate::model::error::Problem;
use crate::model::weights::gguf::{Header, Value};

pub(super) fn read(header: &Header) -> Result<TokenizerSource, Problem> {
    let model = match header.string("tokenizer.ggml.model")? {
        None | Some("none" | "no_vocab") => return Ok(TokenizerSource::Absent),
        Some(model) => model.to_string(),
    };
    const TOKENS: &str = "tokenizer.ggml.tokens";
    const TYPES: &str = "tokenizer.ggml.token_type";
    const MERGES: &str = "tokenizer.ggml.merges";
    const SCORES: &str = "tokenizer.ggml.scores";
    for key in [TOKENS, TYPES, MERGES, SCORES] {
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
        add_bos_token: header.boolean("tokenizer.ggml.add_bos_token")?,
        add_space_prefix: header.boolean("tokenizer.ggml.add_space_prefix")?,
        scores: header.floats(SCORES)?.map(Iterator::collect).unwrap_or_default(),
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
