//! Once it runs, the forward pass allocates nothing: counted, by an allocator that does nothing else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use llorch::layers::NoTap;
use llorch::layers::gpt2::{LogitRows, Scratch};
use llorch::tensor::Instructions;

use super::models::{configuration, model, tokens};

pub const TESTS: &[(&str, fn())] = &[
    ("allocation/a_token_allocates_nothing", a_token_allocates_nothing),
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

fn the_count_can_rise() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 10]))), 1);
}
