//! The candle engine: every station against the f64 oracle, with and without a tap, cancelled, and out of memory.

use std::path::{Path, PathBuf};

use llorch::backend::candle::CandleBackend;
use llorch::backend::candle::device::Place;
use llorch::backend::{
    BackendError, CancelFlag, Finished, InferenceBackend, Job, Prompt, SamplingParameters, Scope, TokenSink,
};
use llorch::model::configuration::LlamaArchitecture;
use llorch::model::recipe::{LlamaSize, OutputFormat, Recipe, Size};
use llorch::model::{Configuration, Gpt2Configuration};
use llorch::parity::capture::{Capture, Values};
use llorch::parity::tolerance::{LogitScale, tolerance};
use llorch::parity::{self, Profile, oracle};
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("candle/every_station_as_the_oracle_has_it", every_station_as_the_oracle_has_it),
    ("candle/it_can_fail", it_can_fail),
    ("candle/a_tap_changes_no_bit", a_tap_changes_no_bit),
    ("candle/formats_agree", formats_agree),
    ("candle/cancelled_job_leaves_nothing", cancelled_job_leaves_nothing),
    ("candle/a_pass_that_does_not_fit_is_refused_before_it_runs", a_pass_that_does_not_fit_is_refused_before_it_runs),
    ("candle/a_device_that_is_not_there_is_named", a_device_that_is_not_there_is_named),
];

fn recipe(sizes: Gpt2Configuration) -> Recipe {
    Recipe::new(sizes, 3).expect("sound")
}

fn llama(architecture: LlamaArchitecture, size: Size) -> Recipe {
    Recipe::llama(LlamaSize::of(architecture, size).expect("there is one"), 3).expect("sound")
}

fn odd() -> Gpt2Configuration {
    Size::Odd.configuration()
}

/// Room for prompts that are computed in several lots.
fn long() -> Gpt2Configuration {
    Gpt2Configuration { n_ctx: 700, ..odd() }
}

fn written(recipe: &Recipe, format: OutputFormat) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(if format == OutputFormat::Gguf { "odd.gguf" } else { "odd" });
    recipe.write(&path, format).expect("written");
    (folder, path)
}

fn opened(path: &Path) -> CandleBackend {
    CandleBackend::open(path, Place::Cpu, None, false, &mut |_| {}).expect("opens")
}

fn backend(recipe: &Recipe) -> CandleBackend {
    let (_folder, path) = written(recipe, OutputFormat::Safetensors);
    opened(&path)
}

#[derive(Default)]
struct Heard {
    ids: Vec<u32>,
    cancel_after: Option<(usize, CancelFlag)>,
}

impl TokenSink for Heard {
    fn prompt_read(&mut self, _: u32) {}

    fn piece(&mut self, _: &str, ids: &[u32]) {
        self.ids.extend(ids);
        if let Some((_, flag)) = self.cancel_after.as_ref().filter(|(count, _)| self.ids.len() >= *count) {
            flag.raise();
        }
    }
}

/// Ids that visit the whole vocabulary, in an order of their own.
fn ids(count: usize, sizes: &Configuration) -> Vec<u32> {
    (0..count).map(|at| ((at * 97 + at * at * 31 + 5) % sizes.vocab_size()) as u32).collect()
}

fn job(ids: Vec<u32>, max_tokens: u32) -> Job {
    Job {
        job_id: "a".to_owned(),
        prompt: Prompt::Ids(ids),
        max_tokens,
        sampling: SamplingParameters {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        },
        stop: Vec::new(),
        capture: None,
    }
}

fn run(backend: &mut CandleBackend, job: &Job) -> Result<(Vec<u32>, Finished), BackendError> {
    let mut heard = Heard::default();
    let finished = backend.run(job, &mut heard, &CancelFlag::default())?;
    Ok((heard.ids, finished))
}

fn captured(backend: &mut CandleBackend, job: &Job) -> (Vec<u32>, Capture) {
    let scope = Scope { every_layer: true, steps: 0 };
    let (generation, capture) =
        backend.capture(job, scope, &mut Heard::default(), &CancelFlag::default()).expect("it is captured");
    (generation.ids, capture)
}

/// The largest difference of every station, by the larger of one and the value.
fn differences(recipe: &Recipe, capture: &Capture, ids: &[u32]) -> Vec<(String, f64)> {
    let trace = oracle::trace(recipe.configuration(), &recipe.weights(), ids).expect("the oracle runs");
    let of_station = trace.tensors.iter().map(|(name, expected)| {
        let found = capture.tensors.get(name).unwrap_or_else(|| panic!("{name} is not shown"));
        assert_eq!(found.shape, expected.shape, "{name}");
        let Values::F32(found) = &found.values else { panic!("{name} is not in f32") };
        let difference = |(found, expected): (&f32, &f64)| match (f64::from(*found), *expected) {
            (found, expected) if found == expected => 0.0, // −∞ too
            (found, expected) => (found - expected).abs() / expected.abs().max(1.0),
        };
        (name.clone(), found.iter().zip(&expected.values).map(difference).fold(0.0, f64::max))
    });
    of_station.collect()
}

fn every_station_as_the_oracle_has_it() {
    use LlamaArchitecture::{Llama, Qwen2};
    let gpt2 = [(odd(), 1), (odd(), 40), (long(), 600), (Size::Tiny.configuration(), 30)];
    let gpt2 = gpt2.map(|(sizes, count)| (recipe(sizes), count));
    let others = [Llama, Qwen2].into_iter().flat_map(|architecture| {
        [(Size::Tiny, 30), (Size::Odd, 1), (Size::Odd, 40)].map(|(size, count)| (llama(architecture, size), count))
    });
    for (recipe, count) in gpt2.into_iter().chain(others) {
        let prompt = ids(count, recipe.configuration());
        let (_, capture) = captured(&mut backend(&recipe), &job(prompt.clone(), 1));
        for (name, worst) in differences(&recipe, &capture, &prompt) {
            // a quarter of what any engine may be off by
            let place = parity::Place::of_name(&name).expect("a station");
            let limit = tolerance(place, Profile::Exact, LogitScale::default()).rule.base() / 4.0;
            let architecture = recipe.configuration().architecture();
            assert!(worst < limit, "{name} of a {architecture} with {count} tokens: {worst:e}");
        }
    }
}

fn it_can_fail() {
    let recipe = recipe(odd());
    let (_, capture) = captured(&mut backend(&recipe), &job(ids(9, recipe.configuration()), 1));
    let mut other = ids(9, recipe.configuration());
    other[8] += 1;
    let worst = differences(&recipe, &capture, &other);
    assert!(worst.iter().any(|(name, worst)| name == "cp00.embed" && *worst > 1e-3), "{worst:?}");
    assert!(worst.iter().any(|(name, worst)| name == "cp09.logits" && *worst > 1e-3), "{worst:?}");
}

/// Also where a prompt is computed in several lots, which look at fewer positions when nobody looks on.
fn a_tap_changes_no_bit() {
    let recipe = recipe(long());
    for count in [1, 40, 600] {
        let job = job(ids(count, recipe.configuration()), 12);
        let (watched, _) = captured(&mut backend(&recipe), &job);
        let (unwatched, _) = run(&mut backend(&recipe), &job).expect("runs");
        assert_eq!(watched, unwatched, "with {count} tokens");
    }
}

fn formats_agree() {
    let llama = llama(LlamaArchitecture::Llama, Size::Odd);
    let qwen2 = self::llama(LlamaArchitecture::Qwen2, Size::Odd);
    for recipe in [recipe(odd()), llama, qwen2] {
        let job = job(ids(20, recipe.configuration()), 15);
        let texts = [OutputFormat::Safetensors, OutputFormat::Gguf].map(|format| {
            let (_folder, path) = written(&recipe, format);
            run(&mut opened(&path), &job).expect("runs").0
        });
        assert_eq!(texts[0], texts[1]);
    }
}

fn cancelled_job_leaves_nothing() {
    let recipe = recipe(long());
    let mut backend = backend(&recipe);
    let greedy = job(ids(30, recipe.configuration()), 12);
    let expected = run(&mut backend, &greedy).expect("runs").0;
    let flag = CancelFlag::default();
    let mut heard = Heard { cancel_after: Some((3, flag.clone())), ..Heard::default() };
    let result = backend.run(&job(ids(50, recipe.configuration()), 12), &mut heard, &flag);
    assert!(matches!(result, Err(BackendError::Cancelled)) && heard.ids.len() == 3, "{result:?} {:?}", heard.ids);
    let result = backend.run(&job(ids(600, recipe.configuration()), 12), &mut heard, &flag);
    assert!(matches!(result, Err(BackendError::Cancelled)), "while the prompt is read");
    assert_eq!(run(&mut backend, &greedy).expect("runs").0, expected, "the next job starts clean");
}

/// Hidden layers so wide that a few thousand tokens of them fill no machine.
fn a_pass_that_does_not_fit_is_refused_before_it_runs() {
    let sizes = Gpt2Configuration {
        n_layer: 1,
        n_head: 1,
        n_embd: 2,
        n_inner: 1 << 18,
        n_ctx: 1 << 17,
        ..Size::Odd.configuration()
    };
    let recipe = recipe(sizes);
    let mut backend = backend(&recipe);
    let result = run(&mut backend, &job(ids(1 << 17, recipe.configuration()), 1));
    assert!(
        matches!(result, Err(BackendError::OutOfMemory { required, available }) if required > available),
        "{result:?}"
    );
    assert!(run(&mut backend, &job(ids(3, recipe.configuration()), 2)).is_ok(), "the next one fits");
}

fn a_device_that_is_not_there_is_named() {
    let (_folder, path) = written(&recipe(odd()), OutputFormat::Safetensors);
    for (place, feature) in [(Place::Cuda(0), "cuda"), (Place::Metal(0), "metal")] {
        let refusal = CandleBackend::open(&path, place, None, false, &mut |_| {});
        match refusal {
            Err(error) => assert!(error.to_string().contains(feature), "{error}"),
            Ok(_) if cfg!(any(feature = "cuda", feature = "metal")) => {}
            Ok(_) => panic!("a GPU that this build can't have"),
        }
    }
}
