//! When a waiting task will start, from how long tasks were measured to take.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How much the latest measurement counts.
const WEIGHT: f64 = 0.2;
/// Before anything was measured: the slow end of what a worker should reach.
const PRIOR_TOKEN_MS: f64 = 50.0;

/// Running means over the tasks that ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceTimes {
    /// From dispatch to the first token.
    first_token_ms: Option<f64>,
    /// From one token to the next.
    token_ms: Option<f64>,
    /// What share of its `max_tokens` a task uses.
    used_share: Option<f64>,
}

impl ServiceTimes {
    pub fn measured(&mut self, first_token: Duration, decode: Duration, tokens: u64, max_tokens: u32) {
        let blend = |mean: &mut Option<f64>, found: f64| {
            *mean = Some(mean.map_or(found, |mean| mean + WEIGHT * (found - mean)));
        };
        blend(&mut self.first_token_ms, first_token.as_secs_f64() * 1000.0);
        if tokens > 1 {
            blend(&mut self.token_ms, decode.as_secs_f64() * 1000.0 / (tokens - 1) as f64);
        }
        blend(&mut self.used_share, tokens as f64 / f64::from(max_tokens.max(1)));
    }

    /// How long a task will hold its slot.
    pub fn duration_ms(&self, expected_tokens: Option<u32>, max_tokens: u32) -> f64 {
        let by_share = f64::from(max_tokens) * self.used_share.unwrap_or(1.0).clamp(0.0, 1.0);
        let tokens = expected_tokens.map_or(by_share, |tokens| f64::from(tokens.min(max_tokens)));
        self.first_token_ms.unwrap_or(0.0) + (tokens - 1.0).max(0.0) * self.token_ms.unwrap_or(PRIOR_TOKEN_MS)
    }
}

/// When the task behind `ahead` starts: slots get free after `slots`, and those ahead take the earliest in turn. `None`
/// where there is no slot at all.
pub fn start_ms(slots: impl IntoIterator<Item = f64>, ahead: impl IntoIterator<Item = f64>) -> Option<u64> {
    // Whole microseconds, which are ordered.
    let micros = |ms: f64| (ms.max(0.0) * 1000.0) as u64;
    let mut free: BinaryHeap<Reverse<u64>> = slots.into_iter().map(|ms| Reverse(micros(ms))).collect();
    for duration in ahead {
        let Reverse(at) = free.pop()?;
        free.push(Reverse(at + micros(duration)));
    }
    free.pop().map(|Reverse(at)| at / 1000)
}
