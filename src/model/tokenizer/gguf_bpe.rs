//! `gguf-bpe`: byte-level BPE from the vocabulary in GGUF metadata, in plain Rust.

use super::super::file::GgufTokenizer;
use super::byte_pairs::{BytePairs, Desk};
use super::literal::Literals;
use super::{PreSplit, TokenTable, Tokenizer, TokenizerError, Vocabulary};

/// Literal tokens are found first, the text between them is cut into words, and each word's pairs are merged.
#[derive(Clone, Debug)]
pub struct GgufBpe {
    table: TokenTable,
    literals: Literals,
    pre_split: PreSplit,
    pairs: BytePairs,
}

impl GgufBpe {
    /// A file that asks for a token in front of every text (`add_bos_token`) is not obeyed: prompts are encoded as they are.
    pub fn from_metadata(metadata: &GgufTokenizer) -> Result<GgufBpe, TokenizerError> {
        if metadata.model != "gpt2" {
            return Err(TokenizerError::Unsupported {
                what: "tokenizer model",
                found: metadata.model.clone(),
                supported: "gpt2",
            });
        }
        let mut vocabulary = Vocabulary {
            tokens: metadata.tokens.clone(),
            merges: metadata.merges.clone(),
            bos: metadata.bos_token_id,
            eos: metadata.eos_token_id.into_iter().collect(),
            kinds: Vec::new(),
        };
        if !metadata.token_types.is_empty() {
            vocabulary = vocabulary.with_gguf_kinds(&metadata.token_types)?;
        }
        GgufBpe::new(&vocabulary, metadata.pre.as_deref())
    }

    /// `pre` is GGUF's `tokenizer.ggml.pre`; files older than that key were made with GPT-2's rule.
    pub fn new(vocabulary: &Vocabulary, pre: Option<&str>) -> Result<GgufBpe, TokenizerError> {
        let pre_split = match pre {
            None => PreSplit::Gpt2,
            Some(name) => PreSplit::by_name(name).ok_or_else(|| TokenizerError::Unsupported {
                what: "pre-split",
                found: name.to_owned(),
                supported: "gpt-2",
            })?,
        };
        let checked = vocabulary.check()?;
        let literals = (0..checked.table.len())
            .filter(|id| vocabulary.kind(*id).is_literal())
            .map(|id| (vocabulary.tokens[id as usize].as_str(), id));
        Ok(GgufBpe {
            table: checked.table,
            literals: Literals::new(literals),
            pre_split,
            pairs: BytePairs::new(checked.byte_tokens, checked.merges),
        })
    }

    fn encode_plain(&self, text: &str, desk: &mut Desk, ids: &mut Vec<u32>) {
        for word in self.pre_split.words(text) {
            self.pairs.encode(word.as_bytes(), desk, ids);
        }
    }
}

impl Tokenizer for GgufBpe {
    fn kind(&self) -> &'static str {
        "gguf-bpe"
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
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
}
