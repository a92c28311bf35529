//! The tokenizer of a recipe model: ids 0–255 are the bytes in order, 256 is `<|endoftext|>`, and from 257 on come the words
//! ` w0`, ` w1`, … up to the vocabulary's end. There are no merges: GPT-2's pre-split would keep the letter and the digits of a
//! word apart, so words are *added tokens*, found in the text before it is split, the longest first.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::model::tokenizer::alphabet::CHARACTERS;

pub const END_OF_TEXT: u32 = 256;
pub const FIRST_WORD: u32 = 257;

/// As the vocabulary writes them: bytes in GPT-2's byte-level alphabet, the others as they are.
pub fn tokens(vocab_size: usize) -> impl Iterator<Item = String> {
    let words = (0..vocab_size.saturating_sub(FIRST_WORD as usize)).map(|number| format!(" w{number}"));
    CHARACTERS.iter().map(|symbol| symbol.to_string()).chain(["<|endoftext|>".to_string()]).chain(words)
}

/// The text of a `tokenizer.json`.
pub fn tokenizer_json(vocab_size: usize) -> String {
    let vocabulary: serde_json::Map<String, Value> =
        CHARACTERS.iter().enumerate().map(|(id, symbol)| (symbol.to_string(), json!(id))).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    // Fifty thousand added tokens as a tree of values would take longer than all the rest of a small model.
    let mut added = String::new();
    for (id, content) in tokens(vocab_size).enumerate().skip(END_OF_TEXT as usize) {
        let special = id == END_OF_TEXT as usize;
        let separator = if special { "" } else { ",\n" };
        let _infallible = write!(
            added,
            "{separator}    {{\"id\": {id}, \"content\": \"{content}\", \"single_word\": false, \"lstrip\": false, \
             \"rstrip\": false, \"normalized\": false, \"special\": {special}}}"
        );
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocabulary, "merges": [],
    });
    format!(
        "{{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n{added}\n  ],\n  \
         \"normalizer\": null,\n  \"pre_tokenizer\": {byte_level},\n  \"post_processor\": null,\n  \
         \"decoder\": {byte_level},\n  \"model\": {model}\n}}\n"
    )
}
