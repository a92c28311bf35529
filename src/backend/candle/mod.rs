//! Models on candle's operations, on the processor or a GPU: GPT-2, Llama and Qwen2, f32 or quantised as stored.
//!
//! [`weights`] brings what a file stores to the device, [`cache`] and [`attention`] are shared by both families, and
//! [`gpt2`] and [`llama`] are the forward passes, each readable as the formula it is. Every tensor of a pass is shown to a
//! tap at the same stations as those of the other engines; without one nothing of that is compiled in.

mod attention;
mod cache;
pub mod device;
mod gpt2;
mod llama;
mod pass;
mod weights;

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::generate::Engine;
use super::served::{LoadError, ModelBackend, WatchedEngine, open_tokenizer};
use super::watch::Watch;
use super::{BackendError, CancelFlag, CudaFacts, Description};
use crate::layers::{NoTap, Station, Tap};
use crate::model::digest::stored_model_digest;
use crate::model::file::{self, ModelFile};
use crate::model::weights::StoredWeights;
use crate::model::{Configuration, memory};
use cache::Cache;
use device::Place;
use pass::{Pass, PassError, rows_at_a_time};
use weights::Loader;

pub type CandleBackend = ModelBackend<CandleEngine>;

impl CandleBackend {
    /// Opens a model and brings it to the device; `progress` is told 0 to 100. The cache has at most `cache_bytes`.
    pub fn open(
        path: &Path,
        place: Place,
        cache_bytes: Option<u64>,
        digest: bool,
        progress: &mut dyn FnMut(u8),
    ) -> Result<CandleBackend, LoadError> {
        let device = place.device().map_err(|reason| refusal(path, reason))?;
        let ModelFile { name, path, configuration, weights, quant_kind, tokenizer_source, end_of_text, unused, .. } =
            file::open_stored(path, progress)?;
        for name in &unused {
            tracing::info!(tensor = name, "The file has a tensor that the model does not use");
        }
        let vocab_size = configuration.vocab_size();
        let tokenizer = open_tokenizer(tokenizer_source, end_of_text, vocab_size, &path)?;
        let weights = Arc::new(weights);
        let of_model = {
            let weights = weights.clone();
            move || stored_model_digest(&weights).unwrap_or_default()
        };
        if digest {
            tracing::info!(model_digest = of_model(), "Model as held");
        }
        let mut engine = CandleEngine::new(configuration, &weights, device, cache_bytes, digest, &path)?;
        engine.warm_up().map_err(|error| refusal(&path, error))?;
        let held = engine.held_bytes();
        let on_device = place.has_memory_of_its_own();
        let description = Description {
            model: name,
            worker_type: place.worker_type(),
            memory_architecture: place.memory_architecture(),
            quant_kind,
            tokenizer_kind: tokenizer.kind(),
            vocab_size: vocab_size as u32,
            context_length: engine.context_length() as u32,
            memory_bytes: held,
            vram_bytes: if on_device { held } else { 0 },
            cuda: engine.cuda_facts(),
        };
        Ok(ModelBackend::serving(description, tokenizer, engine, of_model))
    }
}

fn refusal(path: &Path, reason: impl ToString) -> LoadError {
    let reason = reason.to_string();
    LoadError::Device { model: path.display().to_string(), out_of_memory: device::is_out_of_memory(&reason), reason }
}

/// One model with the cache of one job.
pub struct CandleEngine {
    configuration: Configuration,
    model: Model,
    cache: Cache,
    device: Device,
    /// Of the last position: [V]
    logits: Vec<f32>,
    weight_bytes: u64,
    watch: Watch,
}

enum Model {
    Gpt2(gpt2::Gpt2),
    Llama(llama::Llama),
}

impl CandleEngine {
    pub fn new(
        configuration: Configuration,
        weights: &StoredWeights,
        device: Device,
        cache_bytes: Option<u64>,
        digest: bool,
        path: &Path,
    ) -> Result<Self, LoadError> {
        let context = Cache::context_within(&configuration, cache_bytes).map_err(|problem| problem.of(path))?;
        if device.is_cpu() {
            let sums = [
                ("the weights", weights::bytes_held(weights)),
                ("the key-value cache", Cache::bytes(&configuration, context)),
            ];
            for (what, required) in sums {
                memory::require(what, required, memory::available()).map_err(|problem| problem.of(path))?;
            }
        }
        let mut loader = Loader::new(weights, &device, digest);
        let model = match &configuration {
            Configuration::Gpt2(configuration) => Model::Gpt2(gpt2::Gpt2::load(configuration, &mut loader)?),
            Configuration::Llama(configuration) => {
                Model::Llama(llama::Llama::load(configuration, context, &mut loader)?)
            }
        };
        let weight_bytes = loader.bytes();
        let cache = Cache::new(&configuration, context, &device).map_err(|error| refusal(path, error))?;
        Ok(Self { configuration, model, cache, device, logits: Vec::new(), weight_bytes, watch: Watch::default() })
    }

    /// Bytes of weights and cache.
    pub fn held_bytes(&self) -> u64 {
        self.weight_bytes + Cache::bytes(&self.configuration, self.cache.context())
    }

    fn cuda_facts(&self) -> Option<CudaFacts> {
        device::cuda_facts(&self.device)
    }

    /// Candle arranges quantised weights anew, and a GPU loads its kernels, when they are first used: now, and not in the
    /// first job.
    fn warm_up(&mut self) -> Result<(), PassError> {
        let tokens = [0; 2];
        for tokens in [&tokens[..tokens.len().min(self.cache.context())], &tokens[..1]] {
            self.cache.reset();
            self.forward(tokens, &CancelFlag::default(), &mut NoTap)?;
        }
        Ok(())
    }

    /// What a pass of this many tokens holds besides: activations, and the scores of one lot.
    fn working_bytes(&self, tokens: usize) -> u64 {
        let configuration = &self.configuration;
        let heads = configuration.n_head();
        let of_a_token =
            6 * configuration.n_embd().max(heads * configuration.head_size()) + 3 * configuration.n_inner();
        let lot = rows_at_a_time(&self.device).min(tokens);
        let scores = 3 * heads as u64 * lot as u64 * (self.cache.len() + tokens) as u64;
        (tokens as u64 * of_a_token as u64).saturating_add(scores).saturating_mul(4)
    }

    /// One pass of tokens after those in the cache: the logits of the last one, [V].
    fn forward<T: Tap + Send>(&mut self, ids: &[u32], cancel: &CancelFlag, tap: &mut T) -> Result<(), PassError> {
        let CandleEngine { model, cache, device, .. } = self;
        // On a processor everything below runs on candle's own threads, which then wait for nobody between two operations.
        let logits = device.with_context(|| -> Result<Vec<f32>, PassError> {
            let tokens = Tensor::new(ids, device)?; // [T]
            let mut pass = Pass { lot: rows_at_a_time(device), cache, cancel, tap };
            let (hidden, head) = match model {
                Model::Gpt2(model) => (model.forward(&tokens, &mut pass)?, &model.head),
                Model::Llama(model) => (model.forward(&tokens, &mut pass)?, &model.head),
            };
            if T::ON {
                let logits = pass.apply(head, &hidden)?; // [T, V]
                pass.show(Station::Logits, 0, &logits)?;
            }
            // The same product with and without a tap: the text has the same bits.
            let last = hidden.narrow(0, ids.len() - 1, 1)?; // [1, C]
            let logits = pass.apply(head, &last)?.squeeze(0)?; // [V]
            pass.show(Station::SelectedLogits, 0, &logits)?;
            pass.cache.advance(ids.len());
            Ok(logits.to_vec1()?)
        });
        self.logits = logits?;
        Ok(())
    }
}

impl From<PassError> for BackendError {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Cancelled => BackendError::Cancelled,
            PassError::Candle(error) => match error.to_string() {
                reason if device::is_out_of_memory(&reason) => BackendError::DeviceFull(reason),
                reason => BackendError::Internal(reason),
            },
        }
    }
}

impl Engine for CandleEngine {
    fn reset(&mut self) {
        self.cache.reset();
    }

    fn context_length(&self) -> usize {
        self.cache.context()
    }

    fn vocab_size(&self) -> usize {
        self.configuration.vocab_size()
    }

    fn feed(&mut self, ids: &[u32], cancel: &CancelFlag) -> Result<&[f32], BackendError> {
        // Asked before, since a process on a processor that asks for more than there is ends without a word.
        if let Some(available) = memory::available().filter(|_| self.device.is_cpu() && ids.len() > 1) {
            let required = self.working_bytes(ids.len());
            if required > available {
                return Err(BackendError::OutOfMemory { required, available });
            }
        }
        let mut watch = std::mem::take(&mut self.watch);
        let result = if watch.is_on() {
            watch.begin_pass(self.cache.len());
            let result = self.forward(ids, cancel, &mut watch);
            watch.end_pass(result.is_ok());
            result
        } else {
            self.forward(ids, cancel, &mut NoTap)
        };
        self.watch = watch;
        result?;
        Ok(&self.logits)
    }
}

impl WatchedEngine for CandleEngine {
    const NAME: &'static str = "llorch-candle";

    fn configuration(&self) -> Configuration {
        self.configuration.clone()
    }

    fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }
}
