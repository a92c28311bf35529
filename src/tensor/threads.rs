//! A few threads that wait for work: one call of [`Threads::run`] is one operation, split into parts.
//!
//! The caller is part 0. Workers look for the next operation for a while, since the next one usually follows at once, and
//! then park. With one thread there is no worker and `run` is a plain call.
#![allow(unsafe_code)] // a borrowed closure crosses to threads that outlive the borrow

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread looks before it parks: longer than from one token to the next, when one thread samples and writes, and
/// too short to be a burden when the job is over. Waking a parked thread takes as long as a whole product.
const LOOK_FOR: Duration = Duration::from_micros(300);
/// Looks between two looks at the clock.
const LOOKS: usize = 64;

pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts operations. A worker that sees another number than last time has work.
    operation: AtomicUsize,
    /// The operation's closure and its caller; written before `operation` is raised.
    task: Mutex<Option<Task>>,
    /// Workers that have not yet finished the operation.
    unfinished: AtomicUsize,
    /// A part panicked in a worker.
    panicked: AtomicBool,
    stop: AtomicBool,
}

#[derive(Clone)]
struct Task {
    /// Valid until `unfinished` is zero: `run` does not return before.
    closure: &'static (dyn Fn(usize) + Sync),
    caller: Thread,
}

impl Threads {
    /// `count` threads, the caller's own included. Zero means one.
    pub fn new(count: usize) -> Self {
        let shared = Arc::new(Shared {
            operation: AtomicUsize::new(0),
            task: Mutex::new(None),
            unfinished: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        // Where the system gives fewer threads than were asked for, the work is split into fewer parts.
        let workers = (1..count.max(1)).map_while(|part| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("compute-{part}")).spawn(move || serve(&shared, part)).ok()
        });
        let workers = workers.collect();
        Self { shared, workers }
    }

    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(part)` for each part from 0 to `count() - 1`, each on its own thread, and returns when all are done.
    pub fn run(&mut self, work: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() {
            return work(0);
        }
        // SAFETY: only the lifetime changes. The workers use the closure until they have counted `unfinished` down, and
        // this function waits for that on every way out, a panic of its own part included.
        let closure = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work) };
        let task = Task { closure, caller: std::thread::current() };
        *self.shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        self.shared.unfinished.store(self.workers.len(), Ordering::Relaxed);
        self.shared.operation.fetch_add(1, Ordering::Release);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        let own = catch_unwind(AssertUnwindSafe(|| work(0)));
        wait_until(|| self.shared.unfinished.load(Ordering::Acquire) == 0);
        *self.shared.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let elsewhere = self.shared.panicked.swap(false, Ordering::Relaxed);
        if let Err(payload) = own {
            resume_unwind(payload);
        }
        assert!(!elsewhere, "a compute thread panicked; its message is above");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.operation.fetch_add(1, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // a worker catches the panics of its parts: there is nothing to learn from the result
            let _ = worker.join();
        }
    }
}

fn serve(shared: &Shared, part: usize) {
    let mut seen = 0;
    loop {
        wait_until(|| shared.operation.load(Ordering::Acquire) != seen);
        seen = shared.operation.load(Ordering::Acquire);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let task = shared.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(task) = task else { continue };
        if catch_unwind(AssertUnwindSafe(|| (task.closure)(part))).is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        if shared.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            task.caller.unpark();
        }
    }
}

/// Looks for a while, then sleeps between looks: whoever makes the condition true unparks this thread.
fn wait_until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while began.elapsed() < LOOK_FOR {
        for _ in 0..LOOKS {
            if condition() {
                return;
            }
            std::hint::spin_loop();
        }
    }
    while !condition() {
        std::thread::park();
    }
}
