//! How many rows of W are read side by side, for one row of x: which is the fastest differs from processor to processor,
//! with the size of pages, and with the width of a part, so that the first products of a shape are a race.
//!
//! By a factor of up to 1.7 here, between one row and four, either way. The bits are the same: rows are added in order.

use std::time::{Duration, Instant};

/// What races; what comes first is taken for products that lie in the caches.
const CONTENDERS: [usize; 3] = [8, 4, 1];
/// Products of fewer numbers are no test of memory.
const LEAST: usize = 1 << 18;
/// For each contender. The shortest time counts: it is the one that others on this machine have spoiled the least.
const RUNS: usize = 8;

/// The races of all shapes so far: a model has a handful.
#[derive(Default)]
pub struct Races(Vec<Race>);

struct Race {
    /// Of W: depth and columns.
    shape: (usize, usize),
    run: usize,
    best: [Duration; CONTENDERS.len()],
    winner: Option<usize>,
}

impl Races {
    /// Runs a product with the rows that are to be read side by side.
    pub fn run(&mut self, shape: (usize, usize), product: impl FnOnce(usize)) {
        if shape.0 * shape.1 < LEAST {
            return product(CONTENDERS[0]);
        }
        let at = self.0.iter().position(|race| race.shape == shape).unwrap_or_else(|| {
            self.0.push(Race { shape, run: 0, best: [Duration::MAX; CONTENDERS.len()], winner: None });
            self.0.len() - 1
        });
        let race = &mut self.0[at];
        if let Some(winner) = race.winner {
            return product(winner);
        }
        let contender = race.run % CONTENDERS.len();
        let began = Instant::now();
        product(CONTENDERS[contender]);
        race.best[contender] = race.best[contender].min(began.elapsed());
        race.run += 1;
        if race.run == RUNS * CONTENDERS.len() {
            let times = race.best.iter().zip(CONTENDERS);
            race.winner = times.min_by_key(|(time, _)| **time).map(|(_, contender)| contender);
        }
    }
}
