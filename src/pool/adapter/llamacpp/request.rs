//! A job in llama-server's words.

use serde_json::{Value, json};

use super::{EngineError, LlamaCpp};
use crate::backend::{Job, Prompt};
use crate::http::fields::FieldError;
use crate::worker::error::ApiError;
use crate::worker::validate;

/// The most probabilities that a token may carry.
const MOST_PROBABILITIES: u64 = 100;
const STOP_TOKENS: usize = 32;
/// Below this the contract takes the likeliest token.
const GREEDY: f32 = 1e-6;

/// A checked job, with the prompt as this engine's tokens.
#[derive(Clone, Debug)]
pub struct EngineJob {
    pub job: Job,
    pub prompt_ids: Vec<u32>,
    /// How many alternatives each token carries along, for evidence.
    pub n_probs: u32,
    /// Whether a prefix that a slot still holds may be used again. Off, since it changes the last bits of the logits, and
    /// the same seed has to give the same tokens.
    pub cache_prompt: bool,
}

/// Why there is no job: the request is wrong, or the engine did not answer.
#[derive(Debug)]
pub enum Unfit {
    Request(ApiError),
    Engine(EngineError),
}

impl EngineJob {
    /// Reads and checks the body of `/execute`, as the contract has it, with two fields more: `n_probs` (0 to 100) and
    /// `kv_hint` (`reuse`, `cold`).
    pub async fn read(body: &[u8], server: &LlamaCpp) -> Result<Self, Unfit> {
        let limits = server.limits();
        let extra = Extra::read(body);
        let (job, mut errors) = match (validate::job(body, &limits, None), extra.errors) {
            (Ok(job), errors) => (Some(job), errors),
            (Err(ApiError::Invalid(mut errors)), more) => {
                errors.extend(more);
                (None, errors)
            }
            (Err(other), _) => return Err(Unfit::Request(other)),
        };
        let Some(job) = job else { return Err(Unfit::Request(ApiError::Invalid(errors))) };
        let prompt_ids = match &job.prompt {
            Prompt::Ids(ids) => ids.clone(),
            Prompt::Text(text) => server.tokenize(text, true).await.map_err(Unfit::Engine)?,
        };
        let most = limits.prompt_tokens as usize;
        if prompt_ids.len() > most {
            let message = format!("the prompt has {} tokens; at most {most} fit", prompt_ids.len());
            errors.push(FieldError::new("prompt", "context", message));
        }
        for (index, stop) in job.stop.iter().enumerate() {
            if stop.len() > STOP_TOKENS {
                let tokens = server.tokenize(stop, false).await.map_err(Unfit::Engine)?.len();
                if tokens > STOP_TOKENS {
                    let message = format!("item {index}: expected at most {STOP_TOKENS} tokens, found {tokens}");
                    errors.push(FieldError::new("stop", "tokens", message));
                }
            }
        }
        if errors.is_empty() {
            Ok(Self { job, prompt_ids, n_probs: extra.n_probs, cache_prompt: extra.cache_prompt })
        } else {
            Err(Unfit::Request(ApiError::Invalid(errors)))
        }
    }

    /// The body of `/completion`. The order of the samplers is the contract's; those it does not know are off.
    pub fn completion(&self, context_length: u32) -> Value {
        let Job { max_tokens, sampling, stop, .. } = &self.job;
        let greedy = sampling.temperature < GREEDY;
        json!({
            "prompt": self.prompt_ids,
            "n_predict": max_tokens,
            "stream": true,
            "return_tokens": true,
            "n_probs": self.n_probs,
            "cache_prompt": self.cache_prompt,
            "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
            "temperature": if greedy { 0.0 } else { sampling.temperature },
            "top_k": if greedy { 1 } else { sampling.top_k },
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repetition_penalty,
            "repeat_last_n": context_length, // the penalty is over everything
            "seed": engine_seed(sampling.seed),
            "stop": stop,
        })
    }
}

/// The engine's seeds have 32 bits, and its largest one means "draw one": ours is folded, and keeps off that.
pub fn engine_seed(seed: u64) -> u32 {
    match (seed ^ (seed >> 32)) as u32 {
        u32::MAX => u32::MAX - 1,
        seed => seed,
    }
}

/// The fields that the contract does not have.
#[derive(Default)]
struct Extra {
    n_probs: u32,
    cache_prompt: bool,
    errors: Vec<FieldError>,
}

impl Extra {
    fn read(body: &[u8]) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return Self::default() };
        let mut extra = Self::default();
        match object.get("n_probs") {
            None | Some(Value::Null) => {}
            Some(value) => match value.as_u64().filter(|count| *count <= MOST_PROBABILITIES) {
                Some(count) => extra.n_probs = count as u32,
                None => {
                    let message = format!("expected a whole number from 0 to {MOST_PROBABILITIES}");
                    extra.errors.push(FieldError::new("n_probs", "range", message));
                }
            },
        }
        match object.get("kv_hint") {
            None | Some(Value::Null) => {}
            Some(Value::String(hint)) if hint == "reuse" => extra.cache_prompt = true,
            Some(Value::String(hint)) if hint == "cold" => {}
            Some(_) => extra.errors.push(FieldError::new("kv_hint", "enum", "expected reuse or cold")),
        }
        extra
    }
}
