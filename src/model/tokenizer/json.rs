//! The part of `tokenizer.json` that decides which ids there are and what they spell.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use super::fallback::{BLANK, byte_of};
use super::vocabulary::TokenKind;
use super::{TokenizerError, Vocabulary};

#[derive(Debug, Deserialize)]
pub struct HfFile {
    #[serde(default)]
    pub added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    model: Model,
}

#[derive(Debug, Deserialize)]
pub struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub special: bool,
}

#[derive(Debug, Deserialize)]
struct Model {
    /// Absent in old files.
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: VocabularyMap,
    merges: Vec<HfMerge>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    /// What is no token is spelled in bytes, `<0x0A>`: a vocabulary of SentencePiece's kind.
    #[serde(default)]
    byte_fallback: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum HfMerge {
    Pair(String, String),
    Line(String),
}

/// The first step of a pipeline that is none of these, or that removes text: steps that write text anew can turn a word of
/// a prompt into gigabytes.
fn refused_step(step: &Value, steps: &str, known: &[&str]) -> Option<String> {
    if step.is_null() {
        return None;
    }
    match step.get("type").and_then(Value::as_str) {
        Some("Sequence") => {
            step.get(steps).and_then(Value::as_array)?.iter().find_map(|step| refused_step(step, steps, known))
        }
        Some(kind) if !known.contains(&kind) => Some(kind.to_owned()),
        Some(_) if step.get("behavior").is_some_and(|behavior| behavior == "Removed") => {
            Some("Split, Removed".to_owned())
        }
        Some(_) => None,
        None => Some("without a type".to_owned()),
    }
}

impl HfFile {
    /// Tokens spell bytes in SentencePiece's way, and not in the byte-level alphabet.
    pub fn falls_back_to_bytes(&self) -> bool {
        self.model.byte_fallback
    }

    /// Only a BPE without chance or affixes, byte-level or falling back to bytes, gives back the text that went in.
    pub fn refuse_what_changes_text(&self) -> Result<(), TokenizerError> {
        let unsupported = |what, found: &str, supported| {
            Err(TokenizerError::Unsupported { what, found: found.to_owned(), supported })
        };
        let model = &self.model;
        if let Some(kind) = model.kind.as_deref().filter(|kind| *kind != "BPE") {
            return unsupported("tokenizer model", kind, "BPE");
        }
        if let Some(dropout) = model.dropout.filter(|dropout| *dropout != 0.0) {
            return unsupported("dropout", &dropout.to_string(), "none: the same text has the same tokens");
        }
        let affixes = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
        if let Some(affix) = affixes.into_iter().flatten().find(|affix| !affix.is_empty()) {
            return unsupported("affix", affix, "none");
        }
        if model.byte_fallback {
            return self.refuse_other_blanks();
        }
        let decoder = self.decoder.as_ref().and_then(|decoder| decoder.get("type")?.as_str());
        if decoder != Some("ByteLevel") {
            return unsupported("decoder", decoder.unwrap_or("none"), "ByteLevel");
        }
        if let Some(kind) = self.normalizer.as_ref().and_then(|step| refused_step(step, "normalizers", &["NFC"])) {
            return unsupported("normalizer", &kind, "none, or NFC: others write another text");
        }
        let splitters = ["ByteLevel", "Split", "Digits"];
        if let Some(kind) = self.pre_tokenizer.as_ref().and_then(|step| refused_step(step, "pretokenizers", &splitters))
        {
            return unsupported("pre-tokenizer", &kind, "ByteLevel, Digits, and Split that removes nothing");
        }
        Ok(())
    }

    /// With a fall-back to bytes: blanks become `▁` and back, one may be put before the text, and nothing else changes.
    fn refuse_other_blanks(&self) -> Result<(), TokenizerError> {
        let blank = |step: &Value, key: &str| step.get(key).is_some_and(|text| text == BLANK);
        let is_known = |step: &Value| match step.get("type").and_then(Value::as_str).unwrap_or("none") {
            "Prepend" => blank(step, "prepend"),
            "Replace" => step["pattern"]["String"] == " " && blank(step, "content"),
            "Metaspace" => blank(step, "replacement"),
            "NFC" => true,
            _ => false,
        };
        for (what, steps, list) in
            [("normalizer", &self.normalizer, "normalizers"), ("pre-tokenizer", &self.pre_tokenizer, "pretokenizers")]
        {
            let Some(step) = steps else { continue };
            let inner = step.get(list).and_then(Value::as_array);
            let each = inner.map_or(std::slice::from_ref(step), Vec::as_slice);
            if let Some(other) = each.iter().find(|step| !step.is_null() && !is_known(step)) {
                let found: String = other.to_string().chars().take(80).collect();
                return Err(TokenizerError::Unsupported {
                    what,
                    found,
                    supported: "blanks to ▁, with a fall-back to bytes",
                });
            }
        }
        Ok(())
    }

    pub fn vocabulary(&self) -> Result<Vocabulary, TokenizerError> {
        let mut vocabulary = Vocabulary::default();
        let model = self.model.vocab.0.iter().map(|(token, id)| (token.as_str(), *id));
        let known: HashSet<(&str, u64)> = model.clone().collect();
        let added = self.added_tokens.iter().map(|token| (token.content.as_str(), u64::from(token.id)));
        place(&mut vocabulary, model.chain(added.filter(|entry| !known.contains(entry))))?;
        for token in &self.added_tokens {
            vocabulary.kinds[token.id as usize] =
                if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        }
        if self.model.byte_fallback {
            for (token, kind) in vocabulary.tokens.iter().zip(&mut vocabulary.kinds) {
                if *kind == TokenKind::Normal && byte_of(token).is_some() {
                    *kind = TokenKind::Byte;
                }
            }
        }
        let line = |merge: &HfMerge| match merge {
            HfMerge::Pair(left, right) => format!("{left} {right}"),
            HfMerge::Line(line) => line.clone(),
        };
        vocabulary.merges = self.model.merges.iter().map(line).collect();
        Ok(vocabulary)
    }
}

/// Puts tokens at their ids; ids that no token has are left unused, as long as there are fewer of them than tokens.
pub fn place<'a>(
    vocabulary: &mut Vocabulary,
    tokens: impl Iterator<Item = (&'a str, u64)> + Clone,
) -> Result<(), TokenizerError> {
    let count = tokens.clone().count();
    let highest = tokens.clone().map(|(_, id)| id).max().ok_or(TokenizerError::Empty)?;
    if highest >= 2 * count as u64 {
        return Err(TokenizerError::SparseIds { highest, tokens: count });
    }
    vocabulary.tokens = vec![String::new(); highest as usize + 1];
    vocabulary.kinds = vec![TokenKind::Unused; highest as usize + 1];
    for (token, id) in tokens {
        let index = id as usize;
        if vocabulary.kinds[index] != TokenKind::Unused {
            return Err(TokenizerError::DuplicateId {
                id: id as u32,
                first: vocabulary.tokens[index].clone(),
                second: token.to_owned(),
            });
        }
        vocabulary.tokens[index] = token.to_owned();
        vocabulary.kinds[index] = TokenKind::Normal;
    }
    Ok(())
}

impl Vocabulary {
    /// The same vocabulary as a `tokenizer.json`, with GPT-2's splitting.
    pub fn to_tokenizer_json(&self) -> Value {
        let entries = || (0u32..).zip(&self.tokens).filter(|(id, _)| self.kind(*id) != TokenKind::Unused);
        let vocab: serde_json::Map<String, Value> = entries().map(|(id, token)| (token.clone(), id.into())).collect();
        let added: Vec<Value> = entries()
            .filter(|(id, _)| self.kind(*id).is_literal())
            .map(|(id, token)| {
                json!({
                    "id": id, "content": token, "special": self.kind(id) == TokenKind::Control,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        });
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": byte_level,
            "post_processor": null,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": self.merges,
            },
        })
    }
}

/// Token and id in the order of the file, so that a token named twice is seen.
#[derive(Debug)]
pub struct VocabularyMap(pub Vec<(String, u64)>);

impl<'de> Deserialize<'de> for VocabularyMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VocabularyMap, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = VocabularyMap;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of tokens and their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VocabularyMap, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(VocabularyMap(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
