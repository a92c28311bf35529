//! GPT-2 on the CPU: the model, its cache and its working memory behind the backend's trait; [`capture`] writes what a
//! job computes to disk.

pub mod capture;
mod watch;

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use super::generate::{Engine, Generation, SharedTokenizer, generate};
use super::{BackendError, CancelFlag, Description, Encode, Finished, InferenceBackend, Job, TokenSink};
use crate::cache::{BLOCK, CacheShape, KvCache};
use crate::layers::NoTap;
use crate::layers::gpt2::{ForwardError, Gpt2, LogitRows, Scratch};
use crate::model::digest::{model_digest, tensor_digests};
use crate::model::error::Problem;
use crate::model::file::{self, ModelFile, TokenizerSource};
use crate::model::tokenizer::{self, IdsOnly, Tokenizer, TokenizerError};
use crate::model::{ModelError, Weights, memory};
use crate::tensor::Instructions;
use watch::Watch;

pub struct CpuBackend {
    description: Description,
    tokenizer: Arc<dyn Tokenizer>,
    engine: CpuEngine,
    /// The engine's own, for their digest.
    weights: Weights,
    model_digest: OnceCell<String>,
    #[cfg(feature = "orch_logging")]
    log: Option<Arc<crate::parity::log::Writer>>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{model}: the tokenizer cannot be used: {source}")]
    Tokenizer { model: String, source: TokenizerError },
    #[error("{model}: the tokenizer has {tokens} tokens and the model only {vocab_size}")]
    Vocabulary { model: String, tokens: u32, vocab_size: usize },
}

impl CpuBackend {
    /// Opens a model and reads every weight once; `progress` is told 0 to 100. With `digest`, logs what is held, so that it
    /// can be compared with what the file holds.
    pub fn open(
        path: &Path,
        threads: usize,
        digest: bool,
        progress: &mut dyn FnMut(u8),
    ) -> Result<CpuBackend, LoadError> {
        CpuBackend::open_within(path, threads, digest, None, progress)
    }

    /// The same with a cache of at most this many bytes: the context is as long as fits in it.
    pub fn open_within(
        path: &Path,
        threads: usize,
        digest: bool,
        cache_bytes: Option<u64>,
        progress: &mut dyn FnMut(u8),
    ) -> Result<CpuBackend, LoadError> {
        let file = file::open(path, progress)?;
        for name in &file.unused {
            tracing::info!(tensor = name, "The file has a tensor that the model does not use");
        }
        if digest {
            for tensor in tensor_digests(&file.weights) {
                let shape = format!("{:?}", tensor.shape);
                tracing::info!(tensor = tensor.name, shape, sha256 = tensor.sha256, "Tensor as held");
            }
            tracing::info!(model_digest = model_digest(&file.weights), "Model as held");
        }
        CpuBackend::new_within(file, threads, cache_bytes)
    }

    pub fn new(file: ModelFile, threads: usize) -> Result<CpuBackend, LoadError> {
        CpuBackend::new_within(file, threads, None)
    }

    fn new_within(file: ModelFile, threads: usize, cache_bytes: Option<u64>) -> Result<CpuBackend, LoadError> {
        let ModelFile { name, path, configuration, weights, quant_kind, tokenizer_source, end_of_text, .. } = file;
        let model = || path.display().to_string();
        let configuration = configuration.gpt2("the cpu backend").map_err(|problem| problem.of(&path))?.clone();
        let vocab_size = configuration.vocab_size;
        let tokenizer = match tokenizer_source {
            TokenizerSource::Absent => {
                tracing::warn!(
                    model = model(),
                    "The model has no tokenizer: prompts are token ids, and so is the text"
                );
                Arc::new(IdsOnly::new(vocab_size, end_of_text)) as Arc<dyn Tokenizer>
            }
            source => tokenizer::open(&source, end_of_text)
                .map_err(|source| LoadError::Tokenizer { model: model(), source })?,
        };
        // The other way round is common: embeddings are filled up to a round number.
        if tokenizer.vocab_size() as usize > vocab_size {
            return Err(LoadError::Vocabulary { model: model(), tokens: tokenizer.vocab_size(), vocab_size });
        }
        let loaded = Gpt2::load(configuration, &weights)?;
        let cache = cache_within(loaded.cache_shape(), cache_bytes).map_err(|problem| problem.of(&path))?;
        memory::require("the key-value cache", KvCache::bytes(cache) as u64, memory::available())
            .map_err(|problem| problem.of(&path))?;
        let engine = CpuEngine::with_cache(loaded, KvCache::new(cache), threads);
        let description = Description {
            model: name,
            worker_type: "cpu",
            memory_architecture: "cpu",
            quant_kind,
            tokenizer_kind: tokenizer.kind(),
            vocab_size: vocab_size as u32,
            context_length: cache.n_ctx as u32,
            memory_bytes: weights.held_bytes() + engine.held_bytes(),
            vram_bytes: 0,
        };
        Ok(CpuBackend {
            description,
            tokenizer,
            engine,
            weights,
            model_digest: OnceCell::new(),
            #[cfg(feature = "orch_logging")]
            log: None,
        })
    }

    /// Bytes held: weights, cache and working memory.
    pub fn held_bytes(&self) -> u64 {
        self.weights.held_bytes() + self.engine.held_bytes()
    }

    /// The digest of the weights; computed once, which takes a second for each gigabyte or two.
    pub fn model_digest(&self) -> &str {
        self.model_digest.get_or_init(|| model_digest(&self.weights))
    }
}

impl InferenceBackend for CpuBackend {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Encode>> {
        Some(Arc::new(SharedTokenizer(self.tokenizer.clone())))
    }

    fn run(&mut self, job: &Job, sink: &mut dyn TokenSink, cancel: &CancelFlag) -> Result<Finished, BackendError> {
        self.engine.watch = self.watch(job);
        match &job.capture {
            Some(request) => self.run_and_write(job, request, sink, cancel),
            None => self.generate(job, sink, cancel).map(|generation| generation.finished),
        }
    }
}

impl CpuBackend {
    /// The job, with whatever the engine is watched by.
    fn generate(
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

/// The longest context, up to the model's, whose cache has no more than this many bytes.
fn cache_within(whole: CacheShape, limit: Option<u64>) -> Result<CacheShape, Problem> {
    let bytes = |shape: &CacheShape| KvCache::bytes(*shape) as u64;
    let Some(limit) = limit.filter(|limit| *limit < bytes(&whole)) else { return Ok(whole) };
    // A cache grows by whole blocks of positions.
    let block = CacheShape { n_ctx: BLOCK, ..whole };
    let shape = CacheShape { n_ctx: (limit / bytes(&block)) as usize * BLOCK, ..whole };
    if shape.n_ctx == 0 {
        let (what, required) = ("the smallest key-value cache", bytes(&block));
        return Err(Problem::Memory { what, required, available: limit });
    }
    Ok(shape)
}

/// One model with the cache of one job.
pub struct CpuEngine {
    model: Gpt2,
    cache: KvCache,
    scratch: Scratch,
    /// Of the working memory as every job finds it.
    scratch_bytes: usize,
    watch: Watch,
}

impl CpuEngine {
    pub fn new(model: Gpt2, threads: usize) -> CpuEngine {
        let cache = model.cache();
        CpuEngine::with_cache(model, cache, threads)
    }

    /// With a cache for the model's context or a shorter one.
    fn with_cache(model: Gpt2, cache: KvCache, threads: usize) -> CpuEngine {
        let scratch = Scratch::new(&model.configuration, threads.max(1), Instructions::detect());
        CpuEngine { cache, scratch_bytes: scratch.bytes(), scratch, model, watch: Watch::default() }
    }

    /// Gives back what only a job that is watched needs: room for a whole prompt, and the logits of all its positions.
    fn shrink(&mut self) {
        if self.scratch.bytes() > self.scratch_bytes {
            self.scratch = Scratch::new(&self.model.configuration, self.scratch.threads(), Instructions::detect());
        }
    }

    /// Bytes of the cache and of the working memory; the weights belong to the file.
    pub fn held_bytes(&self) -> u64 {
        (KvCache::bytes(self.cache.shape()) + self.scratch.bytes()) as u64
    }
}

impl Engine for CpuEngine {
    fn reset(&mut self) {
        self.cache.reset();
    }

    fn context_length(&self) -> usize {
        self.cache.shape().n_ctx
    }

    fn vocab_size(&self) -> usize {
        self.model.configuration.vocab_size
    }

    fn feed(&mut self, ids: &[u32], cancel: &CancelFlag) -> Result<&[f32], BackendError> {
        let CpuEngine { model, cache, scratch, watch, .. } = self;
        let cancelled = || cancel.is_raised();
        let result = if watch.is_on() {
            watch.begin_pass(cache.len());
            let result = model.forward(ids, cache, scratch, LogitRows::Last, watch, &cancelled);
            watch.end_pass(result.is_ok());
            result
        } else {
            model.forward(ids, cache, scratch, LogitRows::Last, &mut NoTap, &cancelled)
        };
        result.map_err(|error| match error {
            ForwardError::Cancelled => BackendError::Cancelled,
            other => BackendError::Internal(other.to_string()),
        })
    }
}
