//! A text held against the reference token by token, as it unfolds: the logits after the tokens so far tell which token a
//! greedy worker must take next, and how likely a drawn one is. So all of a text is judged, however long it is and whatever
//! became of it, for one step of the reference a token.

use std::rc::Rc;

use serde_json::json;

use super::reference::{Reference, failed, softmax};
use crate::harness::Finding;
use crate::harness::target::{Worker, unique};
use crate::harness::transcript::Transcript;
use crate::layers::Station;
use crate::model::tokenizer::Utf8Stream;
use crate::parity::oracle::{Cache, Honest, Model, Nothing, OracleError, Pass, Tensor, two_best};

/// Where a text has come to.
pub struct Unfolding<'a> {
    reference: &'a Reference,
    model: Model<'a>,
    cache: Cache,
    /// Tokens in the cache.
    length: usize,
    /// Of the next token: [V]
    logits: Rc<Tensor>,
    held: Utf8Stream,
    /// So far, without the beginning of a character that is not complete.
    text: String,
}

impl<'a> Unfolding<'a> {
    /// After the prompt, with room for so many tokens.
    pub fn after(reference: &'a Reference, prompt: &str, room: usize) -> Result<Unfolding<'a>, Finding> {
        let (model, tokens) = (reference.model(), reference.encode(prompt));
        let mut unfolding = Unfolding {
            reference,
            model,
            cache: Cache::new(&model, (tokens.len() + room).min(model.configuration.n_ctx())),
            length: 0,
            logits: Rc::new(Tensor::zeros(&[0])),
            held: Utf8Stream::default(),
            text: String::new(),
        };
        unfolding.advance(&tokens).map_err(failed)?;
        Ok(unfolding)
    }

    fn advance(&mut self, tokens: &[u32]) -> Result<(), OracleError> {
        let pass = Pass::new(self.model, &Honest, tokens, self.length, &self.cache, &Nothing)?;
        self.logits = pass.get(Station::SelectedLogits, 0)?;
        let cache = pass.cache()?;
        drop(pass);
        self.cache = cache;
        self.length += tokens.len();
        Ok(())
    }

    pub fn logits(&self) -> &[f64] {
        &self.logits.values
    }

    /// The text with this token after it.
    fn with(&self, id: u32) -> String {
        let (mut held, mut text) = (self.held.clone(), self.text.clone());
        held.push(self.reference.bytes(id), &mut text);
        text
    }

    /// False where the context is full.
    pub fn take(&mut self, id: u32) -> Result<bool, Finding> {
        self.held.push(self.reference.bytes(id), &mut self.text);
        if self.length + 1 >= self.model.configuration.n_ctx() {
            return Ok(false);
        }
        self.advance(&[id]).map_err(failed)?;
        Ok(true)
    }

    /// What an engine with this much rounding may take.
    fn choices(&self, rounding: f64) -> Vec<u32> {
        let least = self.logits()[two_best(self.logits()).0 as usize] - rounding;
        let ids = (0..self.logits().len() as u32).filter(|id| self.logits()[*id as usize] >= least);
        ids.collect()
    }
}

/// A job as it was asked, and what came.
pub struct Told {
    pub prompt: String,
    pub limit: usize,
    pub temperature: f64,
    pub seed: u64,
    pub transcript: Transcript,
}

impl Told {
    pub fn ask(worker: &Worker, prompt: &str, limit: usize, temperature: f64, seed: u64) -> Result<Told, Finding> {
        let job = json!({
            "job_id": unique("known"), "prompt": prompt, "max_tokens": limit, "temperature": temperature, "seed": seed,
        });
        let transcript = worker.run(&job, super::PATIENCE)?;
        transcript.completed()?;
        Ok(Told { prompt: prompt.to_owned(), limit, temperature, seed, transcript })
    }

    fn ended_by_itself(&self) -> bool {
        self.transcript.stop_reason().as_deref() == Some("EOS")
    }

    fn ids(&self) -> Result<Option<Vec<u32>>, Finding> {
        let Some(ids) = self.transcript.token_ids() else { return Ok(None) };
        let ids: Result<Vec<u32>, _> = ids.into_iter().map(u32::try_from).collect();
        ids.map(Some).map_err(|_| self.fail("ids of tokens", "one above 32 bits"))
    }

    fn fail(&self, expected: impl Into<String>, found: impl Into<String>) -> Finding {
        self.transcript.evidence(Finding::fail(expected, found).with("prompt", format!("{:?}", self.prompt)))
    }

    /// Every token is the reference's first choice, or one that rounding could put in its place.
    pub fn is_greedy(&self, reference: &Reference, rounding: f64) -> Result<(), Finding> {
        let mut unfolding = Unfolding::after(reference, &self.prompt, self.limit)?;
        let (text, ids) = (self.transcript.text(), self.ids()?);
        for step in 0..self.limit {
            let choices = unfolding.choices(rounding);
            let fits = |id: &u32| match ids.as_ref().and_then(|ids| ids.get(step)) {
                Some(told) => told == id && text.starts_with(&unfolding.with(*id)),
                None if reference.ends_text(*id) => self.ended_by_itself() && text == unfolding.text,
                None => text.starts_with(&unfolding.with(*id)),
            };
            let taken: Vec<u32> = choices.into_iter().filter(fits).collect();
            match taken[..] {
                [id] if reference.ends_text(id) => return Ok(()),
                [id] => {
                    if !unfolding.take(id)? {
                        return Ok(());
                    }
                }
                // Which of them the worker took can't be told from its text: it is right up to here.
                [_, _, ..] => return Ok(()),
                [] => return Err(self.another(reference, &unfolding, step, &text)),
            }
        }
        match text == unfolding.text {
            true => Ok(()),
            false => Err(self.fail(format!("{:?}, {} tokens", unfolding.text, self.limit), format!("{text:?}"))),
        }
    }

    fn another(&self, reference: &Reference, unfolding: &Unfolding<'_>, step: usize, text: &str) -> Finding {
        let (best, margin) = two_best(unfolding.logits());
        let whole = match reference.ends_text(best) {
            true => format!("{:?}, and the end of the text", unfolding.text),
            false => format!("{:?}", unfolding.with(best)),
        };
        let id = self.transcript.token_ids().and_then(|ids| ids.get(step).copied());
        let found = match id {
            Some(id) => format!("{text:?}, with id {id} for token {step} (expected {best})"),
            None => format!("{text:?}"),
        };
        let expected = format!("{whole}, as the reference computes it (token {step}, {margin:.3} before any other)");
        self.fail(expected, found)
    }

    /// The tokens that the events bring, one each; as many as can be told.
    fn drawn(&self, reference: &Reference) -> Result<Vec<u32>, Finding> {
        let all = 0..reference.file.configuration.vocab_size() as u32;
        if let Some(ids) = self.ids()? {
            return Ok(ids.into_iter().take_while(|id| all.contains(id)).collect());
        }
        let spelled = |piece: &str| {
            let mut ids = all.clone().filter(|id| reference.bytes(*id) == piece.as_bytes());
            ids.next().filter(|_| ids.next().is_none())
        };
        let pieces = self.transcript.tokens().map(|frame| {
            let data = frame.json().ok()?;
            spelled(data["t"].as_str()?)
        });
        Ok(pieces.map_while(|id| id).collect())
    }

    /// Adds what each drawn token says to the evidence, as if this had been the prompt.
    pub fn weigh(&self, reference: &Reference, prompt: &str, evidence: &mut Evidence) -> Result<(), Finding> {
        let mut unfolding = Unfolding::after(reference, prompt, self.limit)?;
        for id in self.drawn(reference)?.into_iter().take(self.limit) {
            evidence.add(&softmax(unfolding.logits(), self.temperature), id);
            if !unfolding.take(id)? {
                break;
            }
        }
        Ok(())
    }
}

/// Whether tokens were drawn by the chances that the reference gives, told from how surprising they were. For every λ,
/// exp(λ·surprise) over its mean is a martingale of mean 1 while the worker is honest, whatever it has drawn so far; so it
/// passes 1/α with a probability of α at most (Ville), and no other distribution has to be assumed.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub tokens: usize,
    /// −ln of their chances, and what was to be expected, in nats.
    pub surprise: f64,
    pub expected: f64,
    /// The logarithm of the martingale for each λ.
    against: [f64; LAMBDAS.len()],
    /// The same for a worker that always takes the likeliest token: what could be told here.
    power: f64,
}

/// Positive ones see what is too surprising, negative ones what is not surprising enough.
const LAMBDAS: [f64; 6] = [-1.0, -0.5, -0.2, 0.2, 0.5, 0.7];
/// An honest worker fails once in a thousand million runs.
const ALPHA: f64 = 1e-9;
/// By how much an engine's rounding moves a logarithm of a chance: twice what an engine with tables in f16 was seen to.
const ROUNDING: f64 = 4e-3;

impl Evidence {
    pub fn add(&mut self, chances: &[f64], id: u32) {
        let surprise = -chances[id as usize].max(f64::MIN_POSITIVE).ln();
        let likeliest = chances.iter().copied().fold(0.0, f64::max);
        let mean = |lambda: f64| -> f64 {
            chances.iter().filter(|chance| **chance > 0.0).map(|chance| chance.powf(1.0 - lambda)).sum::<f64>().ln()
        };
        for (against, lambda) in self.against.iter_mut().zip(LAMBDAS) {
            *against += lambda * surprise - mean(lambda) - lambda.abs() * ROUNDING;
        }
        self.power += likeliest.ln() - mean(-1.0);
        self.surprise += surprise;
        self.expected +=
            chances.iter().filter(|chance| **chance > 0.0).map(|chance| -chance * chance.ln()).sum::<f64>();
        self.tokens += 1;
    }

    /// What a logarithm of such a ratio does not pass.
    pub fn limit() -> f64 {
        (LAMBDAS.len() as f64 / ALPHA).ln()
    }

    /// A worker that does not draw would be told by now.
    pub fn tells(&self) -> bool {
        self.power > Self::limit()
    }

    pub fn is_honest(&self) -> bool {
        self.against.iter().all(|against| *against < Self::limit())
    }
}
