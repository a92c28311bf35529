//! Tokenizers: the same text back, two kinds in agreement, and vocabularies that must be refused.

use std::path::{Path, PathBuf};
use std::time::Instant;

use llorch::model::Gpt2Configuration;
use llorch::model::file::TokenizerSource;
use llorch::model::recipe::{Recipe, Size};
use llorch::model::tokenizer::{
    GgufBpe, HfJson, PreSplit, TokenKind, Tokenizer, TokenizerError, Utf8Stream, Vocabulary, open,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn())] = &[
    ("tokenizer/round_trip", round_trip),
    ("tokenizer/kinds_agree", kinds_agree),
    ("tokenizer/kinds_agree_on_every_character", kinds_agree_on_every_character),
    ("tokenizer/kinds_agree_on_long_runs", kinds_agree_on_long_runs),
    ("tokenizer/words_as_the_expression_cuts_them", words_as_the_expression_cuts_them),
    ("tokenizer/merges_as_the_plain_rule", merges_as_the_plain_rule),
    ("tokenizer/special_tokens", special_tokens),
    ("tokenizer/recipe", recipe_vocabulary),
    ("tokenizer/vocab_and_merges_files", vocab_and_merges_files),
    ("tokenizer/refuses_broken_vocabularies", refuses_broken_vocabularies),
    ("tokenizer/refuses_broken_files", refuses_broken_files),
    ("tokenizer/long_prompt_is_quick", long_prompt_is_quick),
    ("tokenizer/stream_any_split", stream_any_split),
    ("tokenizer/stream_drops_and_holds", stream_drops_and_holds),
];

/// Texts where splitting is easy to get wrong.
const CURIOUS: &[&str] = &[
    "",
    " ",
    "  ",
    "a",
    " a",
    "  a",
    "a ",
    "a  ",
    "a  b",
    "\n",
    "\n\n",
    "a\n\nb",
    " \n a",
    "\t\tx",
    "\r\n",
    "x\u{a0}y",
    "\u{3000}\u{3000}z",
    "\u{2028}q",
    "\u{85}w",
    "\u{1c}w",
    "it's",
    "IT'S",
    "'s's",
    " 's",
    "''s",
    "they'll've",
    "'re",
    "'r",
    "'",
    "don''t",
    "x'dy",
    "12345",
    " 12 345",
    "1a2b",
    "½²Ⅷ٣",
    "a½",
    "e\u{301}x",
    "\u{301}",
    "नमस्ते दुनिया",
    "สวัสดี",
    "👍🏽",
    "👨‍👩‍👧",
    "🇩🇪x",
    "❤️ a",
    "!?!",
    " !?",
    "a!b",
    "a_b",
    "x==y",
    "<|endoftext|>",
    "a<|endoftext|>b",
    "<|endoftext|><|endoftext|>",
    "<|endoftext",
    " <|pause|> ",
    "<|pause|>",
    "<|<|pause|>",
    "\u{0}",
    "\u{feff}a",
    "\u{fffd}",
    "\u{10ffff}",
    "Ġ",
    "Ċ",
    "ħ\u{ad}",
    "你好,世界。",
    "ﷺ",
    "ǅ",
    "ʰ",
    "\u{200b}",
    "\u{1680}a",
    "a\u{1680}\u{1680}b",
    "a\r\n \n\tb",
    " \n\n  x",
    "!\n\n a",
    "'S'T'RE'Ve'lL",
    "\tword",
    "\u{a0}word 1234 12",
];

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizer/tokenizer.json")
}

fn hf() -> HfJson {
    HfJson::from_tokenizer_json(&fixture(), &[]).expect("the fixture loads")
}

fn fixture_json() -> Value {
    serde_json::from_slice(&std::fs::read(fixture()).expect("the fixture is there")).expect("JSON")
}

/// A `tokenizer.json` as GGUF metadata would hold it.
fn vocabulary_of(file: &Value) -> Vocabulary {
    let word = |word: &Value| word.as_str().expect("a word").to_owned();
    let mut tokens: Vec<(u64, (String, i32))> = Vec::new();
    for (token, id) in file["model"]["vocab"].as_object().expect("vocab") {
        tokens.push((id.as_u64().expect("an id"), (token.clone(), 1)));
    }
    for added in file["added_tokens"].as_array().expect("added tokens") {
        let (id, kind) = (added["id"].as_u64().expect("an id"), if added["special"] == true { 3 } else { 4 });
        tokens.retain(|(known, _)| *known != id);
        tokens.push((id, (word(&added["content"]), kind)));
    }
    tokens.sort();
    let (tokens, kinds): (Vec<String>, Vec<i32>) = tokens.into_iter().map(|(_, token)| token).unzip();
    let merges = file["model"]["merges"].as_array().expect("merges").iter();
    let merges = merges.map(|pair| format!("{} {}", word(&pair[0]), word(&pair[1]))).collect();
    let eos = tokens.iter().position(|token| token == "<|endoftext|>").map(|id| id as u32).into_iter().collect();
    Vocabulary { tokens, merges, eos, ..Vocabulary::default() }.with_gguf_kinds(&kinds).expect("types")
}

fn vocabulary() -> Vocabulary {
    vocabulary_of(&fixture_json())
}

/// The tokenizer of a recipe model of this many tokens.
fn recipe_json(vocab_size: usize) -> String {
    let configuration = Gpt2Configuration { vocab_size, ..Size::Tiny.configuration() };
    Recipe::new(configuration, 0).expect("large enough").tokenizer_json()
}

fn gguf() -> GgufBpe {
    GgufBpe::new(&vocabulary(), Some("gpt-2")).expect("the fixture is sound")
}

/// Arbitrary Unicode, and mixtures of the characters where the splitting rule changes its mind.
fn texts() -> impl Strategy<Value = String> {
    let edges = prop::sample::select(vec![
        " ",
        "  ",
        "\n",
        "\t",
        "\u{a0}",
        "\u{3000}",
        "'",
        "'s",
        "'ll",
        "'re",
        "a",
        "The",
        "é",
        "e\u{301}",
        "1",
        "٣",
        "½",
        "!",
        "-",
        "👍🏽",
        "😀",
        "你",
        "न",
        "ม",
        "<|endoftext|>",
        "<|pause|>",
        "<|",
        "\u{fffd}",
        "\u{0}",
        "\u{200d}",
        "doesn't",
        " waits",
    ]);
    prop_oneof![any::<String>(), "\\PC{0,40}", vec(edges, 0..24).prop_map(|parts| parts.concat())]
}

fn round_trip() {
    let kinds: [Box<dyn Tokenizer>; 2] = [Box::new(hf()), Box::new(gguf())];
    for tokenizer in &kinds {
        for text in CURIOUS {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), *text, "{}", tokenizer.kind());
        }
    }
    proptest!(cases(400), |(text in texts())| {
        for tokenizer in &kinds {
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text.as_str(), "{}", tokenizer.kind());
        }
    });
}

fn kinds_agree() {
    let (hf, gguf) = (hf(), gguf());
    assert_eq!((hf.kind(), gguf.kind()), ("hf-json", "gguf-bpe"));
    assert_eq!(hf.vocab_size(), gguf.vocab_size());
    assert_eq!(hf.table().end_of_text(), gguf.table().end_of_text());
    for id in 0..hf.vocab_size() + 2 {
        assert_eq!(hf.token_bytes(id), gguf.token_bytes(id), "token {id}");
        assert_eq!(hf.table().spelling(id), gguf.table().spelling(id), "token {id}");
    }
    for text in CURIOUS {
        assert_eq!(hf.encode(text), gguf.encode(text), "{text:?}");
    }
    proptest!(cases(600), |(text in texts())| {
        prop_assert_eq!(hf.encode(&text), gguf.encode(&text));
    });
}

/// Each character of Unicode between letters, numbers, spaces and marks: its class shows in where the words end.
fn kinds_agree_on_every_character() {
    let every: Vec<char> = ('\0'..=char::MAX).collect();
    for rule in PreSplit::ALL {
        let expression = fancy_regex::Regex::new(rule.expression()).expect("a constant pattern");
        for block in every.chunks(4096) {
            let text: String = block.iter().flat_map(|c| [*c, 'a', *c, '1', *c, '!', *c, ' ', *c, *c]).collect();
            let words: Vec<&str> = rule.words(&text).collect();
            let matched: Vec<&str> =
                expression.find_iter(&text).map(|found| found.expect("no limit reached").as_str()).collect();
            assert!(words == matched, "{rule:?} from U+{:04X} on", block[0] as u32);
        }
    }
}

fn kinds_agree_on_long_runs() {
    let (hf, gguf) = (hf(), gguf());
    for run in [" ", "a", "th", "1", "!", "\n", "é", "😀", "'", " a", "\u{3000}"] {
        let text = run.repeat(32_768 / run.chars().count());
        for text in [text.clone(), text + "x"] {
            let ids = gguf.encode(&text);
            assert_eq!(gguf.decode(&ids), text);
            assert!(hf.encode(&text) == ids, "{run:?} repeated");
        }
    }
}

/// The hand-written splitters against a regular-expression engine with the expressions themselves.
fn words_as_the_expression_cuts_them() {
    for rule in PreSplit::ALL {
        let expression = fancy_regex::Regex::new(rule.expression()).expect("a constant pattern");
        let check = |text: &str| {
            let words: Vec<&str> = rule.words(text).collect();
            let matched: Vec<&str> =
                expression.find_iter(text).map(|found| found.expect("no limit reached").as_str()).collect();
            assert_eq!(words, matched, "{rule:?}");
            assert_eq!(words.concat(), text);
        };
        CURIOUS.iter().for_each(|text| check(text));
        proptest!(cases(600), |(text in texts())| check(&text));
    }
    let cut = |rule: PreSplit| rule.words("It'S 2024!\n\n x").collect::<Vec<_>>().join("|");
    assert_eq!(
        PreSplit::ALL.map(cut).join("  "),
        "It|'|S| 2024|!|\n\n| x  It|'|S| |2|0|2|4|!|\n\n| x  It|'S| |202|4|!\n\n| x  It|'S| |2|0|2|4|!\n\n| x"
    );
}

/// The heap against the rule as it is told: look at all pairs, merge the lowest rank, start again.
fn merges_as_the_plain_rule() {
    let vocabulary = vocabulary();
    let id = |token: &str| vocabulary.tokens.iter().position(|known| known == token).expect("a token") as u32;
    let merges: Vec<(&str, &str)> =
        vocabulary.merges.iter().map(|merge| merge.split_once(' ').expect("a pair")).collect();
    let plain = |word: &str| {
        let mut symbols: Vec<String> = word.chars().map(String::from).collect();
        loop {
            let rank = |pair: &[String]| merges.iter().position(|merge| *merge == (pair[0].as_str(), pair[1].as_str()));
            let best = symbols.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(pair)?, at))).min();
            match best {
                Some((_, at)) => {
                    let right = symbols.remove(at + 1);
                    symbols[at].push_str(&right);
                }
                None => return symbols.iter().map(|symbol| id(symbol)).collect::<Vec<u32>>(),
            }
        }
    };
    let gguf = gguf();
    proptest!(cases(200), |(word in "[a-eghinorstw]{1,14}")| {
        prop_assert_eq!(gguf.encode(&word), plain(&word));
    });
}

/// As Hugging Face with `add_special_tokens=False`: none added, those that are written recognised.
fn special_tokens() {
    let kinds: [Box<dyn Tokenizer>; 2] = [Box::new(hf()), Box::new(gguf())];
    for tokenizer in &kinds {
        assert_eq!(tokenizer.encode("<|endoftext|>"), [0]);
        assert_eq!(tokenizer.encode("<|pause|>"), [600]);
        assert!(tokenizer.encode("<|endoftext").len() > 1);
        assert!(tokenizer.is_end_of_text(0) && !tokenizer.is_end_of_text(600));
        assert_eq!(tokenizer.token_bytes(0), b"", "special: adds no text");
        assert_eq!(tokenizer.token_bytes(600), b"<|pause|>", "added by a user: text like any other");
        assert_eq!(tokenizer.token_bytes(601), b"", "outside the vocabulary");
        assert_eq!(tokenizer.decode(&[0, 600, 9999]), "<|endoftext|><|pause|>");
    }
}

fn recipe_vocabulary() {
    let json = recipe_json(1000);
    let hf = HfJson::from_bytes(json.as_bytes(), Path::new("recipe"), &[]).expect("sound");
    let gguf = GgufBpe::new(&vocabulary_of(&serde_json::from_str(&json).expect("JSON")), None).expect("sound");
    let text = "w1 w1 w12 w123 w99999 w\n w0é<|endoftext|> w742";
    let ids = gguf.encode(text);
    assert_eq!(ids[2..5], [257 + 1, 257 + 12, 257 + 123], "{ids:?}");
    assert_eq!(ids[ids.len() - 2..], [256, 999]);
    assert_eq!(gguf.decode(&ids), text);
    assert!(hf.is_end_of_text(256) && gguf.is_end_of_text(256));
    proptest!(cases(200), |(text in "( w[0-9]{1,4}|w|[ 0-9]|é){0,20}")| {
        let ids = gguf.encode(&text);
        prop_assert_eq!(gguf.decode(&ids), text.as_str());
        prop_assert_eq!(hf.encode(&text), ids);
    });
}

fn vocab_and_merges_files() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(open(&TokenizerSource::Absent, None), Err(TokenizerError::Absent)));
    let file = fixture_json();
    let merges = vocabulary().merges.join("\n");
    let source = TokenizerSource::VocabularyAndMerges {
        vocabulary: folder.path().join("vocab.json"),
        merges: folder.path().join("merges.txt"),
    };
    assert!(matches!(open(&source, None), Err(TokenizerError::Unreadable { .. })));
    std::fs::write(folder.path().join("vocab.json"), file["model"]["vocab"].to_string()).expect("written");
    std::fs::write(folder.path().join("merges.txt"), format!("#version: 0.2\n{merges}\n")).expect("written");
    let tokenizer = open(&source, None).expect("loads");
    assert_eq!(tokenizer.kind(), "hf-json");
    let whole = hf();
    assert!(tokenizer.is_end_of_text(0));
    for text in CURIOUS.iter().filter(|text| !text.contains("<|pause|>")) {
        assert_eq!(tokenizer.encode(text), whole.encode(text), "{text:?}");
    }
}

fn refuses_broken_vocabularies() {
    use TokenizerError::*;
    let refused = |breakage: &dyn Fn(&mut Vocabulary)| {
        let mut broken = vocabulary();
        breakage(&mut broken);
        GgufBpe::new(&broken, None).expect_err("refused")
    };
    assert!(matches!(refused(&|v| v.tokens.clear()), Empty));
    assert!(matches!(refused(&|v| v.kinds.truncate(600)), KindCount { tokens: 601, kinds: 600 }));
    assert!(matches!(
        refused(&|v| v.tokens[300] = v.tokens[400].clone()),
        DuplicateToken { first: 300, second: 400, .. }
    ));
    assert!(matches!(refused(&|v| v.tokens[300] = "two words".into()), NotBytes { id: 300, character: ' ', .. }));
    assert!(matches!(refused(&|v| v.tokens[1] = "!!!!!!".into()), MissingByte { byte: b'!', spelled: '!' }));
    assert!(matches!(refused(&|v| v.merges[3] = "noSpace".into()), MalformedMerge { rank: 3, .. }));
    assert!(matches!(refused(&|v| v.merges[3] = "a b c".into()), MalformedMerge { rank: 3, .. }));
    assert!(matches!(refused(&|v| v.merges[3] = " a".into()), MalformedMerge { rank: 3, .. }));
    assert!(
        matches!(refused(&|v| v.merges[3] = "qqq a".into()), UnknownInMerge { rank: 3, token, .. } if token == "qqq")
    );
    assert!(matches!(refused(&|v| v.merges[3] = "q x".into()), UnknownInMerge { rank: 3, token, .. } if token == "qx"));
    assert!(matches!(refused(&|v| v.merges[3] = v.merges[1].clone()), DuplicateMerge { first: 1, second: 3, .. }));
    assert!(matches!(refused(&|v| v.eos = vec![601]), IdOutOfRange { which: "eos", id: 601, tokens: 601 }));
    assert!(matches!(refused(&|v| v.bos = Some(u32::MAX)), IdOutOfRange { which: "bos", .. }));
    assert!(matches!(vocabulary().with_gguf_kinds(&[1; 7]), Err(KindCount { tokens: 601, kinds: 7 })));
    assert!(matches!(vocabulary().with_gguf_kinds(&[9; 601]), Err(UnknownKind { id: 0, kind: 9, .. })));
    assert!(matches!(GgufBpe::new(&vocabulary(), Some("falcon")), Err(Unsupported { what: "pre-split", .. })));
    let mut unused = vocabulary();
    unused.tokens.extend(["pad".to_owned(), "pad".to_owned()]);
    unused.kinds.extend([TokenKind::Unused; 2]);
    let padded = GgufBpe::new(&unused, None).expect("places without a meaning may share a name");
    assert_eq!((padded.vocab_size(), padded.token_bytes(602)), (603, &b""[..]));
}

fn refuses_broken_files() {
    use TokenizerError::*;
    let load = |file: &Value, eos: &[u32]| HfJson::from_bytes(file.to_string().as_bytes(), Path::new("t.json"), eos);
    let refused = |breakage: &dyn Fn(&mut Value)| {
        let mut broken = fixture_json();
        breakage(&mut broken);
        load(&broken, &[]).map(|_| ()).expect_err("refused")
    };
    // The crate itself panics on this one: the merged pair is longer than any token.
    let long = "waits".repeat(40);
    assert!(matches!(
        refused(&|f| {
            f["model"]["vocab"][&long] = json!(601);
            f["model"]["merges"][0] = json!([long, long]);
        }),
        UnknownInMerge { rank: 0, .. } | DuplicateId { .. }
    ));
    assert!(matches!(refused(&|f| f["model"]["merges"][2] = json!(["zzz", "a"])), UnknownInMerge { rank: 2, .. }));
    assert!(matches!(refused(&|f| f["model"]["merges"][2] = json!("a b c")), MalformedMerge { rank: 2, .. }));
    assert!(matches!(refused(&|f| f["model"]["vocab"]["!"] = json!(2)), DuplicateId { id: 2, .. }));
    assert!(matches!(refused(&|f| f["model"]["vocab"]["!"] = json!(4_000_000_000_u64)), SparseIds { .. }));
    assert!(matches!(refused(&|f| f["model"]["vocab"]["!"] = json!(1u64 << 40)), SparseIds { .. }));
    assert!(matches!(refused(&|f| f["model"]["vocab"]["!"] = json!(-1)), Malformed { .. }));
    assert!(matches!(
        refused(&|f| drop(f["model"]["vocab"].as_object_mut().and_then(|vocab| vocab.remove("!")))),
        MissingByte { byte: b'!', .. }
    ));
    assert!(matches!(refused(&|f| f["model"]["type"] = json!("Unigram")), Unsupported { .. } | Malformed { .. }));
    assert!(matches!(refused(&|f| f["model"]["dropout"] = json!(0.1)), Unsupported { what: "dropout", .. }));
    assert!(matches!(refused(&|f| f["decoder"] = json!(null)), Unsupported { what: "decoder", .. }));
    assert!(matches!(refused(&|f| f["decoder"] = json!({"type": "Fuse"})), Unsupported { what: "decoder", .. }));
    assert!(
        matches!(refused(&|f| f["added_tokens"][1]["id"] = json!(700)), Malformed { reason, .. } if reason.contains("700"))
    );
    assert!(matches!(refused(&|f| f["added_tokens"][1]["id"] = json!(5)), DuplicateId { id: 5, .. }));
    // A model may have more tokens than its tokenizer, and end its texts with one of them.
    let ends_beyond = load(&fixture_json(), &[601]).expect("an id that nothing spells");
    assert!(ends_beyond.is_end_of_text(601) && !ends_beyond.is_end_of_text(0) && ends_beyond.vocab_size() == 601);
    for bytes in [&b""[..], b"{", b"[]", b"{}", b"null", b"{\"model\":{}}", b"\xff\xfe", &[b'['; 5000]] {
        assert!(matches!(HfJson::from_bytes(bytes, Path::new("t.json"), &[]), Err(Malformed { .. })));
    }
    let nowhere = HfJson::from_tokenizer_json(Path::new("/nowhere/tokenizer.json"), &[]).err().expect("refused");
    assert!(nowhere.to_string().starts_with("/nowhere/tokenizer.json: "), "{nowhere}");
    let mut cutting = fixture_json();
    cutting["truncation"] = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    let text = "The quick brown fox jumps over the lazy dog.";
    assert_eq!(load(&cutting, &[]).expect("loads").encode(text), hf().encode(text), "a prompt is never cut");
}

/// A soft limit with much room: quadratic merging would take minutes.
fn long_prompt_is_quick() {
    let mut doubling = vocabulary_of(&serde_json::from_str(&recipe_json(257)).expect("JSON"));
    for length in (0..12).map(|power| 1usize << power) {
        doubling.tokens.push("a".repeat(2 * length));
        doubling.kinds.push(TokenKind::Normal);
        doubling.merges.push(format!("{0} {0}", "a".repeat(length)));
    }
    let doubling = GgufBpe::new(&doubling, None).expect("sound");
    assert_eq!(doubling.encode(&"a".repeat(32_768)), [268; 8], "one word of 32 768 characters, merged to the end");
    let cases: [(&dyn Tokenizer, String); 4] = [
        (&doubling, "a".repeat(32_768)),
        (&gguf(), "a".repeat(32_768)),
        (&gguf(), "The thread waits for 20 locks. ".repeat(1057)),
        (&hf(), "The thread waits for 20 locks. ".repeat(1057)),
    ];
    for (tokenizer, text) in cases {
        let started = Instant::now();
        let ids = tokenizer.encode(&text);
        let taken = started.elapsed();
        println!("    {}: {} characters, {} tokens: {taken:?}", tokenizer.kind(), text.len(), ids.len());
        assert!(taken.as_secs() < 2, "{taken:?}");
    }
}

fn stream_any_split() {
    let bytes = prop_oneof![
        any::<String>().prop_map(String::into_bytes),
        vec(any::<u8>(), 0..60),
        vec(
            prop::sample::select(vec![
                0x41, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80, 0xED, 0xA0, 0xFF, 0xEF, 0xBF, 0xBD
            ]),
            0..40
        ),
    ];
    proptest!(cases(600), |(bytes in bytes, cuts in vec(1usize..5, 1..20))| {
        let mut whole = String::new();
        Utf8Stream::default().push(&bytes, &mut whole);
        let (mut stream, mut pieces, mut rest) = (Utf8Stream::default(), String::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            stream.push(piece, &mut pieces);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&pieces, &whole);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            prop_assert_eq!(whole, text);
            prop_assert!(!stream.is_holding());
        } else {
            // What Rust would replace is dropped here, and nothing else.
            let kept: String = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
            prop_assert_eq!(whole, kept);
        }
    });
}

fn stream_drops_and_holds() {
    let mut stream = Utf8Stream::default();
    let mut text = String::new();
    stream.push(b"\xF0\x9F", &mut text);
    stream.push(b"\x98", &mut text);
    assert!(text.is_empty() && stream.is_holding());
    stream.push(b"\x80", &mut text);
    assert!(text == "😀" && !stream.is_holding());
    stream.push(b"a\xFFb\xC3(\xEF\xBF\xBDc\xE2\x82", &mut text);
    assert_eq!(text, "😀ab(\u{fffd}c");
    assert!(stream.is_holding());
}
