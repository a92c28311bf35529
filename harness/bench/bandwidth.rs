//! How fast this machine reads memory: the limit of decoding, which reads every weight once for each token.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::harness::Finding;
use crate::model::weights::memory::Values;

/// A buffer larger than every cache, all of it touched, in the pages that weights are held in.
pub struct Memory(Values);

impl Memory {
    pub fn new(bytes: usize) -> Result<Memory, Finding> {
        let values = Values::zeros(bytes / size_of::<f32>());
        let mut values = values.map_err(|error| Finding::error("memory to read", error.to_string()))?;
        values.fill(1.0);
        Ok(Memory(values))
    }

    /// Each thread reads its part in one, two, four and eight streams, since no number is the best on every machine; the
    /// fastest number counts. Its rate is over many passes, as decoding's is over many tokens: the luck of one pass would be
    /// a limit that nothing which lasts can come near.
    pub fn gigabytes_per_second(&self, threads: usize) -> f64 {
        const PASSES: u32 = 16;
        let mut totals = [Duration::ZERO; 4];
        for _ in 0..PASSES {
            // in turn, so that a busy moment hits all of them
            for (total, pass) in totals.iter_mut().zip(self.passes(threads.max(1))) {
                *total += pass;
            }
        }
        let fastest = totals.into_iter().min().unwrap_or(Duration::MAX) / PASSES;
        size_of_val(&*self.0) as f64 / fastest.as_secs_f64() / 1e9
    }

    fn passes(&self, threads: usize) -> [Duration; 4] {
        [self.pass::<1>(threads), self.pass::<2>(threads), self.pass::<4>(threads), self.pass::<8>(threads)]
    }

    fn pass<const STREAMS: usize>(&self, threads: usize) -> Duration {
        let began = Instant::now();
        std::thread::scope(|scope| {
            let mut parts = self.0.chunks(self.0.len().div_ceil(threads));
            let own = parts.next().unwrap_or_default();
            parts.for_each(|part| drop(scope.spawn(|| read::<STREAMS>(part))));
            read::<STREAMS>(own);
        });
        began.elapsed()
    }
}

/// Adds everything up, a cache line of each stream in turn.
fn read<const STREAMS: usize>(values: &[f32]) {
    const LINE: usize = 16;
    let length = values.len() / STREAMS / LINE * LINE;
    let streams: [&[f32]; STREAMS] = std::array::from_fn(|stream| &values[stream * length..][..length]);
    let mut sums = [0.0_f32; LINE];
    for at in (0..length).step_by(LINE) {
        for stream in streams {
            for (sum, value) in sums.iter_mut().zip(&stream[at..at + LINE]) {
                *sum += value;
            }
        }
    }
    black_box(sums);
}
