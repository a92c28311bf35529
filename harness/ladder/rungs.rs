//! The rungs by name, and what one of them says of a worker.

use crate::harness::verdict::Verdict;

pub const RUNGS: [&str; 8] = [
    "echo",
    "known answer",
    "random probe",
    "fresh weights",
    "perturbed weights",
    "work law",
    "honest stream",
    "real cancel",
];

/// What one rung says of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Caught,
    Passes,
    /// The rung can't be asked of it.
    NotApplicable,
    /// The harness could not say: never a pass.
    Broken,
}

impl Cell {
    /// Of the verdicts of a rung's cases the gravest counts; a rung of which nothing could be asked does not apply.
    pub fn of(verdicts: &[Verdict]) -> Cell {
        let any = |wanted: &[Verdict]| verdicts.iter().any(|verdict| wanted.contains(verdict));
        match () {
            () if any(&[Verdict::Fail, Verdict::NonStrict]) => Cell::Caught,
            () if any(&[Verdict::Error, Verdict::Flaky, Verdict::NearTie]) || verdicts.is_empty() => Cell::Broken,
            () if any(&[Verdict::Pass]) => Cell::Passes,
            () => Cell::NotApplicable,
        }
    }
}
