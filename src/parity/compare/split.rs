//! Many pairs among a few threads. The parts and the order in which they are added up are the same for any number of
//! threads, and so is the result, bit for bit.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::sweep::{self, CHUNK, Sweep};
use super::{Comparison, Pair, conclude, unpaired};

/// Elements of one part: some hundred microseconds of work.
const PART: usize = 512 * CHUNK;

/// Every pair, in order.
pub fn compare_all(pairs: &[Pair<'_>], threads: usize) -> Vec<Comparison> {
    let unpaired: Vec<Option<Comparison>> = pairs.iter().map(|pair| unpaired(*pair)).collect();
    let mut parts: Vec<(usize, Range<usize>)> = Vec::new();
    for (number, pair) in pairs.iter().enumerate().filter(|(number, _)| unpaired[*number].is_none()) {
        let count = pair.reference.count();
        parts.extend((0..count).step_by(PART).map(|start| (number, start..(start + PART).min(count))));
    }
    let sweeps = in_threads(threads, parts.len(), |part| {
        let (number, range) = &parts[part];
        sweep::sweep(pairs[*number], range.clone())
    });
    let mut sums = vec![Sweep::default(); pairs.len()];
    for ((number, _), sweep) in parts.iter().zip(&sweeps) {
        sums[*number].add(sweep);
    }
    let concluded = pairs.iter().zip(unpaired).zip(sums);
    concluded.map(|((pair, unpaired), sweep)| unpaired.unwrap_or_else(|| conclude(*pair, sweep))).collect()
}

/// `work(0)`, `work(1)`, …, each by whichever thread is free.
fn in_threads<T: Send + Clone + Default>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(vec![T::default(); count]));
    let labour = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return;
        }
        let result = work(number);
        results.lock().unwrap_or_else(PoisonError::into_inner)[number] = result;
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(labour);
        }
        labour();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
