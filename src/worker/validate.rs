//! From the bytes of a request to a checked one, or to the list of everything that is wrong with it.
//!
//! Read by hand from the JSON value: a derived reader stops at the first wrong type, and the contract wants them all.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::error::ApiError;
use crate::backend::{Description, Encode, Job, Prompt, SamplingParameters};
use crate::http::fields::{self, Fields, kind, whole};

pub const PROMPT_CHARACTERS: RangeInclusive<usize> = 1..=32_768;
const STOP_COUNT: usize = 4;
const STOP_BYTES: RangeInclusive<usize> = 1..=100;
const STOP_TOKENS: usize = 32;
/// What a refusal does not repeat.
const SECRET: &[&str] = &["prompt", "prompt_ids", "stop"];

/// What the fields of a request are held against: the contract's numbers, as the model and the flags narrow them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest prompt in tokens: the context, or less by flag.
    pub prompt_tokens: u32,
    pub max_tokens: u32,
    pub vocab_size: u32,
}

impl Limits {
    pub fn new(model: &Description, max_tokens_in: Option<u32>, max_tokens_out: u32) -> Self {
        let prompt_tokens = max_tokens_in.unwrap_or(u32::MAX).min(model.context_length);
        Self { prompt_tokens, max_tokens: max_tokens_out, vocab_size: model.vocab_size }
    }
}

/// Reads and checks the body of `/execute`. A missing seed is drawn here. Encodes the prompt where there is a tokenizer,
/// which takes its time: not for the thread that serves.
pub fn job(body: &[u8], limits: &Limits, tokenizer: Option<&dyn Encode>) -> Result<Job, ApiError> {
    let object = fields::object(body)?;
    let mut fields = Fields::of(&object, SECRET);
    let job_id = fields.job_id();
    let prompt = fields.prompt(limits, tokenizer);
    let max_tokens = fields.integer("max_tokens", 1, limits.max_tokens.into()).map(|value| value as u32);
    let temperature = fields.number("temperature", 0.0, 2.0);
    let top_p = fields.number("top_p", 0.0, 1.0);
    let top_k = fields.integer("top_k", 0, limits.vocab_size.into()).map(|value| value as u32);
    let min_p = fields.number("min_p", 0.0, 1.0);
    let repetition_penalty = fields.penalty();
    let stop = fields.stop(tokenizer);
    let seed = fields.integer("seed", 0, u64::MAX);
    let errors = fields.errors;
    let (Some(job_id), Some(prompt), true) = (job_id, prompt, errors.is_empty()) else {
        return Err(ApiError::Invalid(errors));
    };
    let sampling = SamplingParameters {
        temperature: temperature.unwrap_or(1.0),
        top_p: top_p.unwrap_or(1.0),
        top_k: top_k.unwrap_or(0),
        min_p: min_p.unwrap_or(0.0),
        repetition_penalty: repetition_penalty.unwrap_or(1.0),
        seed: seed.unwrap_or_else(drawn_seed),
    };
    Ok(Job { job_id, prompt, max_tokens: max_tokens.unwrap_or(limits.max_tokens), sampling, stop, capture: None })
}

/// Reads and checks the body of `/cancel`.
pub fn job_id(body: &[u8]) -> Result<String, ApiError> {
    let object = fields::object(body)?;
    let mut fields = Fields::of(&object, SECRET);
    fields.job_id().ok_or(ApiError::Invalid(fields.errors))
}

/// A job's id names a folder in places, so the two names that are folders already are none.
pub fn is_job_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

/// From the operating system, through the one source of a random UUID: 122 of its 128 bits are random, and the fixed
/// ones are folded away.
fn drawn_seed() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(32)
}

impl<'a> Fields<'a> {
    fn job_id(&mut self) -> Option<String> {
        match self.get("job_id") {
            Some(Value::String(text)) if is_job_id(text) => return Some(text.clone()),
            Some(Value::String(_)) => {
                self.refuse("job_id", "pattern", "expected 1 to 128 of A-Z a-z 0-9 . _ : -, and neither '.' nor '..'")
            }
            Some(other) => self.refuse_type("job_id", "a string", other),
            None => self.refuse("job_id", "required", "job_id is missing"),
        }
        None
    }

    /// The prompt as text or as ids, and that it fits.
    fn prompt(&mut self, limits: &Limits, tokenizer: Option<&dyn Encode>) -> Option<Prompt> {
        let before = self.errors.len();
        let prompt = match (self.get("prompt"), self.get("prompt_ids")) {
            (None, None) => {
                self.refuse("prompt", "required", "prompt is missing");
                None
            }
            (Some(_), Some(_)) => {
                self.refuse("prompt_ids", "exclusive", "prompt and prompt_ids exclude each other");
                None
            }
            (Some(_), None) if tokenizer.is_some_and(|tokenizer| !tokenizer.reads_text()) => {
                self.refuse("prompt", "tokenizer", "the model has no tokenizer: send token ids as prompt_ids");
                None
            }
            (Some(value), None) => self.prompt_text(value),
            (None, Some(value)) => self.prompt_ids(value, limits.vocab_size),
        };
        let length = match (&prompt, tokenizer) {
            (Some(Prompt::Ids(ids)), _) => ids.len(),
            (Some(Prompt::Text(text)), Some(tokenizer)) => tokenizer.encode(text).len(),
            _ => 0,
        };
        if length > limits.prompt_tokens as usize {
            let field = if matches!(prompt, Some(Prompt::Ids(_))) { "prompt_ids" } else { "prompt" };
            self.refuse(
                field,
                "context",
                format!("the prompt has {length} tokens; at most {} fit", limits.prompt_tokens),
            );
        }
        prompt.filter(|_| self.errors.len() == before)
    }

    fn prompt_text(&mut self, value: &Value) -> Option<Prompt> {
        let Value::String(text) = value else {
            self.refuse_type("prompt", "a string", value);
            return None;
        };
        let characters = text.chars().count();
        if !PROMPT_CHARACTERS.contains(&characters) {
            self.refuse("prompt", "length", format!("expected 1 to 32768 characters, found {characters}"));
            return None;
        }
        Some(Prompt::Text(text.clone()))
    }

    fn prompt_ids(&mut self, value: &Value, vocab_size: u32) -> Option<Prompt> {
        let Value::Array(items) = value else {
            self.refuse_type("prompt_ids", "an array of token ids", value);
            return None;
        };
        if items.is_empty() || items.len() > *PROMPT_CHARACTERS.end() {
            self.refuse("prompt_ids", "length", format!("expected 1 to 32768 ids, found {}", items.len()));
            return None;
        }
        let id = |item: &Value| whole(item).filter(|&id| id < u64::from(vocab_size)).map(|id| id as u32);
        match items.iter().position(|item| id(item).is_none()) {
            Some(index) => {
                self.refuse(
                    "prompt_ids",
                    "range",
                    format!("item {index} is no id from 0 to {}", vocab_size.saturating_sub(1)),
                );
                None
            }
            None => Some(Prompt::Ids(items.iter().filter_map(id).collect())),
        }
    }

    /// Above 0 and up to 2. What is above 0 stays above it as an f32: logits are divided by it.
    fn penalty(&mut self) -> Option<f32> {
        let found = self.float("repetition_penalty")?;
        if found > 0.0 && found <= 2.0 {
            return Some((found as f32).max(f32::MIN_POSITIVE));
        }
        self.refuse("repetition_penalty", "range", "expected more than 0.0 and at most 2.0");
        None
    }

    fn stop(&mut self, tokenizer: Option<&dyn Encode>) -> Vec<String> {
        let items = match self.get("stop") {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.refuse_type("stop", "an array of strings", other);
                return Vec::new();
            }
        };
        if items.len() > STOP_COUNT {
            self.refuse("stop", "count", format!("expected at most {STOP_COUNT} sequences, found {}", items.len()));
            return Vec::new();
        }
        let mut stop = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let Value::String(text) = item else {
                self.refuse("stop", "type", format!("item {index}: expected a string, found {}", kind(item)));
                continue;
            };
            if !STOP_BYTES.contains(&text.len()) {
                let length = text.len();
                self.refuse("stop", "length", format!("item {index}: expected 1 to 100 bytes, found {length}"));
                continue;
            }
            let tokens = tokenizer.map_or(0, |tokenizer| tokenizer.encode(text).len());
            if tokens > STOP_TOKENS {
                self.refuse(
                    "stop",
                    "tokens",
                    format!("item {index}: expected at most {STOP_TOKENS} tokens, found {tokens}"),
                );
            }
            stop.push(text.clone());
        }
        stop
    }
}
