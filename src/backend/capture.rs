//! What a job computes, as a capture.
//!
//! The text has the same bits with and without: a tap changes no number, and everything else here happens after the job.
//! A job that is cancelled leaves nothing, since nobody waits for it any more; one that fails leaves what it computed,
//! since that is where to look.

use std::time::Instant;

use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::served::{ModelBackend, WatchedEngine};
use super::watch::Watch;
use crate::backend::generate::Generation;
use crate::backend::{BackendError, CancelFlag, CaptureRequest, Finished, Job, Prompt, Scope, TokenSink};
use crate::model::digest::hex;
use crate::model::error::Problem;
use crate::model::memory;
use crate::model::tokenizer::Utf8Stream;
use crate::parity::capture::{Capture, Manifest, Sizes, Tensor};
use crate::parity::{Recorder, capture::Values};
use crate::sampling::{argmax, softmax};

/// Checkpoint 11's.
const TEMPERATURES: [(&str, f32); 3] = [("cp11.probs.t0.5", 0.5), ("cp11.probs.t1.0", 1.0), ("cp11.probs.t2.0", 2.0)];

impl<E: WatchedEngine> ModelBackend<E> {
    /// Runs a job and captures it, in memory.
    pub fn capture(
        &mut self,
        job: &Job,
        scope: Scope,
        sink: &mut dyn TokenSink,
        cancel: &CancelFlag,
    ) -> Result<(Generation, Capture), BackendError> {
        let ids = self.prompt_ids(job);
        self.require_memory(ids.len(), job.max_tokens, scope)
            .map_err(|problem| BackendError::Internal(problem.to_string()))?;
        let recorder = Some(Recorder::within(scope));
        let mut watch = self.watch(job);
        watch.recorder = recorder;
        *self.engine.watch() = watch;
        let generation = self.generate(job, sink, cancel)?;
        let captured = self.captured(job, &ids, Some(&generation.ids));
        let nothing = || BackendError::Internal("the job computed nothing that could be captured".to_owned());
        Ok((generation, captured.ok_or_else(nothing)?))
    }

    /// Runs a job, and writes its capture before its end is told. A capture that cannot be had is a line in the log, and
    /// nothing that the job would notice.
    pub(super) fn run_and_write(
        &mut self,
        job: &Job,
        request: &CaptureRequest,
        sink: &mut dyn TokenSink,
        cancel: &CancelFlag,
    ) -> Result<Finished, BackendError> {
        let ids = self.prompt_ids(job);
        match self.require_memory(ids.len(), job.max_tokens, request.scope) {
            Ok(()) => self.engine.watch().recorder = Some(Recorder::within(request.scope)),
            Err(problem) => warn!(job_id = job.job_id, "No capture of this job: {problem}"),
        }
        let result = self.generate(job, sink, cancel);
        let generated = match &result {
            Ok(generation) => Some(&generation.ids[..]),
            Err(BackendError::Cancelled) => {
                if self.engine.watch().recorder.take().is_some() {
                    info!(job_id = job.job_id, "No capture of this job: it was cancelled");
                }
                None
            }
            Err(_) => None,
        };
        if let Some(capture) = self.captured(job, &ids, generated) {
            let since = Instant::now();
            match capture.write(&request.directory) {
                Ok(()) => info!(
                    job_id = job.job_id,
                    directory = request.directory.display().to_string(),
                    tensors = capture.tensors.len(),
                    bytes = capture.bytes(),
                    duration_ms = since.elapsed().as_millis() as u64,
                    "Capture written"
                ),
                Err(error) => warn!(job_id = job.job_id, "No capture of this job: {error}"),
            }
        }
        result.map(|generation| generation.finished)
    }

    /// Whoever is to see this job's passes, the recorder of a capture aside.
    pub(super) fn watch(&self, _job: &Job) -> Watch {
        #[cfg(feature = "orch_logging")]
        if let Some(writer) = &self.log {
            let (writer, source) = (writer.clone(), format!("{}/{}", E::NAME, _job.job_id).into());
            let log = Some(super::watch::Logged { writer, source, token_idx: 0 });
            return Watch { log, ..Watch::default() };
        }
        Watch::default()
    }

    /// Logs every pass from now on, tensor by tensor.
    pub fn start_log(&mut self, settings: &crate::parity::log::Settings) -> Result<(), crate::backend::StartError> {
        let refuse = |why: String| {
            let message = format!("ORCH_LOG_FILE {}: {why}", settings.file.display());
            crate::backend::StartError::new("INTERNAL", message)
        };
        #[cfg(feature = "orch_logging")]
        {
            let writer = crate::parity::log::Writer::start(settings, self.manifest().into());
            self.log = Some(writer.map_err(|error| refuse(format!("cannot be written: {error}")))?.into());
            Ok(())
        }
        #[cfg(not(feature = "orch_logging"))]
        Err(refuse("this worker was built without the feature orch_logging".to_owned()))
    }

    fn prompt_ids(&self, job: &Job) -> Vec<u32> {
        match &job.prompt {
            Prompt::Text(text) => self.tokenizer.encode(text),
            Prompt::Ids(ids) => ids.clone(),
        }
    }

    /// What the recorder keeps, and what a pass with all positions' logits needs besides.
    fn require_memory(&self, tokens: usize, max_tokens: u32, scope: Scope) -> Result<(), Problem> {
        let steps = scope.steps.min(max_tokens.saturating_sub(1) as usize); // more will not be computed
        let scope = Scope { steps, ..scope };
        let configuration = self.engine.configuration();
        let row = 7 * configuration.n_embd() + configuration.n_inner() + configuration.vocab_size();
        let working = (tokens as u64).saturating_mul(4 * row as u64);
        let required = scope.bytes(&configuration, tokens).saturating_add(working);
        memory::require("its capture", required, memory::available())
    }

    /// What the recorder has seen, with the checkpoints that come after the forward pass; `None` where not even the
    /// prompt was computed. A job that failed has no generated ids.
    fn captured(&mut self, job: &Job, prompt_ids: &[u32], generated: Option<&[u32]>) -> Option<Capture> {
        let recorder = self.engine.watch().recorder.take().filter(|recorder| recorder.passes() > 0)?;
        let steps = recorder.tensors.keys().filter_map(|name| step_of(name)).max().unwrap_or(0);
        let mut tensors: std::collections::BTreeMap<String, Tensor> =
            recorder.tensors.into_iter().map(|(name, recorded)| (name, recorded.into())).collect();
        if let Some(Tensor { values: Values::F32(logits), .. }) = tensors.get("cp09.logits") {
            let chosen = Tensor::i64(&[1], vec![argmax(logits).into()]);
            let mut after = vec![("cp10.argmax", chosen)];
            for (name, temperature) in TEMPERATURES {
                let mut probabilities = vec![0.0; logits.len()]; // [V]
                softmax(logits, temperature, &mut probabilities);
                after.push((name, Tensor::f32(&[probabilities.len()], probabilities)));
            }
            tensors.extend(after.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)));
        }
        if let Some(generated) = generated {
            let ids: Vec<i64> = generated.iter().map(|id| (*id).into()).collect();
            tensors.insert("cp12.ids".to_owned(), Tensor::i64(&[ids.len()], ids));
        }

        let generated = generated.unwrap_or_default();
        let bytes: Vec<u8> = generated.iter().flat_map(|id| self.tokenizer.token_bytes(*id)).copied().collect();
        let mut generated_text = String::new();
        Utf8Stream::default().push(&bytes, &mut generated_text);
        let prompt = match &job.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Ids(ids) => self.tokenizer.decode(ids),
        };
        let manifest = Manifest {
            prompt_sha256: hex(&Sha256::digest(prompt)),
            token_ids: prompt_ids.to_vec(),
            steps,
            generated_text,
            generated_bytes: hex(&bytes),
            ..self.manifest()
        };
        Some(Capture { manifest, tensors })
    }

    /// What is the same for every job.
    fn manifest(&self) -> Manifest {
        let configuration = self.engine.configuration();
        Manifest {
            engine: E::NAME.to_owned(),
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            model: self.description.model.clone(),
            architecture: configuration.architecture().to_owned(),
            sizes: Sizes {
                n_layer: configuration.n_layer(),
                n_head: configuration.n_head(),
                n_embd: configuration.n_embd(),
                n_ctx: configuration.n_ctx(),
                vocab_size: configuration.vocab_size(),
            },
            model_digest: self.model_digest().to_owned(),
            weights_dtype: self.description.quant_kind.clone(),
            compute_dtype: self.engine.compute_dtype().to_owned(),
            taps: "tap".to_owned(),
            ..Manifest::default()
        }
    }
}

/// The decode step whose cache a tensor is.
fn step_of(name: &str) -> Option<usize> {
    name.strip_prefix("cp03.step")?.split('.').next()?.parse().ok()
}
