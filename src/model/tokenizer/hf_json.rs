//! `hf-json`: BPE, byte-level or with a fall-back to bytes, from Hugging Face's files, encoded by the `tokenizers` crate.
//!
//! The file is read twice: into a [`Vocabulary`], which is checked by the same rules as GGUF's (the crate panics on some
//! merges and renumbers added tokens in silence), and then by the crate, which owns normalising, splitting and merging.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::fallback;
use super::json::{self, HfFile};
use super::vocabulary::{Checked, TokenKind};
use super::{TokenTable, Tokenizer, TokenizerError, Vocabulary};

/// The token that ends a text where `config.json` names none.
const END_OF_TEXT: &str = "<|endoftext|>";

pub struct HfJson {
    inner: tokenizers::Tokenizer,
    table: TokenTable,
    byte_tokens: [u32; 256],
    /// What the file's post-processor puts in front of every text.
    first: Option<u32>,
}

impl HfJson {
    /// `eos` are the ids that `config.json` names; where it names none, `<|endoftext|>` ends a text.
    pub fn from_tokenizer_json(path: &Path, eos: &[u32]) -> Result<HfJson, TokenizerError> {
        HfJson::from_bytes(&read(path)?, path, eos)
    }

    /// `path` is for messages only.
    pub fn from_bytes(bytes: &[u8], path: &Path, eos: &[u32]) -> Result<HfJson, TokenizerError> {
        let malformed = |reason: String| TokenizerError::Malformed { path: path.to_owned(), reason };
        let file: HfFile = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        file.refuse_what_changes_text()?;
        let mut vocabulary = file.vocabulary()?;
        // A model may have more tokens than its tokenizer, and end its texts with one of those.
        let (known, beyond): (Vec<u32>, Vec<u32>) =
            eos.iter().partition(|id| (**id as usize) < vocabulary.tokens.len());
        vocabulary.eos = known;
        if eos.is_empty() {
            vocabulary.eos.extend(file.added_tokens.iter().filter(|t| t.content == END_OF_TEXT).map(|t| t.id));
        }
        let (mut table, byte_tokens) = match file.falls_back_to_bytes() {
            true => {
                vocabulary.check_merges()?;
                fallback::table(&vocabulary)?
            }
            false => {
                let Checked { table, byte_tokens, .. } = vocabulary.check()?;
                (table, byte_tokens)
            }
        };
        table.also_end_with(&beyond);

        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        for token in &file.added_tokens {
            let given = inner.token_to_id(&token.content);
            if given != Some(token.id) {
                return Err(malformed(format!(
                    "the added token {:?} has id {}, and its place makes it {given:?}",
                    token.content, token.id
                )));
            }
        }
        // A prompt is never cut and never filled up.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| malformed(error.to_string()))?;
        let around = inner.encode_fast("", true).map_err(|error| malformed(error.to_string()))?;
        if let Some(id) = around.get_ids().iter().find(|id| **id >= table.len()) {
            return Err(malformed(format!("the post-processor adds token {id}, and there are {} tokens", table.len())));
        }
        let first = around.get_ids().first().copied();
        Ok(HfJson { inner, table, byte_tokens, first })
    }

    pub fn from_vocabulary_and_merges(vocabulary: &Path, merges: &Path, eos: &[u32]) -> Result<HfJson, TokenizerError> {
        let malformed = |reason: String| TokenizerError::Malformed { path: vocabulary.to_owned(), reason };
        let pairs: json::VocabularyMap =
            serde_json::from_slice(&read(vocabulary)?).map_err(|error| malformed(error.to_string()))?;
        let lines = String::from_utf8(read(merges)?)
            .map_err(|error| TokenizerError::Malformed { path: merges.to_owned(), reason: error.to_string() })?;
        let mut built = Vocabulary::default();
        json::place(&mut built, pairs.0.iter().map(|(token, id)| (token.as_str(), *id)))?;
        built.merges =
            lines.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).map(str::to_owned).collect();
        built.eos = eos.iter().copied().filter(|id| (*id as usize) < built.tokens.len()).collect();
        if eos.is_empty() {
            built.eos.extend(built.tokens.iter().position(|token| token == END_OF_TEXT).map(|id| id as u32));
        }
        for id in &built.eos {
            // These two files cannot say which tokens are special; the one that ends a text is.
            if let Some(kind) = built.kinds.get_mut(*id as usize) {
                *kind = TokenKind::Control;
            }
        }
        built.check()?;
        let whole: Value = built.to_tokenizer_json();
        let ends = if eos.is_empty() { &built.eos } else { eos };
        HfJson::from_bytes(whole.to_string().as_bytes(), vocabulary, ends)
    }
}

/// A whole file, if it is a regular one of a size that a vocabulary can have.
fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    const MAX_BYTES: u64 = 128 << 20;
    let unreadable = |source| TokenizerError::Unreadable { path: path.to_owned(), source };
    let malformed = |reason: String| TokenizerError::Malformed { path: path.to_owned(), reason };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(malformed("is not a regular file".into()));
    }
    let too_large = |found: u64| malformed(format!("has {found} bytes; the limit is {MAX_BYTES}"));
    if metadata.len() > MAX_BYTES {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    // It may have grown since.
    if bytes.len() as u64 > MAX_BYTES { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

impl Tokenizer for HfJson {
    fn kind(&self) -> &'static str {
        "hf-json"
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        match self.inner.encode_fast(text, true) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            // Cannot happen with a byte alphabet that is complete; bytes are a right encoding of any text all the same.
            Err(_) => text.bytes().map(|byte| self.byte_tokens[usize::from(byte)]).collect(),
        }
    }

    fn table(&self) -> &TokenTable {
        &self.table
    }

    fn first_token(&self) -> Option<u32> {
        self.first
    }
}
