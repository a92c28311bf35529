//! What everybody is measured on: one model in one file, and prompts of known lengths in its tokens.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::harness::Finding;
use crate::model::configuration::HEAD;
use crate::model::tokenizer::{self, Tokenizer};
use crate::model::{Configuration, file};

/// A text and its ids. A worker is sent the text; llama-server the ids, so that no time of a tokenizer counts against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub text: String,
    pub ids: Vec<u32>,
}

#[derive(Clone, Debug)]
pub struct Subject {
    pub model: PathBuf,
    /// Some tokens; the first token and the decoding are measured after it.
    pub short: Prompt,
    /// Many tokens; reading it is the prefill.
    pub long: Prompt,
    pub is_gpt2: bool,
    summary: Summary,
}

/// The model in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub model: String,
    pub quant_kind: String,
    /// Of the file, or of all files in the folder.
    pub file_bytes: u64,
    /// Every weight but tables is read for each token. Said where the weights are held as they are stored, and are
    /// too many for a cache: only then does memory limit the decoding.
    pub read_per_token: Option<u64>,
    pub short_prompt_tokens: usize,
    pub long_prompt_tokens: usize,
}

const SHORT: usize = 16;
const LONG: usize = 512;
const LARGER_THAN_CACHES: u64 = 128 << 20;

impl Subject {
    /// Opens the model to learn its tokens and its size. `opening` is how the short prompt begins, where it matters what
    /// the model makes of it.
    pub fn open(model: &Path, opening: Option<&str>) -> Result<Subject, Finding> {
        let problem = |error: &dyn std::fmt::Display| Finding::error("a model to measure with", error.to_string());
        let file = file::open(model, &mut |_| {}).map_err(|error| problem(&error))?;
        let configuration = &file.configuration;
        let tokenizer = tokenizer::open(&file.tokenizer_source, configuration.eos_token_id());
        let tokenizer = tokenizer.map_err(|error| problem(&error))?;
        let short = match opening {
            Some(text) => Prompt { text: text.to_owned(), ids: tokenizer.encode(text) },
            None => prompt(tokenizer.as_ref(), SHORT.min(configuration.n_ctx() / 4)),
        };
        let long = prompt(tokenizer.as_ref(), LONG.min(configuration.n_ctx() / 2));
        // Of tables one row is read: of the positions, and of an embedding that is not the head too.
        let is_gpt2 = matches!(configuration, Configuration::Gpt2(_));
        let rows = match is_gpt2 {
            true => configuration.n_ctx(),
            false if file.weights.has(HEAD) => configuration.vocab_size(),
            false => 0,
        };
        let not_read = (rows * configuration.n_embd() * size_of::<f32>()) as u64;
        let read_per_token = (file.quant_kind == "F32").then(|| file.stored_bytes.saturating_sub(not_read));
        let read_per_token = read_per_token.filter(|bytes| *bytes >= LARGER_THAN_CACHES);
        let summary = Summary {
            model: file.name,
            quant_kind: file.quant_kind,
            file_bytes: bytes_of(model).map_err(|error| problem(&error))?,
            read_per_token,
            short_prompt_tokens: short.ids.len(),
            long_prompt_tokens: long.ids.len(),
        };
        Ok(Subject { model: model.to_owned(), short, long, is_gpt2, summary })
    }

    pub fn summary(&self) -> Summary {
        self.summary.clone()
    }
}

/// Plain prose, cut so that it has this many tokens. (It may differ by a few: cut text can be spelled with other tokens.)
fn prompt(tokenizer: &dyn Tokenizer, tokens: usize) -> Prompt {
    const PROSE: &str = "The harness asks, the worker answers, and a clock runs between the two of them. ";
    let mut ids = tokenizer.encode(&PROSE.repeat(1 + tokens / 8));
    ids.truncate(tokens);
    let text = tokenizer.decode(&ids);
    Prompt { ids: tokenizer.encode(&text), text }
}

fn bytes_of(model: &Path) -> std::io::Result<u64> {
    if !model.is_dir() {
        return Ok(model.metadata()?.len());
    }
    let mut sum = 0;
    for entry in model.read_dir()? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}
