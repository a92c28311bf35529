//! Numbers that were measured several times.

/// Never empty once something was added; what is not a number is not taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Samples {
        let mut samples = Samples::default();
        values.into_iter().for_each(|value| samples.add(value));
        samples
    }

    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.0.push(value);
        }
    }

    /// In the order in which they were measured.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    pub fn highest(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::max)
    }

    pub fn lowest(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::min)
    }

    pub fn best(&self, more_is_better: bool) -> Option<f64> {
        if more_is_better { self.highest() } else { self.lowest() }
    }

    /// The mean of the two in the middle, where there are two.
    pub fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = sorted[(sorted.len() - 1) / 2];
        Some((lower + upper) / 2.0)
    }

    /// The smallest that at least this share of all does not exceed: always one that was measured.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let sorted = self.sorted();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}
