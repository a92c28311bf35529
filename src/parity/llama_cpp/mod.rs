//! llama.cpp as an independent engine: a capture through its evaluation callback, on its own, unchanged graph.
//!
//! [`capture`] checks the file with our reader first, since llama.cpp answers some bad files by ending the process; then
//! `engine` loads it and computes, and for every node of the graph `callback` asks `stations` whether it is one.
//!
//! The attention is the plain one (flash attention has neither scores nor probabilities) with a cache in f32. What is left
//! between llama.cpp and f64 is then its GELU, which goes through a table of f16 values. So there are two [`Lane`]s: as
//! shipped, with a tolerance for that, and exact, in which the callback puts the GELU of its own `ffn_up_b` in its place.
//! Everything else is llama.cpp's in both.

mod callback;
mod engine;
mod log;
mod stations;

use std::path::Path;

use sha2::{Digest, Sha256};

use super::capture::{Capture, Manifest, Sizes, Tensor};
use super::log::Settings;
use crate::model::digest::{hex, model_digest};
use crate::model::file::{self, Format, ModelFile};
use crate::model::tokenizer::{self, Tokenizer, TokenizerError};
use crate::model::{Configuration, ModelError};
use callback::Recorder;
use engine::{Context, Model};

/// Cp11's.
const TEMPERATURES: [f32; 3] = [0.5, 1.0, 2.0];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// With its own GELU: tolerance profile `ggml`.
    Shipped,
    /// With an exact one: tolerance profile `exact`.
    #[default]
    Exact,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub lane: Lane,
    /// Decode steps whose cache is captured.
    pub steps: usize,
    /// Tokens to generate, at temperature 0.
    pub max_tokens: usize,
    /// The stations of every layer, not of layer 0 alone.
    pub every_layer: bool,
    pub threads: usize,
    /// The model's name in the manifest; the file's if absent.
    pub name: Option<String>,
    /// Tokens that another engine chose, to follow instead of the most likely ones: what both compute can then be held
    /// against each other to the end, also where the text is drawn.
    pub follow: Vec<u32>,
    /// Where every tensor of every pass is logged.
    pub log: Option<Settings>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lane: Lane::Exact,
            steps: 2,
            max_tokens: 10,
            every_layer: false,
            threads: 1,
            name: None,
            follow: Vec::new(),
            log: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LlamaCppError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{0}: llama.cpp reads GGUF, and this is a safetensors model")]
    NotGguf(String),
    #[error("{model}: its tokenizer cannot be used: {source}")]
    Tokenizer { model: String, source: TokenizerError },
    #[error("{model}: llama.cpp refuses it: {log}")]
    Refused { model: String, log: String },
    #[error("{model}: llama.cpp makes no context for it: {log}")]
    NoContext { model: String, log: String },
    #[error("the prompt has no tokens")]
    NoTokens,
    #[error("there is a token {token}, and the vocabulary {vocab_size} tokens")]
    UnknownToken { token: u32, vocab_size: usize },
    #[error("{needed} tokens are needed for the prompt and {steps} decode steps, and the context has {n_ctx}")]
    TooLong { needed: usize, steps: usize, n_ctx: usize },
    #[error("the text ends after {tokens} tokens, before {steps} decode steps are captured")]
    TooShort { tokens: usize, steps: usize },
    #[error("the parity log {file} cannot be written: {source}")]
    Log { file: String, source: std::io::Error },
    #[error("llama.cpp computes nothing: llama_decode returns {code}: {log}")]
    Decode { code: i32, log: String },
    #[error("llama.cpp's node `{node}` is not as expected: {why}")]
    Node { node: String, why: String },
    #[error("llama.cpp's graph has no node for {0}: this version of it has other names")]
    NoNode(String),
}

/// Runs llama.cpp on a GGUF file: the prompt, then a greedy generation, with every station of the prefill and the cache
/// after each step.
pub fn capture(path: &Path, prompt: &[u32], options: &Options) -> Result<Capture, LlamaCppError> {
    let file = file::open(path, &mut |_| ())?;
    let shown = || path.display().to_string();
    if file.format != Format::Gguf {
        return Err(LlamaCppError::NotGguf(shown()));
    }
    let sizes = file.configuration.clone();
    check_prompt(prompt, options.steps, &sizes)?;
    check_ids(&options.follow, &sizes)?;
    let tokenizer = tokenizer::open(&file.tokenizer_source, sizes.eos_token_id())
        .map_err(|source| LlamaCppError::Tokenizer { model: shown(), source })?;
    let mut manifest = manifest(&file, prompt, tokenizer.as_ref(), options);
    // llama.cpp maps the file itself.
    drop(file);

    let model = Model::open(path)?;
    let mut recorder = Recorder::new(&sizes, options.lane, options.every_layer);
    if let Some(settings) = &options.log {
        recorder.log_to(log::Log::start(settings, &manifest)?);
    }
    let positions = (prompt.len() + options.max_tokens.max(options.follow.len())).min(sizes.n_ctx());
    let mut context = Context::new(&model, positions, prompt.len(), options.threads, recorder)?;
    let ids = generate(&mut context, prompt, tokenizer.as_ref(), &sizes, options)?;
    let text: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
    manifest.generated_text = String::from_utf8_lossy(&text).into_owned();
    manifest.generated_bytes = hex(&text);
    Ok(Capture { manifest, tensors: context.into_tensors() })
}

fn check_prompt(prompt: &[u32], steps: usize, sizes: &Configuration) -> Result<(), LlamaCppError> {
    let n_ctx = sizes.n_ctx();
    if prompt.is_empty() {
        return Err(LlamaCppError::NoTokens);
    }
    check_ids(prompt, sizes)?;
    let needed = prompt.len().saturating_add(steps);
    if needed > n_ctx { Err(LlamaCppError::TooLong { needed, steps, n_ctx }) } else { Ok(()) }
}

fn check_ids(ids: &[u32], sizes: &Configuration) -> Result<(), LlamaCppError> {
    let vocab_size = sizes.vocab_size();
    match ids.iter().find(|id| **id as usize >= vocab_size) {
        Some(&token) => Err(LlamaCppError::UnknownToken { token, vocab_size }),
        None => Ok(()),
    }
}

/// What is known before anything is computed.
fn manifest(file: &ModelFile, prompt: &[u32], tokenizer: &dyn Tokenizer, options: &Options) -> Manifest {
    let sizes = &file.configuration;
    let bytes: Vec<u8> = prompt.iter().flat_map(|id| tokenizer.token_bytes(*id)).copied().collect();
    // What else has no GELU is as exact as shipped.
    let (taps, profile) = match (sizes, options.lane) {
        (Configuration::Llama(_), _) => ("evaluation callback", "exact"),
        (Configuration::Gpt2(_), Lane::Shipped) => ("evaluation callback", "ggml"),
        (Configuration::Gpt2(_), Lane::Exact) => ("evaluation callback, GELU replaced by the exact one", "exact"),
    };
    Manifest {
        engine: "llama.cpp".to_owned(),
        engine_version: engine::version(),
        model: options.name.clone().unwrap_or_else(|| file.name.clone()),
        architecture: sizes.architecture().to_owned(),
        sizes: Sizes {
            n_layer: sizes.n_layer(),
            n_head: sizes.n_head(),
            n_embd: sizes.n_embd(),
            n_ctx: sizes.n_ctx(),
            vocab_size: sizes.vocab_size(),
        },
        model_digest: model_digest(&file.weights),
        weights_dtype: file.quant_kind.clone(),
        compute_dtype: "F32".to_owned(),
        prompt_sha256: hex(&Sha256::digest(&bytes)),
        token_ids: prompt.to_vec(),
        steps: options.steps,
        taps: taps.to_owned(),
        tolerance_profile: profile.to_owned(),
        ..Manifest::default()
    }
}

/// Greedy ids, and the tensors that belong to no node: the selected row, what is chosen, and how.
fn generate(
    context: &mut Context<'_>,
    prompt: &[u32],
    tokenizer: &dyn Tokenizer,
    sizes: &Configuration,
    options: &Options,
) -> Result<Vec<u32>, LlamaCppError> {
    let mut last = context.feed(prompt, 0)?; // [V]
    context.recorder().expect_stations()?;
    let mut own = vec![("cp09.logits".to_owned(), Tensor::f32(&[last.len()], last.clone()))];
    for temperature in TEMPERATURES {
        let probabilities = engine::probabilities(&last, temperature);
        own.push((format!("cp11.probs.t{temperature:.1}"), Tensor::f32(&[last.len()], probabilities)));
    }

    let (mut ids, mut margins) = (Vec::new(), Vec::new());
    loop {
        let (likely, margin) = choose(&last);
        let id = options.follow.get(ids.len()).copied().unwrap_or(likely);
        ids.push(id);
        margins.push(margin);
        let is_last = match options.follow.len() {
            0 => tokenizer.is_end_of_text(id) || ids.len() >= options.max_tokens,
            count => ids.len() >= count,
        };
        if is_last || prompt.len() + ids.len() > sizes.n_ctx() {
            break;
        }
        last = context.feed(&[id], prompt.len() + ids.len() - 1)?;
        if ids.len() >= options.steps {
            context.recorder().stop_at(options.steps);
        }
    }
    let (tokens, steps) = (ids.len(), options.steps);
    if tokens <= steps {
        return Err(LlamaCppError::TooShort { tokens, steps });
    }

    let numbers = |ids: &[u32]| ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
    own.push(("cp10.argmax".to_owned(), Tensor::i64(&[1], numbers(&ids[..1]))));
    own.push(("cp12.ids".to_owned(), Tensor::i64(&[ids.len()], numbers(&ids))));
    own.push(("cp12.margins".to_owned(), Tensor::f64(&[ids.len()], margins)));
    context.recorder().tensors.extend(own);
    Ok(ids)
}

/// The largest logit's id, the lowest where several are, and by how much it is larger than the next.
fn choose(logits: &[f32]) -> (u32, f64) {
    let (mut best, mut second) = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate().skip(1) {
        if *logit > logits[best] {
            (best, second) = (id, logits[best]);
        } else {
            second = second.max(*logit);
        }
    }
    (best as u32, f64::from(logits[best]) - f64::from(second))
}
