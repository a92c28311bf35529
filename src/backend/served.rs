//! A model behind the backend's trait, whichever engine computes it: its tokenizer, what it says of itself, and who looks
//! at its passes.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use super::generate::{Engine, Generation, SharedTokenizer, generate};
use super::watch::Watch;
use super::{BackendError, CancelFlag, Description, Encode, Finished, InferenceBackend, Job, TokenSink};
use crate::model::file::TokenizerSource;
use crate::model::tokenizer::{self, IdsOnly, Tokenizer, TokenizerError};
use crate::model::{Configuration, ModelError};

/// An engine whose passes can be looked at.
pub trait WatchedEngine: Engine + Send {
    /// As captures and logs name it.
    const NAME: &'static str;

    fn configuration(&self) -> Configuration;

    /// What it computes in.
    fn compute_dtype(&self) -> &'static str {
        "F32"
    }

    /// Who looks at the next passes.
    fn watch(&mut self) -> &mut Watch;

    /// Gives back what only a job that is watched needs.
    fn shrink(&mut self) {}
}

pub struct ModelBackend<E> {
    pub(super) description: Description,
    pub(super) tokenizer: Arc<dyn Tokenizer>,
    pub(super) engine: E,
    /// Computes the digest of the weights.
    digest: Box<dyn Fn() -> String + Send>,
    model_digest: OnceCell<String>,
    #[cfg(feature = "orch_logging")]
    pub(super) log: Option<Arc<crate::parity::log::Writer>>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{model}: the tokenizer cannot be used: {source}")]
    Tokenizer { model: String, source: TokenizerError },
    #[error("{model}: the tokenizer has {tokens} tokens and the model only {vocab_size}")]
    Vocabulary { model: String, tokens: u32, vocab_size: usize },
    /// The device is not there, or did not take the model.
    #[error("{model}: {reason}")]
    Device { model: String, reason: String, out_of_memory: bool },
}

/// The tokenizer of a model file; without one, prompts are token ids.
pub(super) fn open_tokenizer(
    source: TokenizerSource,
    end_of_text: Vec<u32>,
    vocab_size: usize,
    path: &Path,
) -> Result<Arc<dyn Tokenizer>, LoadError> {
    let model = || path.display().to_string();
    let tokenizer = match source {
        TokenizerSource::Absent => {
            tracing::warn!(model = model(), "The model has no tokenizer: prompts are token ids, and so is the text");
            Arc::new(IdsOnly::new(vocab_size, end_of_text)) as Arc<dyn Tokenizer>
        }
        source => {
            tokenizer::open(&source, end_of_text).map_err(|source| LoadError::Tokenizer { model: model(), source })?
        }
    };
    // The other way round is common: embeddings are filled up to a round number.
    if tokenizer.vocab_size() as usize > vocab_size {
        return Err(LoadError::Vocabulary { model: model(), tokens: tokenizer.vocab_size(), vocab_size });
    }
    Ok(tokenizer)
}

impl<E: WatchedEngine> ModelBackend<E> {
    pub(super) fn serving(
        description: Description,
        tokenizer: Arc<dyn Tokenizer>,
        engine: E,
        digest: impl Fn() -> String + Send + 'static,
    ) -> Self {
        Self {
            description,
            tokenizer,
            engine,
            digest: Box::new(digest),
            model_digest: OnceCell::new(),
            #[cfg(feature = "orch_logging")]
            log: None,
        }
    }

    /// Bytes held: weights, cache and working memory.
    pub fn held_bytes(&self) -> u64 {
        self.description.memory_bytes
    }

    /// The digest of the weights; computed once, which takes a second for each gigabyte or two.
    pub fn model_digest(&self) -> &str {
        self.model_digest.get_or_init(|| (self.digest)())
    }

    /// The job, with whatever the engine is watched by.
    pub(super) fn generate(
        &mut self,
        job: &Job,
        sink: &mut dyn TokenSink,
        cancel: &CancelFlag,
    ) -> Result<Generation, BackendError> {
        let result = generate(&mut self.engine, self.tokenizer.as_ref(), job, sink, cancel);
        self.engine.shrink();
        result
    }
}

impl<E: WatchedEngine> InferenceBackend for ModelBackend<E> {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Encode>> {
        Some(Arc::new(SharedTokenizer(self.tokenizer.clone())))
    }

    fn run(&mut self, job: &Job, sink: &mut dyn TokenSink, cancel: &CancelFlag) -> Result<Finished, BackendError> {
        *self.engine.watch() = self.watch(job);
        match &job.capture {
            Some(request) => self.run_and_write(job, request, sink, cancel),
            None => self.generate(job, sink, cancel).map(|generation| generation.finished),
        }
    }
}
