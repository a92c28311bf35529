//! Text to token ids and back.
//!
//! Three kinds, chosen by what the model file brings:
//! - [`HfJson`] (`hf-json`): a `tokenizer.json`, or `vocab.json` with `merges.txt`, encoded by the `tokenizers` crate;
//! - [`GgufBpe`] (`gguf-bpe`): vocabulary and merges out of GGUF metadata, encoded by [`byte_pairs`] here, without
//!   that crate;
//! - [`GgufSpm`] (`gguf-spm`): the scores of a SentencePiece vocabulary, as Llama 2 has them, likewise.
//!
//! The first two are byte-level: [`alphabet`] spells every byte as a printable character, so no text is out of vocabulary
//! and `decode(encode(text)) == text` for every string; the third spells in bytes what is no token. They agree on the same
//! vocabulary. All check it with the same [`vocabulary`] rules before anything is encoded, and take their bytes from one
//! [`TokenTable`].
//!
//! A token in front of every text is added where the model asks for it, as transformers and llama.cpp do; one that the text
//! *spells* (`<|endoftext|>`) becomes its id. [`Tokenizer::decode`] spells them out again; generation, which asks for
//! [`Tokenizer::token_bytes`], gets nothing for them.

pub(in crate::model) mod alphabet;
mod byte_pairs;
mod error;
mod fallback;
mod gguf_bpe;
mod gguf_spm;
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

use super::file::{GgufTokenizer, TokenizerSource};
pub use alphabet::symbols;
pub use error::TokenizerError;
pub use gguf_bpe::GgufBpe;
pub use gguf_spm::GgufSpm;
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
        TokenizerSource::Gguf(metadata) => from_gguf(metadata)?,
        TokenizerSource::Absent => return Err(TokenizerError::Absent),
    })
}

fn from_gguf(metadata: &GgufTokenizer) -> Result<Arc<dyn Tokenizer>, TokenizerError> {
    let vocabulary = Vocabulary::from_gguf(metadata)?;
    match metadata.model.as_str() {
        "gpt2" => Ok(Arc::new(GgufBpe::from_metadata(&vocabulary, metadata)?)),
        "llama" => Ok(Arc::new(GgufSpm::new(&vocabulary, metadata)?)),
        other => Err(TokenizerError::Unsupported {
            what: "tokenizer model",
            found: other.to_owned(),
            supported: "gpt2 and llama",
        }),
    }
}

/// What a worker needs of a tokenizer; shared between its threads.
pub trait Tokenizer: Send + Sync {
    /// `hf-json`, `gguf-bpe` or `gguf-spm`.
    fn kind(&self) -> &'static str;

    fn encode(&self, text: &str) -> Vec<u32>;

    /// What [`Tokenizer::encode`] puts in front of every text.
    fn first_token(&self) -> Option<u32> {
        None
    }

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
