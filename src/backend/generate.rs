//! The generation loop that every backend shares: prompt in, tokens sampled one by one, text out as soon as it is certain.
//!
//! A backend brings an [`Engine`], which turns ids into logits. What comes after is the same for all of them: sampling,
//! characters that span tokens ([`Utf8Stream`]), stop sequences ([`StopMatcher`]), and the four ways to end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{BackendError, CancelFlag, Encode, Finished, Job, Prompt, StopReason, TokenSink};
use crate::model::tokenizer::{Tokenizer, Utf8Stream};
use crate::sampling::{Sampler, StopMatcher};

/// The compute inside a backend, with its cache of what it was fed.
pub trait Engine {
    /// Forgets everything that was fed.
    fn reset(&mut self);

    /// How many tokens can be fed between two resets.
    fn context_length(&self) -> usize;

    fn vocab_size(&self) -> usize;

    /// Feeds ids after what is cached and returns the logits of the last position, `[V]`. Reads the flag between layers
    /// and between chunks of a long input, and ends with `Cancelled` when it is raised.
    fn feed(&mut self, ids: &[u32], cancel: &CancelFlag) -> Result<&[f32], BackendError>;
}

/// How a job ended, and the ids behind its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    pub finished: Finished,
    pub prompt_ids: Vec<u32>,
    /// Every token sampled, the end-of-text token and those of a matched stop included.
    pub ids: Vec<u32>,
}

/// Runs one job to its end. A prompt may fill the context exactly: one token is then sampled, and the full context ends
/// the job as `max_tokens` would.
pub fn generate<E: Engine + ?Sized>(
    engine: &mut E,
    tokenizer: &dyn Tokenizer,
    job: &Job,
    sink: &mut dyn TokenSink,
    cancel: &CancelFlag,
) -> Result<Generation, BackendError> {
    let prompt_ids = match &job.prompt {
        Prompt::Text(text) => tokenizer.encode(text),
        Prompt::Ids(ids) => ids.clone(),
    };
    refuse_unfit(&prompt_ids, engine)?;
    sink.prompt_read(prompt_ids.len() as u32);

    let mut sampler = Sampler::new(&job.sampling, engine.vocab_size(), &prompt_ids);
    let mut text = TextOut::new(&job.stop);
    let max_tokens = job.max_tokens as usize;
    let mut room = engine.context_length() - prompt_ids.len();
    let mut ids = Vec::with_capacity(max_tokens.min(room + 1));
    let mut stop_sequence_matched = None;

    engine.reset();
    let mut logits = engine.feed(&prompt_ids, cancel)?; // [V]
    let decode_started = Instant::now();
    let stop_reason = loop {
        if cancel.is_raised() {
            return Err(BackendError::Cancelled);
        }
        let id = sampler.sample(logits).map_err(|error| BackendError::Internal(error.to_string()))?;
        ids.push(id);
        if tokenizer.is_end_of_text(id) {
            text.finish(sink);
            break StopReason::Eos;
        }
        if let Some(stop) = text.push(id, tokenizer.token_bytes(id), sink) {
            stop_sequence_matched = Some(stop);
            break StopReason::StopSequence;
        }
        if ids.len() >= max_tokens || room == 0 {
            text.finish(sink);
            break StopReason::MaxTokens;
        }
        logits = engine.feed(&[id], cancel)?;
        room -= 1;
    };
    let finished = Finished {
        tokens_out: ids.len() as u32,
        decode_time_ms: decode_started.elapsed().as_millis() as u64,
        stop_reason,
        stop_sequence_matched,
    };
    Ok(Generation { finished, prompt_ids, ids })
}

/// What the checks before a job have refused already; said once more, since the engine relies on it.
fn refuse_unfit<E: Engine + ?Sized>(prompt: &[u32], engine: &E) -> Result<(), BackendError> {
    if prompt.is_empty() {
        return Err(BackendError::Internal("the prompt has no tokens".to_owned()));
    }
    if prompt.len() > engine.context_length() {
        return Err(BackendError::Internal(format!(
            "the prompt has {} tokens and the context {}",
            prompt.len(),
            engine.context_length()
        )));
    }
    match prompt.iter().find(|id| **id as usize >= engine.vocab_size()) {
        Some(id) => Err(BackendError::Internal(format!(
            "the prompt has token {id} and the vocabulary {} tokens",
            engine.vocab_size()
        ))),
        None => Ok(()),
    }
}

/// From tokens to pieces: bytes become characters, characters wait until no stop sequence can claim them, and each
/// piece carries the tokens whose text begins in it.
struct TextOut {
    characters: Utf8Stream,
    stops: StopMatcher,
    /// Tokens not handed out yet, each with the length of the text before it.
    waiting: VecDeque<(u32, usize)>,
    /// Lengths of all text so far: completed, and handed out.
    completed: usize,
    released: usize,
    /// Buffers, empty between calls.
    decoded: String,
    piece: String,
    piece_ids: Vec<u32>,
}

impl TextOut {
    fn new(stops: &[String]) -> TextOut {
        TextOut {
            characters: Utf8Stream::default(),
            stops: StopMatcher::new(stops),
            waiting: VecDeque::new(),
            completed: 0,
            released: 0,
            decoded: String::new(),
            piece: String::new(),
            piece_ids: Vec::new(),
        }
    }

    /// Takes one token; the stop sequence, if it completes one.
    fn push(&mut self, id: u32, bytes: &[u8], sink: &mut dyn TokenSink) -> Option<String> {
        self.waiting.push_back((id, self.completed));
        self.characters.push(bytes, &mut self.decoded);
        self.completed += self.decoded.len();
        let matched = self.stops.push(&self.decoded, &mut self.piece).map(str::to_owned);
        self.decoded.clear();
        self.hand_out(sink);
        matched
    }

    /// The text ends here without a stop sequence: what was held back for one belongs to it.
    fn finish(&mut self, sink: &mut dyn TokenSink) {
        self.stops.finish(&mut self.piece);
        self.hand_out(sink);
    }

    fn hand_out(&mut self, sink: &mut dyn TokenSink) {
        if self.piece.is_empty() {
            return;
        }
        self.released += self.piece.len();
        while let Some((id, _)) = self.waiting.front().copied().filter(|(_, start)| *start < self.released) {
            self.piece_ids.push(id);
            self.waiting.pop_front();
        }
        sink.piece(&self.piece, &self.piece_ids);
        self.piece.clear();
        self.piece_ids.clear();
    }
}

/// A tokenizer as the checks before inference ask for it, from another thread.
pub struct SharedTokenizer(pub Arc<dyn Tokenizer>);

impl Encode for SharedTokenizer {
    fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text)
    }

    fn reads_text(&self) -> bool {
        self.0.reads_text()
    }
}
