//! Vocabularies of SentencePiece's kind: GGUF's scores against the merges of a `tokenizer.json`, and what must be refused.

use std::path::Path;

use llorch::model::file::{GgufTokenizer, TokenizerSource};
use llorch::model::tokenizer::{HfJson, Tokenizer, open};
use proptest::prelude::*;
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn())] = &[
    ("tokenizer_fallback/kinds_agree", kinds_agree),
    ("tokenizer_fallback/first_token_and_blank", first_token_and_blank),
    ("tokenizer_fallback/pieces", pieces),
    ("tokenizer_fallback/long_prompt_is_quick", long_prompt_is_quick),
    ("tokenizer_fallback/refused", refused),
];

const WORDS: [&str; 22] = [
    "▁", "h", "e", "l", "o", "w", "r", "d", ".", "é", "he", "ll", "llo", "hello", "▁hello", "▁w", "or", "▁wor", "ld",
    "▁world", "▁▁", "▁h",
];
const FIRST_WORD: usize = 3 + 256;

/// `<unk>`, `<s>`, `</s>`, the bytes, then the words, the later the less likely.
fn metadata() -> GgufTokenizer {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(WORDS.map(str::to_owned));
    let kind = |id: usize| match id {
        0 => 2,
        1 | 2 => 3,
        3..FIRST_WORD => 6,
        _ => 1,
    };
    GgufTokenizer {
        model: "llama".into(),
        pre: None,
        token_types: (0..tokens.len()).map(kind).collect(),
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        tokens,
        merges: Vec::new(),
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        add_bos_token: None,
        add_space_prefix: None,
    }
}

/// The same as Hugging Face writes it: every way to make a token of two others, in the order of the scores.
fn tokenizer_json() -> Value {
    let metadata = metadata();
    let vocab: serde_json::Map<String, Value> =
        metadata.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let mut merges = Vec::new();
    for word in WORDS {
        for (cut, _) in word.char_indices().skip(1) {
            let (left, right) = word.split_at(cut);
            if WORDS.contains(&left) && WORDS.contains(&right) {
                merges.push(json!([left, right]));
            }
        }
    }
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    })
}

fn gguf() -> std::sync::Arc<dyn Tokenizer> {
    open(&TokenizerSource::Gguf(metadata()), []).expect("sound")
}

fn hf(file: &Value) -> Result<HfJson, String> {
    HfJson::from_bytes(file.to_string().as_bytes(), Path::new("a file"), &[2]).map_err(|problem| problem.to_string())
}

fn id(word: &str) -> u32 {
    (FIRST_WORD + WORDS.iter().position(|known| *known == word).expect("a word")) as u32
}

fn kinds_agree() {
    let (gguf, hf) = (gguf(), hf(&tokenizer_json()).expect("sound"));
    assert_eq!((gguf.kind(), hf.kind()), ("gguf-spm", "hf-json"));
    assert_eq!((gguf.first_token(), hf.first_token()), (Some(1), Some(1)));
    for token in 0..gguf.vocab_size() + 2 {
        assert_eq!(gguf.token_bytes(token), hf.token_bytes(token), "token {token}");
    }
    let texts = prop::collection::vec(
        prop::sample::select(vec!["hello", " world", "he", "l", "o", " ", "  ", "é", "☃", "\n", "</s>", "x", "▁", "."]),
        0..24,
    );
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(parts in texts)| {
        let text = parts.concat();
        prop_assert_eq!(gguf.encode(&text), hf.encode(&text), "{:?}", text);
    });
}

fn first_token_and_blank() {
    assert_eq!(gguf().encode("hello world"), [1, id("▁hello"), id("▁world")]);
    assert_eq!(gguf().encode("hello</s>hello"), [1, id("▁hello"), 2, id("▁hello")]);
    let without = GgufTokenizer { add_bos_token: Some(false), add_space_prefix: Some(false), ..metadata() };
    let without = open(&TokenizerSource::Gguf(without), []).expect("sound");
    assert_eq!((without.encode("hello world"), without.first_token()), (vec![id("hello"), id("▁world")], None));
}

fn pieces() {
    let tokenizer = gguf();
    assert_eq!(tokenizer.encode("\n☃")[2..], [3 + 0x0A, 3 + 0xE2, 3 + 0x98, 3 + 0x83]);
    assert_eq!(tokenizer.token_bytes(id("▁world")), b" world");
    assert_eq!((tokenizer.token_bytes(3 + 0xE2), tokenizer.token_bytes(2)), (&b"\xE2"[..], &b""[..]));
    assert_eq!(tokenizer.decode(&tokenizer.encode("hello ☃")[1..]), " hello ☃");
    assert!(tokenizer.is_end_of_text(2) && !tokenizer.is_end_of_text(1));
}

fn long_prompt_is_quick() {
    let tokenizer = gguf();
    let began = std::time::Instant::now();
    for text in ["l".repeat(100_000), " ".repeat(100_000), "hello ".repeat(20_000)] {
        assert!(tokenizer.encode(&text).len() > 10_000);
    }
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

/// A change, and a part of what is said of it.
type Broken<T> = (fn(&mut T), &'static str);

fn refused() {
    let with = |change: fn(&mut GgufTokenizer)| {
        let mut metadata = metadata();
        change(&mut metadata);
        open(&TokenizerSource::Gguf(metadata), []).err().map(|problem| problem.to_string()).unwrap_or_default()
    };
    let broken: [Broken<GgufTokenizer>; 7] = [
        (|one| one.scores.truncate(280), "the vocabulary has 281 tokens and 280 scores"),
        (|one| one.scores[260] = f32::NAN, "token 260 (\"h\") has the score NaN"),
        (|one| one.token_types[10] = 1, "no token stands for the single byte 0x07"),
        (|one| one.token_types[260] = 6, "token 260 (\"h\") is said to be a byte"),
        (|one| one.token_types[260] = 7, "has the unknown type 7"),
        (|one| one.tokens[261] = "h".into(), "token \"h\" has two ids"),
        (|one| one.model = "t5".into(), "tokenizer model \"t5\" is not supported (supported: gpt2 and llama)"),
    ];
    for (change, said) in broken {
        assert!(with(change).contains(said), "{said}: {}", with(change));
    }
    let with = |change: fn(&mut Value)| {
        let mut file = tokenizer_json();
        change(&mut file);
        hf(&file).err().unwrap_or_default()
    };
    assert_eq!(with(|_| {}), "");
    let broken: [Broken<Value>; 4] = [
        (|file| file["normalizer"]["normalizers"][1]["content"] = "▁▁▁▁".into(), "normalizer"),
        (|file| file["pre_tokenizer"] = json!({"type": "Whitespace"}), "pre-tokenizer"),
        (|file| file["model"]["merges"][0] = json!(["h", "x"]), "which is no token"),
        (|file| file["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([9999]), "adds token 9999"),
    ];
    for (change, said) in broken {
        assert!(with(change).contains(said), "{said}: {}", with(change));
    }
}
