//! Text to token ids and back.
//!
//! Two kinds, chosen by what the model file brings, that agree on the same vocabulary:
//! - [`HfJson`] (`hf-json`): a `tokenizer.json`, or `vocab.json` with `merges.txt`, encoded by the `tokenizers` crate;
//! - [`GgufBpe`] (`gguf-bpe`): vocabulary and merges out of GGUF metadata, encoded by [`byte_pairs`] here, without
//!   that crate.
//!
//! Both are byte-level: [`alphabet`] spells every byte as a printable character, so no text is out of vocabulary and
//! `decode(encode(text)) == text` for every string. Both check the vocabulary with the same [`vocabulary`] rules before
//! anything is encoded, and both take their bytes from one [`TokenTable`].
//!
//! Special tokens follow Hugging Face's `add_special_tokens=False`: none is ever added, and one that the text *spells*
//! (`<|endoftext|>`) becomes its id. [`Tokenizer::decode`] spells them out again; generation, which asks for
//! [`Tokenizer::token_bytes`], gets nothing for them.

pub(in crate::model) mod alphabet;
mod byte_pairs;
mod error;
mod gguf_bpe;
mod hf_json;
mod ids_only;
mod json;
mod literal;
mod pre_split;
mod table;
mod utf8_stream;
mod vocabulary;

use std::path::Path;
use std::sync::Arc;

use super::file::TokenizerSource;
pub use error::TokenizerError;
pub use gguf_bpe::GgufBpe;
pub use hf_json::HfJson;
pub use ids_only::IdsOnly;
pub use pre_split::{PreSplit, Words};
pub use table::TokenTable;
pub use utf8_stream::Utf8Stream;
pub use vocabulary::{TokenKind, Vocabulary};

/// The tokenizer that a model file names. `eos` are the ids that end a text by the model's configuration; a GGUF file says
/// so itself.
pub fn open(
    source: &TokenizerSource,
    eos: impl IntoIterator<Item = u32>,
) -> Result<Arc<dyn Tokenizer>, TokenizerError> {
    let eos: &[u32] = &eos.into_iter().collect::<Vec<_>>();
    Ok(match source {
        TokenizerSource::HfJson(path) => Arc::new(HfJson::from_tokenizer_json(path, eos)?),
        TokenizerSource::HfJsonText(text) => {
            Arc::new(HfJson::from_bytes(text.as_bytes(), Path::new("the program"), eos)?)
        }
        TokenizerSource::VocabularyAndMerges { vocabulary, merges } => {
            Arc::new(HfJson::from_vocabulary_and_merges(vocabulary, merges, eos)?)
        }
        TokenizerSource::Gguf(metadata) => Arc::new(GgufBpe::from_metadata(metadata)?),
        TokenizerSource::Absent => return Err(TokenizerError::Absent),
    })
}

/// What a worker needs of a tokenizer; shared between its threads.
pub trait Tokenizer: Send + Sync {
    /// `hf-json` or `gguf-bpe`.
    fn kind(&self) -> &'static str;

    fn encode(&self, text: &str) -> Vec<u32>;

    /// Whether a prompt can be text: false where a model came without a tokenizer.
    fn reads_text(&self) -> bool {
        true
    }

    /// Every token's bytes, and which of them end a text.
    fn table(&self) -> &TokenTable;

    /// What a sampled token adds to the text: nothing for special tokens and for ids outside the vocabulary.
    fn token_bytes(&self, id: u32) -> &[u8] {
        self.table().token_bytes(id)
    }

    /// One more than the highest id.
    fn vocab_size(&self) -> u32 {
        self.table().len()
    }

    fn is_end_of_text(&self, id: u32) -> bool {
        self.table().end_of_text().contains(&id)
    }

    /// The text that these ids spell, special tokens included; bytes that form no character are dropped.
    fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        let mut stream = Utf8Stream::default();
        for &id in ids {
            stream.push(self.table().spelling(id), &mut text);
        }
        text
    }
}
