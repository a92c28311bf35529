//! A capture against a golden, against the f64 reference, against its own inputs, and against another of the same worker.

use crate::harness::ladder::reference::Reference;
use crate::harness::{Finding, Verdict};
use crate::parity::capture::{Capture, Tensor};
use crate::parity::compare::{self, Pair, compare};
use crate::parity::diff::{self, Diff, Known, Options, Row, diff};
use crate::parity::golden::Golden;
use crate::parity::station::Place;
use crate::parity::tolerance::{LogitScale, Profile, tolerance};

/// Every tensor of this checkpoint that the golden has; of those that it keeps in slices, the same slices.
pub fn agrees_with_golden(found: &Capture, golden: &Golden, checkpoint: u8) -> Result<(), Finding> {
    let cut = golden.cut(found).map_err(|error| Finding::fail("tensors of the golden's shapes", error.to_string()))?;
    agrees(&cut, &golden.capture, checkpoint)
}

/// Every tensor of this checkpoint that the reference has.
pub fn agrees(found: &Capture, reference: &Capture, checkpoint: u8) -> Result<(), Finding> {
    let diff = diff(reference, found, Options::default());
    if !diff.mismatches.is_empty() {
        let told: Vec<String> = diff
            .mismatches
            .iter()
            .map(|one| format!("{}: expected {}, found {}", one.field, one.expected, one.found))
            .collect();
        return Err(Finding::fail("a capture that can be compared with the reference", told.join("; ")));
    }
    if let Some(tokens) = &diff.tokens {
        return Err(Finding::fail("the prompt as the tokens of the reference", tokens.to_string()));
    }
    let rows: Vec<&Row> =
        diff.rows.iter().filter(|row| row.place.is_some_and(|place| place.checkpoint() == checkpoint)).collect();
    if !rows.iter().any(|row| row.comparison.verdict == compare::Verdict::Pass || row.comparison.verdict.is_failure()) {
        let found = "none of them was compared";
        return Err(Finding::fail(format!("tensors of checkpoint {checkpoint} to compare"), found));
    }
    match rows.iter().find(|row| row.comparison.verdict.is_failure()) {
        None => Ok(()),
        Some(row) => Err(differs(row, &diff)),
    }
}

fn differs(row: &Row, diff: &Diff) -> Finding {
    let comparison = &row.comparison;
    let verdict = if comparison.verdict == compare::Verdict::NearTie { Verdict::NearTie } else { Verdict::Fail };
    let profile = match diff.profile {
        Profile::Exact => String::new(),
        other => format!(", profile {}", other.name()),
    };
    let tolerance = row.tolerance;
    let expected = format!(
        "{} within {:e} of {} ({}{profile})",
        row.name,
        tolerance.rule.base(),
        diff.reference.title(),
        tolerance.reason
    );
    let found = match &comparison.numbers {
        Some(numbers) => format!(
            "{}: off by {:.3e} at most; {:.3e} would have passed; {} of {} numbers are beyond",
            comparison.verdict.word(),
            numbers.max_abs.value,
            numbers.needed,
            numbers.beyond,
            numbers.count
        ),
        None => format!("{}: {}", comparison.verdict.word(), comparison.remark.clone().unwrap_or_default()),
    };
    Finding::new(verdict, expected, found).with("difference", diff::story::tell(diff))
}

/// Each step is what the reference makes of the capture's own inputs to it.
pub fn follows(found: &Capture, reference: &Reference, checkpoint: u8) -> Result<(), Finding> {
    let known = Known(reference.model());
    let diff = diff(found, found, Options { insight: Some(&known), ..Options::default() });
    let mut judged = 0;
    for row in diff.rows.iter().filter(|row| row.place.is_some_and(|place| place.checkpoint() == checkpoint)) {
        let Some(local) = &row.local else { continue };
        judged += 1;
        if local.verdict.is_failure() {
            let expected = format!("{} as the reference computes it from the capture's own inputs", row.name);
            let found = format!(
                "{}: off by {:.3e}; {:.3e} would have passed",
                local.verdict.word(),
                local.max_abs,
                local.needed
            );
            return Err(Finding::fail(expected, found));
        }
    }
    match judged {
        0 => Err(Finding::unimplemented(
            format!("steps of checkpoint {checkpoint} with their inputs"),
            "no inputs are captured",
        )),
        _ => Ok(()),
    }
}

/// The same bits in every capture.
pub fn same_bits(captures: &[&Capture], checkpoint: u8) -> Result<(), Finding> {
    let [first, others @ ..] = captures else { return Err(Finding::error("captures", "none")) };
    let mut judged = 0;
    for (name, tensor) in of_checkpoint(first, checkpoint) {
        for other in others {
            judged += 1;
            if other.tensors.get(name) != Some(tensor) {
                return Err(Finding::fail(format!("{name} with the same bits in every run"), "other bits"));
            }
        }
    }
    if judged > 0 { Ok(()) } else { Err(Finding::error("tensors to compare between runs", "none")) }
}

fn of_checkpoint(capture: &Capture, checkpoint: u8) -> impl Iterator<Item = (&String, &Tensor)> {
    let is_of = move |name: &str| Place::of_name(name).is_some_and(|place| place.checkpoint() == checkpoint);
    capture.tensors.iter().filter(move |(name, _)| is_of(name))
}

/// `first.name` within the tolerance of its station of `second.other`.
pub fn alike(first: &Capture, name: &str, second: &Capture, other: &str) -> Result<(), Finding> {
    let tensor = |capture: &Capture, name: &str| {
        capture
            .tensors
            .get(name)
            .cloned()
            .ok_or_else(|| Finding::fail(format!("a tensor {name}"), "the capture does not have it"))
    };
    let place = Place::of_name(name).ok_or_else(|| Finding::error("a tensor's name", name))?;
    let (found, reference) = (tensor(first, name)?, tensor(second, other)?);
    let tolerance = tolerance(place, Profile::Exact, LogitScale::default());
    let comparison = compare(Pair { reference: &reference, found: &found, tolerance, masked: false });
    if comparison.verdict == compare::Verdict::Pass {
        return Ok(());
    }
    let off = comparison
        .numbers
        .as_ref()
        .map(|numbers| format!(", off by {:.3e}", numbers.max_abs.value))
        .unwrap_or_default();
    let found = format!("{}{off} {}", comparison.verdict.word(), comparison.remark.unwrap_or_default());
    Err(Finding::fail(format!("{name} like {other} of the other capture, within {:e}", tolerance.rule.base()), found))
}
