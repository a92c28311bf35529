//! Real vocabularies, held against llama.cpp's own test vectors: `ggml-vocab-NAME.gguf` with `.inp` and `.out` beside it, as
//! they lie in the folder `models` of its source. `LLAMA_CPP_MODELS` says where that is; without it these are SKIPPED.

use std::fs;
use std::path::{Path, PathBuf};

use llorch::harness::Finding;
use llorch::model::file;
use llorch::model::tokenizer;

pub const TESTS: &[(&str, fn())] = &[
    ("vocabularies/gpt-2", || agree("gpt-2", "gguf-bpe")),
    ("vocabularies/qwen2", || agree("qwen2", "gguf-bpe")),
    ("vocabularies/llama-bpe", || agree("llama-bpe", "gguf-bpe")),
    ("vocabularies/llama-spm", || agree("llama-spm", "gguf-spm")),
    ("vocabularies/others_are_refused", others_are_refused),
];

fn folder() -> PathBuf {
    match std::env::var_os("LLAMA_CPP_MODELS") {
        Some(folder) => folder.into(),
        None => Finding::skipped(
            "llama.cpp's vocabularies",
            "set LLAMA_CPP_MODELS to the folder `models` of its source to have them compared",
        )
        .raise(),
    }
}

fn agree(name: &str, kind: &str) {
    let vectors = read_vectors(&folder(), name);
    let path = folder().join(format!("ggml-vocab-{name}.gguf"));
    let source = file::chat(&path).unwrap_or_else(|problem| panic!("{problem}")).tokenizer;
    let tokenizer = tokenizer::open(&source, []).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    assert_eq!(tokenizer.kind(), kind);
    let mut wrong = Vec::new();
    for (text, expected) in &vectors {
        let mut found = tokenizer.encode(text);
        if let Some(first) = tokenizer.first_token() {
            assert_eq!(found.remove(0), first);
        }
        if found != *expected {
            wrong.push(format!("{text:?}\n  is    {found:?}\n  and not {expected:?}"));
        }
        // Of SentencePiece's kind a text comes back with the blank that was put before it.
        let decoded = tokenizer.decode(&found);
        if decoded != *text && decoded.strip_prefix(' ') != Some(text) {
            wrong.push(format!("{text:?} comes back as {decoded:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} texts:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}

/// Texts and the ids that llama.cpp expects of itself, nothing put before them.
fn read_vectors(folder: &Path, name: &str) -> Vec<(String, Vec<u32>)> {
    let read = |ending: &str| {
        let path = folder.join(format!("ggml-vocab-{name}.gguf.{ending}"));
        fs::read_to_string(&path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
    };
    let texts = read("inp");
    let texts = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    let ids = |line: &str| line.split_whitespace().map(|id| id.parse().expect("an id")).collect::<Vec<u32>>();
    let vectors: Vec<(String, Vec<u32>)> = texts.zip(read("out").lines().map(ids)).collect();
    assert!(vectors.len() > 40, "{} vectors", vectors.len());
    vectors
}

/// A pre-split that is not implemented would give other tokens, and no error.
fn others_are_refused() {
    for name in ["falcon", "starcoder", "command-r", "deepseek-llm", "refact"] {
        let path = folder().join(format!("ggml-vocab-{name}.gguf"));
        let source = file::chat(&path).unwrap_or_else(|problem| panic!("{problem}")).tokenizer;
        let refused = tokenizer::open(&source, []).err().map(|problem| problem.to_string()).unwrap_or_default();
        assert!(refused.contains("pre-split"), "{name}: {refused}");
    }
}
