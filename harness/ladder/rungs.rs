//! The rungs by name, and what one of them says of a worker.

use crate::harness::runner::CaseOutcome;
use crate::harness::verdict::Verdict;
use crate::parity::report::Standing;

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

/// Of the cases of a rung that were played.
pub fn verdicts(outcomes: &[CaseOutcome], rung: u8) -> Vec<Verdict> {
    let of_rung = outcomes.iter().filter(|outcome| outcome.case.rung == Some(rung));
    of_rung.map(|outcome| outcome.verdict).collect()
}

/// What a rung says of a worker: of its cases the gravest counts, and where none of them could be asked it does not apply.
/// `None` where no case of it was played.
pub fn standing(verdicts: &[Verdict]) -> Option<Standing> {
    let any = |wanted: &[Verdict]| verdicts.iter().any(|verdict| wanted.contains(verdict));
    match () {
        () if verdicts.is_empty() => None,
        () if any(&[Verdict::Fail, Verdict::NonStrict]) => Some(Standing::Caught),
        () if any(&[Verdict::Error, Verdict::Flaky, Verdict::NearTie]) => Some(Standing::Unknown),
        () if any(&[Verdict::Pass]) => Some(Standing::Passes),
        () => Some(Standing::NotApplicable),
    }
}
