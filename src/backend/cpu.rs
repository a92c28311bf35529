//! GPT-2 on the CPU: the model, its cache and its working memory, as an engine.

use std::path::Path;

use super::generate::Engine;
pub use super::served::LoadError;
use super::served::{ModelBackend, WatchedEngine, open_tokenizer};
use super::watch::Watch;
use super::{BackendError, CancelFlag, Description};
use crate::cache::{BLOCK, CacheShape, KvCache};
use crate::layers::NoTap;
use crate::layers::gpt2::{ForwardError, Gpt2, LogitRows, Scratch};
use crate::model::digest::{model_digest, tensor_digests};
use crate::model::error::Problem;
use crate::model::file::{self, ModelFile};
use crate::model::{Configuration, memory};
use crate::tensor::Instructions;

pub type CpuBackend = ModelBackend<CpuEngine>;

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
        let configuration = configuration.gpt2("the cpu backend").map_err(|problem| problem.of(&path))?.clone();
        let vocab_size = configuration.vocab_size;
        let tokenizer = open_tokenizer(tokenizer_source, end_of_text, vocab_size, &path)?;
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
            cuda: None,
        };
        Ok(ModelBackend::serving(description, tokenizer, engine, move || model_digest(&weights)))
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

impl WatchedEngine for CpuEngine {
    const NAME: &'static str = "llorch-cpu";

    fn configuration(&self) -> Configuration {
        self.model.configuration.clone().into()
    }

    fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    /// Room for a whole prompt, and for the logits of all its positions.
    fn shrink(&mut self) {
        if self.scratch.bytes() > self.scratch_bytes {
            self.scratch = Scratch::new(&self.model.configuration, self.scratch.threads(), Instructions::detect());
        }
    }
}
