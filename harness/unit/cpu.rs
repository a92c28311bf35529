//! The CPU backend on recipe models: both file formats, one text; the cache against computing everything afresh.

use std::path::{Path, PathBuf};

use llorch::backend::cpu::{CpuBackend, CpuEngine, LoadError};
use llorch::backend::generate::Engine;
use llorch::backend::{
    BackendError, CancelFlag, Finished, InferenceBackend, Job, Prompt, SamplingParameters, StopReason, TokenSink,
};
use llorch::layers::Gpt2;
use llorch::model::Weight;
use llorch::model::recipe::{OutputFormat, Recipe, Size};
use llorch::sampling::argmax;
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("cpu/formats_agree", formats_agree),
    ("cpu/cache_as_from_scratch", cache_as_from_scratch),
    ("cpu/seeds_and_order_of_jobs", seeds_and_order_of_jobs),
    ("cpu/fills_the_context", fills_the_context),
    ("cpu/cancelled_job_leaves_nothing", cancelled_job_leaves_nothing),
    ("cpu/describes_what_it_holds", describes_what_it_holds),
    ("cpu/own_head_is_used", own_head_is_used),
    ("cpu/ids_where_there_is_no_tokenizer", ids_where_there_is_no_tokenizer),
    ("cpu/refuses", refuses),
];

/// 55 wide, 5 heads, a context of 40.
fn recipe() -> Recipe {
    Recipe::new(Size::Odd.configuration(), 3).expect("sound")
}

fn written(format: OutputFormat) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(if format == OutputFormat::Gguf { "odd.gguf" } else { "odd" });
    recipe().write(&path, format).expect("written");
    (folder, path)
}

fn backend(format: OutputFormat) -> CpuBackend {
    let (_folder, path) = written(format);
    CpuBackend::open(&path, 1, false, &mut |_| {}).expect("opens")
}

#[derive(Default)]
struct Heard {
    text: String,
    ids: Vec<u32>,
    cancel_after: Option<(usize, CancelFlag)>,
}

impl TokenSink for Heard {
    fn prompt_read(&mut self, tokens_in: u32) {
        assert!(tokens_in > 0);
    }

    fn piece(&mut self, text: &str, ids: &[u32]) {
        self.text.push_str(text);
        self.ids.extend(ids);
        if let Some((_, flag)) = self.cancel_after.as_ref().filter(|(count, _)| self.ids.len() >= *count) {
            flag.raise();
        }
    }
}

fn job(prompt: &str, max_tokens: u32, temperature: f32, seed: u64) -> Job {
    Job {
        job_id: "a".to_owned(),
        prompt: Prompt::Text(prompt.to_owned()),
        max_tokens,
        sampling: SamplingParameters { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0, seed },
        stop: Vec::new(),
        capture: None,
    }
}

fn run(backend: &mut CpuBackend, job: &Job) -> (Heard, Finished) {
    let mut heard = Heard::default();
    let finished = backend.run(job, &mut heard, &CancelFlag::default()).expect("runs");
    (heard, finished)
}

fn formats_agree() {
    let (mut safetensors, mut gguf) = (backend(OutputFormat::Safetensors), backend(OutputFormat::Gguf));
    assert_eq!(safetensors.describe().tokenizer_kind, "hf-json");
    assert_eq!(gguf.describe().tokenizer_kind, "gguf-bpe");
    for (prompt, temperature) in [("Hello.", 0.0), ("w1 w2 w3", 0.0), ("Hello.", 1.0)] {
        let job = job(prompt, 20, temperature, 5);
        let (one, other) = (run(&mut safetensors, &job), run(&mut gguf, &job));
        assert_eq!((one.0.text, one.0.ids), (other.0.text, other.0.ids));
        assert_eq!((one.1.tokens_out, one.1.stop_reason), (other.1.tokens_out, other.1.stop_reason));
    }
}

/// Greedy, with the cache, against an engine that reads the whole text again for each token.
fn cache_as_from_scratch() {
    let mut backend = backend(OutputFormat::Safetensors);
    let (heard, finished) = run(&mut backend, &job("Hello.", 20, 0.0, 0));
    let recipe = recipe();
    let model = Gpt2::load(Size::Odd.configuration(), &recipe.weights()).expect("every tensor is there");
    let mut engine = CpuEngine::new(model, 1);
    let mut ids = backend.tokenizer().expect("it has one").encode("Hello.");
    let prompt = ids.len();
    while ids.len() < prompt + finished.tokens_out as usize {
        engine.reset();
        let next = argmax(engine.feed(&ids, &CancelFlag::default()).expect("computes"));
        ids.push(next);
    }
    let text_ids: Vec<u32> = heard.ids;
    assert!(text_ids.len() > 5, "a text to compare");
    assert!(ids[prompt..].starts_with(&text_ids), "{:?} {text_ids:?}", &ids[prompt..]);
}

fn seeds_and_order_of_jobs() {
    let mut backend = backend(OutputFormat::Safetensors);
    let mut text = |prompt, seed| run(&mut backend, &job(prompt, 20, 1.0, seed)).0.text;
    let (a, b, a_again) = (text("Hello.", 1), text("w7", 1), text("Hello.", 1));
    assert_eq!(a, a_again, "A, B, A gives A twice");
    assert_ne!(a, b);
    assert_ne!(a, text("Hello.", 2), "another seed changes the text");
}

fn fills_the_context() {
    let mut backend = backend(OutputFormat::Gguf);
    let context = backend.describe().context_length;
    for (prompt, expected) in [(context, 1), (context - 3, 4)] {
        let job = Job { prompt: Prompt::Ids(vec![65; prompt as usize]), ..job("", 2048, 0.0, 0) };
        let finished = run(&mut backend, &job).1;
        assert!(finished.stop_reason == StopReason::MaxTokens && finished.tokens_out == expected, "{finished:?}");
    }
}

fn cancelled_job_leaves_nothing() {
    let mut backend = backend(OutputFormat::Safetensors);
    let greedy = job("Hello.", 20, 0.0, 0);
    let expected = run(&mut backend, &greedy).0.text;
    let flag = CancelFlag::default();
    let mut heard = Heard { cancel_after: Some((3, flag.clone())), ..Heard::default() };
    let result = backend.run(&job("w1 w2", 20, 0.0, 0), &mut heard, &flag);
    assert!(matches!(result, Err(BackendError::Cancelled)));
    assert_eq!(heard.ids.len(), 3, "no token after it");
    assert_eq!(run(&mut backend, &greedy).0.text, expected, "the next job starts clean");
}

fn describes_what_it_holds() {
    let (_folder, path) = written(OutputFormat::Safetensors);
    let mut told = Vec::new();
    let backend = CpuBackend::open(&path, 2, false, &mut |percent| told.push(percent)).expect("opens");
    assert_eq!(told.last(), Some(&100));
    let described = backend.describe();
    let weights: usize =
        recipe().configuration().tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert!(described.memory_bytes > 4 * weights as u64, "the weights, and the cache and buffers besides");
    assert_eq!((described.model.as_str(), described.quant_kind.as_str()), ("odd", "F32"));
    assert_eq!((described.vocab_size, described.context_length, described.vram_bytes), (389, 40, 0));
    assert_eq!((described.worker_type, described.memory_architecture), ("cpu", "cpu"));
}

/// A head that is not the embedding decides the logits.
fn own_head_is_used() {
    let recipe = recipe();
    let configuration = Size::Odd.configuration();
    let shape = vec![configuration.vocab_size, configuration.n_embd];
    let logits = |head: Option<f32>| {
        let mut weights = recipe.weights();
        if let Some(value) = head {
            weights =
                weights.with("lm_head.weight", Weight::from_vec(shape.clone(), vec![value; shape.iter().product()]));
        }
        let model = Gpt2::load(configuration.clone(), &weights).expect("every tensor is there");
        CpuEngine::new(model, 1).feed(&[72, 105], &CancelFlag::default()).expect("computes").to_vec()
    };
    assert!(logits(Some(0.0)).iter().all(|logit| *logit == 0.0));
    assert!(logits(None).iter().any(|logit| *logit != 0.0));
}

/// A model without a tokenizer is served on ids: the same tokens as with one, and their ids as the text.
fn ids_where_there_is_no_tokenizer() {
    let (_folder, path) = written(OutputFormat::Safetensors);
    std::fs::remove_file(path.join("tokenizer.json")).expect("removed");
    let mut without = CpuBackend::open(&path, 1, false, &mut |_| {}).expect("opens");
    assert_eq!(without.describe().tokenizer_kind, "none");
    assert!(!without.tokenizer().expect("one for ids").reads_text());
    let ids = Job { prompt: Prompt::Ids(vec![72, 105]), ..job("", 8, 0.0, 0) };
    let (heard, finished) = run(&mut without, &ids);
    assert_eq!(heard.ids, run(&mut backend(OutputFormat::Safetensors), &ids).0.ids);
    assert_eq!(heard.text, heard.ids.iter().map(|id| format!("{id} ")).collect::<String>());
    assert_eq!(finished.tokens_out as usize, heard.ids.len());
    let text = without.run(&job("Hi", 1, 0.0, 0), &mut Heard::default(), &CancelFlag::default());
    assert!(matches!(text, Err(BackendError::Internal(_))), "the checks before a job have refused it already");
}

fn refuses() {
    let open = |path: &Path| CpuBackend::open(path, 1, false, &mut |_| {}).err().expect("refused");
    assert!(matches!(open(Path::new("/nowhere/model")), LoadError::Model(_)));
    let (_folder, path) = written(OutputFormat::Safetensors);
    let tokenizer = path.join("tokenizer.json");
    let larger = Recipe::new(Size::Tiny.configuration(), 0).expect("sound").tokenizer_json();
    std::fs::write(&tokenizer, larger).expect("written");
    assert!(matches!(open(&path), LoadError::Vocabulary { tokens: 1024, vocab_size: 389, .. }));
    std::fs::write(&tokenizer, "{}").expect("written");
    assert!(matches!(open(&path), LoadError::Tokenizer { .. }));
}
