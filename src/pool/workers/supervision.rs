//! When a failed worker may be started again: after 1 s, doubled with each failure in a row up to 60 s, with jitter, so
//! that many that failed together don't come back together; after five in a row, not at all.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Failures in a row after which nobody tries again by itself.
pub const CIRCUIT: u32 = 5;
/// A worker that was ready this long has shown that it can work: its next failure is a first one.
pub const PROVEN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Supervision {
    failures: u32,
}

impl Supervision {
    /// How long to wait before the next start; `None` when the circuit is open. `ready_for` is how long the worker was
    /// ready before it failed, `chance` a number from 0 to 1.
    pub fn failed(&mut self, ready_for: Duration, chance: f64) -> Option<Duration> {
        if ready_for >= PROVEN {
            self.failures = 0;
        }
        self.failures += 1;
        if self.failures >= CIRCUIT {
            return None;
        }
        let whole = FIRST.saturating_mul(2u32.saturating_pow(self.failures - 1)).min(LONGEST);
        // Between three quarters and the whole.
        Some(whole.mul_f64(0.75 + 0.25 * chance.clamp(0.0, 1.0)))
    }
}

/// From 0 to 1, another one at each call.
pub fn chance() -> f64 {
    (uuid::Uuid::new_v4().as_u128() as u32) as f64 / f64::from(u32::MAX)
}
