//! What a worker computes with. A backend takes one job at a time, hands its text out piece by piece, and reads the
//! cancel flag often enough that a cancelled job stops within a layer.
//!
//! The trait stands between the HTTP contract (`worker/`) and the mathematics (`model/`, `layers/`): neither knows the other.

#[cfg(feature = "candle")]
pub mod candle;
mod capture;
pub mod cpu;
pub mod generate;
pub mod load;
pub mod served;
pub mod stub;
mod watch;

pub use load::{BackendKind, Settings, StartError, StubPace, load};

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

pub use crate::parity::Scope;
pub use crate::sampling::SamplingParameters;

/// One checked request, as a backend sees it. Everything here has passed validation.
#[derive(Clone, Debug)]
pub struct Job {
    pub job_id: String,
    pub prompt: Prompt,
    pub max_tokens: u32,
    pub sampling: SamplingParameters,
    /// At most four, matched on decoded text; the first in this order wins.
    pub stop: Vec<String>,
    /// Where the tensors of this job are to be written, when they are asked for.
    pub capture: Option<CaptureRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureRequest {
    /// Must not exist yet; the capture is in it as soon as it does.
    pub directory: PathBuf,
    pub scope: Scope,
}

/// What a backend holds and where: the facts behind `/health`, the ready callback and `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// `stub`, or the model's name as its file gives it.
    pub model: String,
    /// `cpu`, `cuda`, `metal`.
    pub worker_type: &'static str,
    /// `cpu`, `vram-only`, `unified`.
    pub memory_architecture: &'static str,
    /// As stored: `F32`, `F16`, `Q8_0`, … (`none` for the stub).
    pub quant_kind: String,
    /// `hf-json`, `gguf-bpe` (`none` for the stub).
    pub tokenizer_kind: &'static str,
    pub vocab_size: u32,
    pub context_length: u32,
    /// Bytes held, by account: weights, cache and buffers.
    pub memory_bytes: u64,
    pub vram_bytes: u64,
    /// What a CUDA device says of itself; none elsewhere.
    pub cuda: Option<CudaFacts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CudaFacts {
    /// Its compute capability, as a compiler names it: `sm_90`.
    pub sm: String,
    pub runtime_version: String,
}

/// Raised by `/cancel`, by a client that went away, by a time-out and by a shutdown; read between layers.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    /// Read on its own between layers: one load, no lock.
    raised: AtomicBool,
    /// Held while `raised` is set, so that nobody who is about to wait misses it.
    gate: Mutex<()>,
    changed: Condvar,
}

impl CancelFlag {
    pub fn raise(&self) {
        let _gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.raised.store(true, Ordering::Release);
        self.0.changed.notify_all();
    }

    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Waits for `pause`, or less when the flag is raised meanwhile; says whether it is raised.
    pub fn wait(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_raised() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            gate = self.0.changed.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Where the text goes as it is computed. A piece is valid UTF-8 and never empty; `ids` are the tokens it was made from.
pub trait TokenSink {
    /// Called once, before the first piece: the prompt's length in tokens.
    fn prompt_read(&mut self, tokens_in: u32);
    fn piece(&mut self, text: &str, ids: &[u32]);
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Tokens sampled, the end-of-text token and those of a matched stop included.
    pub tokens_out: u32,
    pub decode_time_ms: u64,
    pub stop_reason: StopReason,
    pub stop_sequence_matched: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StopReason {
    MaxTokens,
    Eos,
    StopSequence,
}

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("cancelled")]
    Cancelled,
    #[error("out of device memory: {required} bytes needed, {available} available")]
    OutOfMemory { required: u64, available: u64 },
    /// The same, found out by asking for it.
    #[error("out of device memory: {0}")]
    DeviceFull(String),
    #[error("{0}")]
    Internal(String),
}

pub trait InferenceBackend: Send {
    fn describe(&self) -> Description;

    /// Whether all weights are in the memory that `describe` names. True for whoever holds what it loaded; a backend
    /// that may spill to the host's memory answers for itself.
    fn resident(&self) -> bool {
        true
    }

    /// The text-to-ids half of the model, for checks before inference: shared, so that the HTTP thread can ask while a
    /// token is being computed. `None` where there is nothing to count (the stub).
    fn tokenizer(&self) -> Option<Arc<dyn Encode>>;

    /// Runs one job to its end. Blocks; called on the inference thread and nowhere else.
    fn run(&mut self, job: &Job, sink: &mut dyn TokenSink, cancel: &CancelFlag) -> Result<Finished, BackendError>;
}

/// Text to token ids.
pub trait Encode: Send + Sync {
    fn encode(&self, text: &str) -> Vec<u32>;

    /// Whether there is a way from text to ids: false for a model that came without a tokenizer.
    fn reads_text(&self) -> bool {
        true
    }
}
