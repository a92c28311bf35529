//! Once it runs, neither the forward pass nor sampling nor what becomes of a token allocates anything: counted, by an
//! allocator that does nothing else. The thread that asks computes a part of every operation, with the same code as the
//! other compute threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use llorch::backend::cpu::CpuBackend;
use llorch::backend::{CancelFlag, InferenceBackend, Job, Prompt, SamplingParameters, TokenSink};
use llorch::layers::NoTap;
use llorch::layers::gpt2::{LogitRows, Scratch};
use llorch::model::recipe::{OutputFormat, Recipe, Size};
use llorch::sampling::Sampler;
use llorch::tensor::Instructions;

use super::models::{configuration, model, tokens};

pub const TESTS: &[(&str, fn())] = &[
    ("allocation/a_token_allocates_nothing", a_token_allocates_nothing),
    ("allocation/sampling_allocates_nothing", sampling_allocates_nothing),
    ("allocation/a_job_allocates_nothing_per_token", a_job_allocates_nothing_per_token),
    ("allocation/the_count_can_rise", the_count_can_rise),
];

thread_local! {
    /// Allocations of this thread: other tests may run beside.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // a thread that is being torn down has no counter any more
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

fn a_token_allocates_nothing() {
    let sizes = configuration((2, 3, 20, 300, 97));
    let (model, tokens) = (model(&sizes, 1), tokens(&sizes, 2, 290));
    for threads in [1, 2] {
        let (mut cache, mut scratch) = (model.cache(), Scratch::new(&sizes, threads, Instructions::detect()));
        let mut pass = |tokens: &[u32]| {
            let logits = model.forward(tokens, &mut cache, &mut scratch, LogitRows::Last, &mut NoTap, &|| false);
            assert!(logits.is_ok());
        };
        pass(&tokens[..1]);
        let prompt = allocations(|| pass(&tokens[1..280]));
        let steps = allocations(|| tokens[280..].iter().for_each(|token| pass(&[*token])));
        assert_eq!((prompt, steps), (0, 0), "{threads} threads");
    }
}

/// With every step of the sampler at work, with the cheap steps only, and greedy.
fn samplings() -> [SamplingParameters; 3] {
    let every =
        SamplingParameters { temperature: 0.9, top_p: 0.9, top_k: 40, min_p: 0.01, repetition_penalty: 1.2, seed: 7 };
    let few = SamplingParameters { top_p: 1.0, top_k: 0, min_p: 0.0, ..every.clone() };
    let greedy = SamplingParameters { temperature: 0.0, ..every.clone() };
    [every, few, greedy]
}

fn sampling_allocates_nothing() {
    for parameters in samplings() {
        let mut sampler = Sampler::new(&parameters, 500, &[1, 2, 3]);
        let mut logits: Vec<f32> = (0..500).map(|id| (id * 37 % 101) as f32 / 20.0).collect();
        let mut sample = |logits: &[f32]| assert!(sampler.sample(logits).is_ok());
        sample(&logits);
        let tokens = allocations(|| {
            for place in 0..200 {
                logits[place] += 3.0;
                sample(&logits);
            }
        });
        assert_eq!(tokens, 0, "{parameters:?}");
    }
}

/// How many allocations there were when each piece came. What it writes into is there before.
struct Marks(Vec<usize>);

impl TokenSink for Marks {
    fn prompt_read(&mut self, _: u32) {}

    fn piece(&mut self, _: &str, _: &[u32]) {
        self.0.push(COUNT.get());
    }
}

fn a_job_allocates_nothing_per_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    Recipe::new(Size::Tiny.configuration(), 1).unwrap().write(&path, OutputFormat::Gguf).unwrap();
    let mut backend = CpuBackend::open(&path, 1, false, &mut |_| {}).unwrap();
    // Stop sequences that are never met keep text waiting, which is then let go.
    let stops = [Vec::new(), vec![" w1 w1 w1 w1".to_owned(), "\u{1F980}\u{1F980}".to_owned()]];
    for (sampling, stop) in samplings().iter().flat_map(|sampling| stops.iter().map(move |stop| (sampling, stop))) {
        let mut seen = 0;
        // A model of noise ends some of its texts at once.
        for word in 0..12 {
            let prompt = Prompt::Text(format!("Hello. w{word}"));
            let (sampling, stop) = (sampling.clone(), stop.clone());
            let job = Job { job_id: "a".to_owned(), prompt, max_tokens: 100, sampling, stop, capture: None };
            let mut marks = Marks(Vec::with_capacity(128));
            backend.run(&job, &mut marks, &CancelFlag::default()).unwrap();
            let warm = &marks.0[marks.0.len().min(WARM_UP)..];
            let grown: Vec<usize> = warm.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(grown.iter().all(|count| *count == 0), "allocations between pieces: {grown:?}");
            seen += grown.len();
        }
        assert!(seen > 100, "only {seen} tokens were looked at: {sampling:?}");
    }
}

/// After so many tokens every buffer of the text has been used once.
const WARM_UP: usize = 8;

fn the_count_can_rise() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 10]))), 1);
}
