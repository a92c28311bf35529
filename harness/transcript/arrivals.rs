//! Whether tokens arrived as they were computed, or all at once.

use std::fmt;
use std::time::Duration;

use super::Transcript;
use crate::harness::Finding;

/// How the token events of one stream are spread over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    pub tokens: usize,
    /// From the first token event to the last.
    pub spread: Duration,
    /// The time that they are held against: `decode_time_ms` as the worker tells it, or the spread where that is longer.
    pub total: Duration,
    /// The largest share of the events that came within a twentieth of that time.
    pub largest_share: f64,
}

/// Evenly spread, a twentieth of the time brings a twentieth of the events; a worker that computes first and sends
/// afterwards sends nearly all. Half is far from both, and leaves room for a machine that stalls.
pub const BURST_SHARE: f64 = 0.5;
/// Fewer events, or less time than this, don't tell one from the other.
const FEWEST_TOKENS: usize = 8;
const SHORTEST: Duration = Duration::from_millis(300);

impl fmt::Display for Arrivals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.largest_share;
        write!(out, "{percent:.0} % of the {} token events came within {:.1?} ", self.tokens, self.total / 20)?;
        write!(out, "of a computation of {:.1?} (first to last: {:.1?})", self.total, self.spread)
    }
}

impl Transcript {
    /// Measures the arrivals; UNIMPLEMENTED where there is too little to measure.
    pub fn burst(&self) -> Result<Arrivals, Finding> {
        let times: Vec<Duration> = self.tokens().map(|frame| frame.at).collect();
        let spread =
            times.last().copied().unwrap_or_default().saturating_sub(times.first().copied().unwrap_or_default());
        let told =
            self.field("end", "decode_time_ms").and_then(|value| value.as_f64()).filter(|ms| (0.0..1e9).contains(ms));
        let total = spread.max(Duration::from_secs_f64(told.unwrap_or_default() / 1000.0));
        if times.len() < FEWEST_TOKENS || total < SHORTEST {
            let found = format!("{} token events in {total:.1?}", times.len());
            let expected = format!("{FEWEST_TOKENS} token events over {SHORTEST:?} at least, to see how they arrive");
            return Err(self.evidence(Finding::unimplemented(expected, found)));
        }
        let window = total / 20;
        let within = |first: usize| times[first..].iter().take_while(|at| **at - times[first] <= window).count();
        let largest = (0..times.len()).map(within).max().unwrap_or_default();
        Ok(Arrivals { tokens: times.len(), spread, total, largest_share: largest as f64 / times.len() as f64 })
    }
}
