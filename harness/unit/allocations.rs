//! No allocation per token: a prompt and an answer are computed and sampled in memory that the first tokens left behind.
//!
//! The test binary's allocator counts for each thread by itself, so that other tests don't disturb. The thread that asks
//! computes a part of every operation, and the same code as every other compute thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use llorch::backend::cpu::{CpuBackend, CpuEngine};
use llorch::backend::generate::Engine;
use llorch::backend::{CancelFlag, InferenceBackend, Job, Prompt, SamplingParameters, TokenSink};
use llorch::model::Gpt2;
use llorch::model::recipe::{OutputFormat, Recipe, Size};
use llorch::sampling::Sampler;

pub const TESTS: &[(&str, fn())] = &[
    ("allocations/are_counted", are_counted),
    ("allocations/forward_and_sampling", forward_and_sampling),
    ("allocations/a_job", a_job),
];

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Gone while a thread ends: nobody asks there.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it came; counting touches a cell without a destructor.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    COUNT.with(Cell::get)
}

fn during<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = allocations();
    let result = work();
    (allocations() - before, result)
}

fn are_counted() {
    assert_eq!(during(|| black_box(1)).0, 0);
    assert_eq!(during(|| drop(black_box(Box::new(1)))).0, 1);
    let (grown, _) = during(|| {
        let mut numbers = black_box(Vec::with_capacity(1));
        numbers.extend([1, 2, 3]);
        numbers
    });
    assert_eq!(grown, 2, "one for the first, one for growing");
    let elsewhere = || std::thread::spawn(|| drop(black_box(vec![0; 1000]))).join();
    let (_, joined) = during(elsewhere);
    assert!(joined.is_ok());
}

/// Every step of the sampler at work.
fn all_steps() -> SamplingParameters {
    SamplingParameters { temperature: 0.9, top_p: 0.9, top_k: 40, min_p: 0.01, repetition_penalty: 1.2, seed: 7 }
}

fn samplings() -> [SamplingParameters; 3] {
    let greedy = SamplingParameters { temperature: 0.0, ..all_steps() };
    [all_steps(), SamplingParameters { top_k: 0, top_p: 1.0, min_p: 0.0, ..all_steps() }, greedy]
}

fn forward_and_sampling() {
    let recipe = Recipe::new(Size::Tiny.configuration(), 1).expect("sound");
    let never = CancelFlag::default();
    let prompt: Vec<u32> = (0..40).map(|place| place * 23 % 1000).collect();
    for threads in [1, 2] {
        let model = Gpt2::load(recipe.configuration().clone(), &recipe.weights()).expect("every tensor is there");
        let mut engine = CpuEngine::new(model, threads);
        for (job, parameters) in samplings().iter().enumerate() {
            let mut sampler = Sampler::new(parameters, engine.vocab_size(), &prompt);
            engine.reset();
            let (reading, logits) = during(|| engine.feed(&prompt, &never).map(<[f32]>::len));
            assert_eq!(logits.expect("there is room"), 1024);
            // The first prompt warms up the engine, the first token the sampler.
            assert!(job == 0 || reading == 0, "{reading} allocations while a prompt was read on {threads} threads");
            let mut token = 5;
            for place in 0..60 {
                let (count, next) = during(|| {
                    let logits = engine.feed(&[token], &never).expect("there is room");
                    sampler.sample(logits)
                });
                token = next.expect("finite logits");
                assert!(place == 0 || count == 0, "{count} allocations at token {place} on {threads} threads");
            }
        }
    }
}

/// How many allocations there were when each piece came. What it writes into is there before.
struct Marks(Vec<u64>);

impl TokenSink for Marks {
    fn prompt_read(&mut self, _: u32) {}

    fn piece(&mut self, _: &str, _: &[u32]) {
        self.0.push(allocations());
    }
}

fn a_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    let recipe = Recipe::new(Size::Tiny.configuration(), 1).expect("sound");
    recipe.write(&path, OutputFormat::Gguf).expect("written");
    let mut backend = CpuBackend::open(&path, 1, false, &mut |_| {}).expect("opens");
    for sampling in samplings() {
        // Stop sequences that are never met keep text waiting, which is then let go.
        for stop in [Vec::new(), vec![" w1 w1 w1 w1".to_owned(), "\u{1F980}\u{1F980}".to_owned()]] {
            let mut seen = 0;
            // A model of noise ends some of its texts at once.
            for word in 0..8 {
                let prompt = Prompt::Text(format!("Hello. w{word}"));
                let (sampling, stop) = (sampling.clone(), stop.clone());
                let job = Job { job_id: "a".to_owned(), prompt, max_tokens: 100, sampling, stop, capture: None };
                let mut marks = Marks(Vec::with_capacity(1024));
                backend.run(&job, &mut marks, &CancelFlag::default()).expect("runs");
                let marks = &marks.0[marks.0.len().min(WARM_UP)..];
                let grown: Vec<u64> = marks.windows(2).map(|pair| pair[1] - pair[0]).collect();
                assert!(grown.iter().all(|count| *count == 0), "allocations between pieces: {grown:?}");
                seen += grown.len();
            }
            assert!(seen > 100, "only {seen} pieces were looked at");
        }
    }
}

/// After so many tokens every buffer of the text has been used once.
const WARM_UP: usize = 8;
