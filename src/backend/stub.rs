//! Checkpoint 0: the whole contract and no model.
//!
//! Yields exactly `STUB`, `RESPONSE`, so that everything around a model can be shown before there is one, and so that
//! a harness can tell that there is none. Paced, it yields as many tokens as asked for, as slowly as asked for.

use std::sync::Arc;
use std::time::Instant;

use super::load::StubPace;
use super::{
    BackendError, CancelFlag, Description, Encode, Finished, InferenceBackend, Job, Prompt, StopReason, TokenSink,
};

/// The answer, repeated when more is asked for. The id of a piece is its index.
const PIECES: [&str; 2] = ["STUB", "RESPONSE"];

/// GPT-2's, so that a request written for the smallest real model (`top_k`, ids) is in range here too.
const VOCAB_SIZE: u32 = 50_257;

/// The longest prompt and the longest answer together: nothing runs out of context here.
const CONTEXT_LENGTH: u32 = 32_768 + 2_048;

pub struct Stub {
    pace: StubPace,
}

impl Stub {
    pub fn new(pace: StubPace) -> Self {
        Self { pace }
    }
}

impl InferenceBackend for Stub {
    fn describe(&self) -> Description {
        Description {
            model: "stub".to_owned(),
            worker_type: "cpu",
            memory_architecture: "cpu",
            quant_kind: "none".to_owned(),
            tokenizer_kind: "none",
            vocab_size: VOCAB_SIZE,
            context_length: CONTEXT_LENGTH,
            memory_bytes: (size_of::<Self>() + PIECES.concat().len()) as u64,
            vram_bytes: 0,
            cuda: None,
        }
    }

    fn tokenizer(&self) -> Option<Arc<dyn Encode>> {
        None
    }

    fn run(&mut self, job: &Job, sink: &mut dyn TokenSink, cancel: &CancelFlag) -> Result<Finished, BackendError> {
        let started = Instant::now();
        sink.prompt_read(match &job.prompt {
            Prompt::Ids(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
            Prompt::Text(_) => 0, // there is no tokenizer to count with
        });
        let tokens_out = self.pace.tokens.unwrap_or(PIECES.len() as u32).min(job.max_tokens);
        for index in 0..tokens_out {
            if cancel.wait(self.pace.delay) {
                return Err(BackendError::Cancelled);
            }
            let id = index % PIECES.len() as u32;
            sink.piece(PIECES[id as usize], &[id]);
        }
        let decode_time_ms = if self.pace.delay.is_zero() { 0 } else { started.elapsed().as_millis() as u64 };
        Ok(Finished { tokens_out, decode_time_ms, stop_reason: StopReason::MaxTokens, stop_sequence_matched: None })
    }
}
