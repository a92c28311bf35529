//! One job's sampler: the steps in their order, the tokens seen so far, and the one generator.

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::{
    Candidates, FILTERED, argmax, draw, is_greedy, keep_min_p, keep_top_k, keep_top_p, penalise, temper, uniform,
};

/// Checked before a job starts: every number is finite and in its range.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParameters {
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: u32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    #[error("the model's logit of token {id} is {logit}")]
    NotANumber { id: usize, logit: f32 },
    #[error("every one of the model's {vocab_size} logits is -inf")]
    NothingLeft { vocab_size: usize },
}

/// After the first token nothing is allocated.
#[derive(Clone, Debug)]
pub struct Sampler {
    parameters: SamplingParameters,
    /// Seeded once; one number is drawn for each token that is not greedy.
    generator: Pcg64,
    seen: Seen,
    /// The logits as the steps leave them, `[V]`.
    row: Vec<f32>,
    candidates: Candidates,
    weights: Vec<f32>,
}

impl Sampler {
    /// `prompt` counts as seen by the repetition penalty.
    pub fn new(parameters: &SamplingParameters, vocab_size: usize, prompt: &[u32]) -> Sampler {
        let mut seen = Seen::new(vocab_size);
        prompt.iter().for_each(|id| seen.insert(*id));
        Sampler {
            parameters: parameters.clone(),
            generator: Pcg64::seed_from_u64(parameters.seed),
            seen,
            row: Vec::with_capacity(vocab_size),
            candidates: Vec::with_capacity(vocab_size),
            weights: Vec::with_capacity(vocab_size),
        }
    }

    /// The next token, which then counts as seen. Logits of −∞ are filtered already; NaN and +∞ are the model's mistake
    /// and no token is made up from them.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SamplingError> {
        check(logits)?;
        let SamplingParameters { temperature, top_p, top_k, min_p, repetition_penalty, .. } = self.parameters;
        self.row.clear();
        self.row.extend_from_slice(logits);
        penalise(&mut self.row, &self.seen.ids, repetition_penalty);
        let id = if is_greedy(temperature) {
            argmax(&self.row)
        } else {
            temper(&mut self.row, temperature);
            keep_top_k(&mut self.row, top_k, &mut self.candidates);
            keep_top_p(&mut self.row, top_p, &mut self.candidates);
            keep_min_p(&mut self.row, min_p);
            draw(&self.row, uniform(&mut self.generator), &mut self.weights)
        };
        self.seen.insert(id);
        Ok(id)
    }
}

/// One pass without a branch, which also finds that something is left to choose from; which token is at fault is looked for
/// only when there is one.
fn check(logits: &[f32]) -> Result<(), SamplingError> {
    let is_mistake = |logit: f32| logit.is_nan() | (logit == f32::INFINITY);
    let (mut mistake, mut left) = (false, false);
    for &logit in logits {
        mistake |= is_mistake(logit);
        left |= logit > FILTERED;
    }
    if mistake && let Some(id) = logits.iter().position(|logit| is_mistake(*logit)) {
        return Err(SamplingError::NotANumber { id, logit: logits[id] });
    }
    if left { Ok(()) } else { Err(SamplingError::NothingLeft { vocab_size: logits.len() }) }
}

/// The distinct tokens of the prompt and of what was generated.
#[derive(Clone, Debug)]
struct Seen {
    is_seen: Vec<bool>,
    ids: Vec<u32>,
}

impl Seen {
    fn new(vocab_size: usize) -> Seen {
        Seen { is_seen: vec![false; vocab_size], ids: Vec::with_capacity(vocab_size) }
    }

    fn insert(&mut self, id: u32) {
        if let Some(is_seen) = self.is_seen.get_mut(id as usize).filter(|is_seen| !**is_seen) {
            *is_seen = true;
            self.ids.push(id);
        }
    }
}
