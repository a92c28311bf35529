//! `gguf-bpe`: byte-level BPE from the vocabulary in GGUF metadata, in plain Rust.

use std::collections::HashMap;

use super::super::file::GgufTokenizer;
use super::byte_pairs::{BytePairs, Desk};
use super::literal::Literals;
use super::vocabulary::TokenKind;
use super::{PreSplit, TokenTable, Tokenizer, TokenizerError, Vocabulary};

/// Literal tokens are found first, the text between them is cut into words, and each word's pairs are merged.
#[derive(Clone, Debug)]
pub struct GgufBpe {
    table: TokenTable,
    literals: Literals,
    pre_split: PreSplit,
    pairs: BytePairs,
    /// Words that are a token as they stand, whatever the merges would make of them; empty where the rule has none.
    whole: HashMap<Vec<u8>, u32>,
    /// In front of every text.
    bos: Option<u32>,
}

impl GgufBpe {
    /// A token in front of every text is the file's wish (`add_bos_token`), or what its pre-split is known for.
    pub fn from_metadata(vocabulary: &Vocabulary, metadata: &GgufTokenizer) -> Result<GgufBpe, TokenizerError> {
        let mut tokenizer = GgufBpe::new(vocabulary, metadata.pre.as_deref())?;
        let is_wanted = metadata.add_bos_token.unwrap_or(tokenizer.pre_split == PreSplit::Llama3);
        tokenizer.bos = vocabulary.bos.filter(|_| is_wanted);
        Ok(tokenizer)
    }

    /// `pre` is GGUF's `tokenizer.ggml.pre`; files older than that key were made with GPT-2's rule.
    pub fn new(vocabulary: &Vocabulary, pre: Option<&str>) -> Result<GgufBpe, TokenizerError> {
        let pre_split = match pre {
            None => PreSplit::Gpt2,
            Some(name) => PreSplit::by_name(name).ok_or_else(|| TokenizerError::Unsupported {
                what: "pre-split",
                found: name.to_owned(),
                supported: PreSplit::NAMES,
            })?,
        };
        let checked = vocabulary.check()?;
        let literals = (0..checked.table.len())
            .filter(|id| vocabulary.kind(*id).is_literal())
            .map(|id| (vocabulary.tokens[id as usize].as_str(), id));
        let mut whole = HashMap::new();
        if pre_split == PreSplit::Llama3 {
            let normal = (0..checked.table.len()).filter(|id| vocabulary.kind(*id) == TokenKind::Normal);
            whole.extend(normal.map(|id| (checked.table.spelling(id).to_vec(), id)));
        }
        Ok(GgufBpe {
            whole,
            bos: None,
            table: checked.table,
            literals: Literals::new(literals),
            pre_split,
            pairs: BytePairs::new(checked.byte_tokens, checked.merges),
        })
    }

    fn encode_plain(&self, text: &str, desk: &mut Desk, ids: &mut Vec<u32>) {
        for word in self.pre_split.words(text) {
            match self.whole.get(word.as_bytes()) {
                Some(id) => ids.push(*id),
                None => self.pairs.encode(word.as_bytes(), desk, ids),
            }
        }
    }
}

impl Tokenizer for GgufBpe {
    fn kind(&self) -> &'static str {
        "gguf-bpe"
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids: Vec<u32> = self.bos.into_iter().collect();
        let mut desk = Desk::default();
        let mut rest = text;
        while let Some((start, end, id)) = self.literals.find(rest) {
            self.encode_plain(&rest[..start], &mut desk, &mut ids);
            ids.push(id);
            rest = &rest[end..];
        }
        self.encode_plain(rest, &mut desk, &mut ids);
        ids
    }

    fn table(&self) -> &TokenTable {
        &self.table
    }

    fn first_token(&self) -> Option<u32> {
        self.bos
    }
}
