//! Engines × stations: what one engine computes for a subject, held against what an independent one says is right. Every
//! comparison is kept, for the matrix at the end of a run.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::Subject;
#[cfg(feature = "candle")]
use crate::backend::candle::{CandleBackend, device::Place};
use crate::backend::cpu::CpuBackend;
use crate::backend::{CancelFlag, Job, Prompt, SamplingParameters, TokenSink};
use crate::harness::ladder::reference::Reference;
use crate::harness::selection::ModelFormat;
use crate::harness::{Finding, Verdict};
use crate::parity::diff::{Diff, Options, Outcome, Row, Standing, diff, story};
use crate::parity::golden::Golden;
use crate::parity::{Capture, Scope};

/// One cell's worth of a matrix: an engine on a subject.
#[derive(Clone, Debug)]
pub struct Compared {
    pub subject: String,
    pub engine: String,
    pub diff: Diff,
}

static COMPARED: Mutex<Vec<Compared>> = Mutex::new(Vec::new());

/// What was compared since the last time, in the order of subjects and engines.
pub fn take() -> Vec<Compared> {
    let mut compared = std::mem::take(&mut *COMPARED.lock().unwrap_or_else(PoisonError::into_inner));
    compared.sort_by(|one, other| (&one.subject, &one.engine).cmp(&(&other.subject, &other.engine)));
    compared
}

/// What an engine computed: whole, or as a golden keeps it.
enum Shown {
    Whole(Capture),
    Golden(Golden),
}

/// Every station that both show is within its tolerance.
pub fn agree(engine: &str, reference: &str, subject: &Subject) -> Result<(), Finding> {
    let golden = subject.golden(reference)?;
    let (right, mut found) = match shown(engine, subject, &golden.capture)? {
        Shown::Whole(capture) => (golden.capture.clone(), cut(&golden, &capture)?),
        // of two goldens the one that keeps less says what is compared
        Shown::Golden(other) if golden.slices.is_empty() => (cut(&other, &golden.capture)?, other.capture),
        Shown::Golden(other) => (golden.capture.clone(), other.capture),
    };
    // An engine may show more, of other layers: what only one shows is no part of the matrix.
    found.tensors.retain(|name, _| right.tensors.contains_key(name));
    let diff = diff(&right, &found, Options::default());
    keep(Compared { subject: subject.name(), engine: engine.to_owned(), diff })
}

/// For the matrix; and the verdict.
pub fn keep(compared: Compared) -> Result<(), Finding> {
    let verdict = judge(&compared.diff);
    COMPARED.lock().unwrap_or_else(PoisonError::into_inner).push(compared);
    verdict
}

pub fn judge(diff: &Diff) -> Result<(), Finding> {
    let agrees = diff.rows.iter().filter(|row| row.standing() == Standing::Agrees).count();
    if diff.outcome == Outcome::Parity && agrees > 0 {
        return Ok(());
    }
    let is_tie = diff.rows.iter().all(|row| !matches!(row.standing(), Standing::Diverges | Standing::Missing))
        && diff.rows.iter().any(|row| row.standing() == Standing::NearTie);
    let verdict = if is_tie { Verdict::NearTie } else { Verdict::Fail };
    let expected = format!("every tensor as {} has it", diff.reference.title());
    let found = diff.first.as_ref().map_or_else(
        || format!("{:?}, {agrees} tensors agree", diff.outcome),
        |first| format!("they part at {}", first.place),
    );
    Err(Finding::new(verdict, expected, found).with("difference", story::tell(diff)))
}

fn cut(golden: &Golden, capture: &Capture) -> Result<Capture, Finding> {
    golden.cut(capture).map_err(|error| Finding::fail("tensors of the golden's shapes", error.to_string()))
}

/// The prompt's ids, the steps and the length of the text are the golden's, so that tokenizers play no part.
fn shown(engine: &str, subject: &Subject, like: &Capture) -> Result<Shown, Finding> {
    let generate = like.tensors.get("cp12.ids").map_or(0, |ids| ids.count());
    let (ids, steps) = (&like.manifest.token_ids, like.manifest.steps);
    let folder = tempfile::tempdir().map_err(|error| Finding::error("a folder", error.to_string()))?;
    let model = |format| subject.write_model(folder.path(), format);
    match engine {
        "cpu" => {
            let (prompt, scope) = (Prompt::Ids(ids.clone()), Scope { every_layer: false, steps });
            let captured = cpu(&model(ModelFormat::Safetensors)?, 1, prompt, scope, generate as u32);
            captured.map(Shown::Whole).map_err(|error| Finding::fail("a capture of the CPU engine", error.to_string()))
        }
        "candle" => {
            needs_candle()?;
            let (prompt, scope) = (Prompt::Ids(ids.clone()), Scope { every_layer: false, steps });
            let captured = candle(&model(ModelFormat::Safetensors)?, prompt, scope, generate as u32);
            captured.map(Shown::Whole).map_err(|error| Finding::fail("a capture of candle", error.to_string()))
        }
        "reference" => {
            let reference = Reference::open(&model(ModelFormat::Safetensors)?)?;
            reference.capture(ids, steps, generate).map(Shown::Whole)
        }
        #[cfg(feature = "llama-cpp")]
        "llama.cpp" => {
            use crate::parity::llama_cpp;
            let options = llama_cpp::Options { steps, max_tokens: generate, ..Default::default() };
            let captured = llama_cpp::capture(&model(ModelFormat::Gguf)?, ids, &options);
            captured.map(Shown::Whole).map_err(|error| Finding::fail("a capture of llama.cpp", error.to_string()))
        }
        golden => subject.golden(golden).map(Shown::Golden),
    }
}

/// Our CPU engine, in this process, greedily.
pub fn cpu(
    model: &Path,
    threads: usize,
    prompt: Prompt,
    scope: Scope,
    max_tokens: u32,
) -> Result<Capture, Box<dyn Error>> {
    let mut backend = CpuBackend::open(model, threads, false, &mut |_| {})?;
    Ok(backend.capture(&greedy(prompt, max_tokens), scope, &mut Unheard, &CancelFlag::default())?.1)
}

/// Whoever builds without candle can't see what it computes: no failure, and no pass.
pub fn needs_candle() -> Result<(), Finding> {
    match cfg!(feature = "candle") {
        true => Ok(()),
        false => Err(Finding::unimplemented("a build with candle", "this one is without the feature candle")),
    }
}

/// The same on candle, on the processor.
#[cfg(feature = "candle")]
pub fn candle(model: &Path, prompt: Prompt, scope: Scope, max_tokens: u32) -> Result<Capture, Box<dyn Error>> {
    let mut backend = CandleBackend::open(model, Place::Cpu, None, false, &mut |_| {})?;
    Ok(backend.capture(&greedy(prompt, max_tokens), scope, &mut Unheard, &CancelFlag::default())?.1)
}

#[cfg(not(feature = "candle"))]
pub fn candle(_: &Path, _: Prompt, _: Scope, _: u32) -> Result<Capture, Box<dyn Error>> {
    Err("this build is without candle: build it with --features candle".into())
}

fn greedy(prompt: Prompt, max_tokens: u32) -> Job {
    let sampling =
        SamplingParameters { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 };
    Job { job_id: "capture".to_owned(), prompt, max_tokens, sampling, stop: Vec::new(), capture: None }
}

/// Nobody listens: what is wanted is the capture.
struct Unheard;

impl TokenSink for Unheard {
    fn prompt_read(&mut self, _: u32) {}
    fn piece(&mut self, _: &str, _: &[u32]) {}
}

/// The matrix as text: a line for each engine on each subject, a column for each checkpoint.
pub fn lines(compared: &[Compared]) -> String {
    let width = |text: fn(&Compared) -> &str| compared.iter().map(|one| text(one).len()).max().unwrap_or_default();
    let (subject, engine) = (width(|one| &one.subject), width(|one| &one.engine));
    let mut text = format!("{:subject$}  {:engine$}  checkpoint 1  2  3  4  5  6  7  8  9 10 11 12\n", "", "");
    for one in compared {
        let marks: String = (1..=12).map(|checkpoint| format!(" {} ", mark(&one.diff, checkpoint))).collect();
        let signal = one.diff.noise.map(|_| signal(&one.diff)).unwrap_or_default();
        let line = format!("{:subject$}  {:engine$}            {marks}{signal}", one.subject, one.engine);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// What is left of it where weights are quantised.
fn signal(diff: &Diff) -> String {
    let told = |word: &str, least: Option<(&Row, f64)>| {
        least.map(|(row, sqnr)| format!("  {word} {sqnr:.0} dB ({})", row.name)).unwrap_or_default()
    };
    told("whole", diff.least_accumulated()) + &told("by itself", diff.least_by_itself())
}

/// The worst of a checkpoint's tensors.
fn mark(diff: &Diff, checkpoint: u8) -> &'static str {
    let rows = diff.rows.iter().filter(|row| row.place.is_some_and(|place| place.checkpoint() == checkpoint));
    rows.map(|row| row.standing()).max_by_key(|standing| standing.severity()).map_or(" ", Standing::sign)
}
