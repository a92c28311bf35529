//! From settings to a backend that is ready to run: the one place where a backend is chosen and plugged in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::InferenceBackend;
use super::cpu::CpuBackend;
use super::served::{LoadError, ModelBackend, WatchedEngine};
use super::stub::Stub;
use crate::model::ModelError;
use crate::model::error::Problem;
use crate::parity::{Scope, log};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    Stub,
    Cpu,
    #[cfg(feature = "candle")]
    Candle(super::candle::device::Place),
}

impl BackendKind {
    /// The device that is asked for, for messages.
    pub fn device(self) -> String {
        match self {
            BackendKind::Stub | BackendKind::Cpu => "cpu".to_owned(),
            #[cfg(feature = "candle")]
            BackendKind::Candle(place) => place.to_string(),
        }
    }
}

/// What a backend has to know to load. All of it has been checked; the model's file has not been opened.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kind: BackendKind,
    /// A model's file or folder; `None` only for the stub.
    pub model: Option<PathBuf>,
    pub threads: usize,
    /// The cache's size in MiB; `None` leaves it to the backend.
    pub kv_cache_size_mb: Option<u64>,
    /// Log a digest of each tensor as held, once loaded.
    pub digest: bool,
    /// How much of the first jobs is captured; `None` captures nothing.
    pub capture: Option<Scope>,
    /// Where every pass is logged, tensor by tensor; `None` logs nothing.
    pub parity_log: Option<log::Settings>,
    pub stub: StubPace,
}

/// How many tokens the stub yields and how long it takes over each; `None` yields exactly `STUB`, `RESPONSE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StubPace {
    pub tokens: Option<u32>,
    pub delay: Duration,
}

/// Why a worker did not start. The code is one of the contract's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    pub code: &'static str,
    pub message: String,
    /// For memory: what was needed and what there was, in bytes.
    pub required_bytes: Option<u64>,
    pub available_bytes: Option<u64>,
}

impl StartError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), required_bytes: None, available_bytes: None }
    }

    pub fn model(message: impl Into<String>) -> Self {
        Self::new("MODEL_LOAD_FAILED", message)
    }
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        match error {
            LoadError::Model(ModelError { problem: Problem::Memory { required, available, .. }, .. }) => Self {
                required_bytes: Some(required),
                available_bytes: Some(available),
                ..Self::new("VRAM_OOM", message)
            },
            LoadError::Device { out_of_memory: true, .. } => Self::new("VRAM_OOM", message),
            _ => Self::model(message),
        }
    }
}

/// Loads the model. `progress` takes per cent of the bytes checked and paged in, never falling; called on the thread
/// that will run the jobs, and may take as long as the weights need.
pub fn load(settings: &Settings, progress: &mut dyn FnMut(u8)) -> Result<Box<dyn InferenceBackend>, StartError> {
    match settings.kind {
        BackendKind::Stub => {
            // Said now, not by the first job.
            let refuse =
                |what: &str| Err(StartError::new("INTERNAL", format!("{what}: the stub backend has no tensors")));
            if settings.capture.is_some() {
                return refuse("--checkpoint-dir");
            }
            if settings.parity_log.is_some() {
                return refuse("ORCH_LOG_FILE");
            }
            progress(100);
            Ok(Box::new(Stub::new(settings.stub)))
        }
        BackendKind::Cpu => {
            let (path, cache) = (settings.model()?, settings.cache_bytes());
            let backend = CpuBackend::open_within(path, settings.threads, settings.digest, cache, progress)?;
            ready(backend, settings)
        }
        #[cfg(feature = "candle")]
        BackendKind::Candle(place) => {
            let (path, cache) = (settings.model()?, settings.cache_bytes());
            let backend = super::candle::CandleBackend::open(path, place, cache, settings.digest, progress)?;
            ready(backend, settings)
        }
    }
}

impl Settings {
    fn model(&self) -> Result<&Path, StartError> {
        let missing = || StartError::model("--model is missing: a .gguf file, a .safetensors file or a folder");
        self.model.as_deref().ok_or_else(missing)
    }

    fn cache_bytes(&self) -> Option<u64> {
        self.kv_cache_size_mb.map(|mebibytes| mebibytes.saturating_mul(1 << 20))
    }
}

/// With whatever looks at its jobs.
fn ready<E: WatchedEngine + 'static>(
    mut backend: ModelBackend<E>,
    settings: &Settings,
) -> Result<Box<dyn InferenceBackend>, StartError> {
    if settings.capture.is_some() {
        backend.model_digest(); // takes a while with a large model: now, not in the first job
    }
    if let Some(log) = &settings.parity_log {
        backend.start_log(log)?;
    }
    Ok(Box::new(backend))
}
