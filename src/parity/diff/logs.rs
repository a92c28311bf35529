//! Two parity logs held against each other: the first numbers of each tensor, its digest and its statistics.
//!
//! A log does not hold whole tensors, so that a difference may be seen and not where it is. Records join on checkpoint,
//! layer and token index; the n-th generation of one log with the n-th of the other.

use std::collections::BTreeSet;

use super::super::Place;
use super::super::capture::{Manifest, Tensor};
use super::super::compare::{Comparison, Pair, Shape, Verdict, compare};
use super::super::log::{Key, Log, Record, Run, checkpoint};
use super::super::tolerance::{LogitScale, Profile, Rule, Tolerance, tolerance};
use super::rows::mark_downstream;
use super::{Diff, First, Row, Standing, location, pattern};
use crate::layers::Station;

/// Holds the found log against the reference's.
pub fn diff_logs(reference: &Log, found: &Log) -> Diff {
    let manifest = |log: &Log| -> Manifest { log.runs.first().map(|run| run.meta.clone().into()).unwrap_or_default() };
    let records = |log: &Log| log.runs.iter().map(|run| run.records.len()).sum();
    let mut diff = Diff::open(&manifest(reference), &manifest(found), [records(reference), records(found)], false);
    for (log, whose) in [(reference, "the reference's"), (found, "the found")] {
        if log.dropped > 0 {
            diff.disagreements.push(format!("{whose} log says that it dropped {} records", log.dropped));
        }
    }
    if reference.runs.len() != found.runs.len() {
        let (expected, found) = (reference.runs.len(), found.runs.len());
        diff.disagreements.push(format!("the found log has {found} generations, the reference's {expected}"));
    }
    if !diff.mismatches.is_empty() {
        return diff;
    }
    let many = reference.runs.len() > 1;
    for (number, (reference, found)) in reference.runs.iter().zip(&found.runs).enumerate() {
        let mut rows = rows(reference, found, diff.profile);
        mark_downstream(&mut rows);
        let first = rows.iter().find(|row| row.standing() == Standing::Diverges).filter(|_| diff.first.is_none());
        if let Some(place) = first.and_then(|row| row.place) {
            diff.first = account_for(place, reference, found, diff.profile);
        }
        for mut row in rows {
            if many {
                row.name = format!("{} of run {}", row.name, number + 1);
            }
            diff.rows.push(row);
        }
    }
    diff.conclude();
    diff
}

/// Keys with their places: the passes of a generation are its steps.
fn places(reference: &Run, found: &Run) -> Vec<(Option<Place>, Key)> {
    let keys: BTreeSet<&Key> = reference.records.keys().chain(found.records.keys()).collect();
    let passes: BTreeSet<usize> = keys.iter().map(|key| key.token_idx).collect();
    let step = |key: &Key| passes.iter().position(|pass| *pass == key.token_idx).unwrap_or_default();
    let station = |key: &Key| Station::ALL.into_iter().find(|station| checkpoint(*station) == key.checkpoint);
    let place = |key: &Key| station(key).map(|station| Place::new(station, key.layer, step(key)));
    let mut places: Vec<(Option<Place>, Key)> = keys.into_iter().map(|key| (place(key), key.clone())).collect();
    places.sort_by_key(|(place, _)| (place.is_none(), *place));
    places
}

fn rows(reference: &Run, found: &Run, profile: Profile) -> Vec<Row> {
    let rows = places(reference, found).into_iter().map(|(place, key)| {
        let tolerance = match place {
            Some(place) => terms(place, profile),
            None => Tolerance { rule: Rule::Exact, reason: "not compared" },
        };
        let (expected, shown) = (reference.records.get(&key), found.records.get(&key));
        let comparison = match (place, expected, shown) {
            (Some(_), Some(expected), Some(shown)) => judge(expected, shown, tolerance),
            (Some(_), Some(_), None) => alone(expected, Verdict::Missing, "the reference's log has it"),
            (Some(_), None, _) => alone(shown, Verdict::NotCompared, "the reference's log does not have it"),
            (None, ..) => alone(expected.or(shown), Verdict::NotCompared, "no station has this name"),
        };
        let name = place.map_or(key.checkpoint.clone(), Place::name);
        let name = if key.token_idx == 0 { name } else { format!("{name} at token {}", key.token_idx) };
        Row { name, place, comparison, tolerance, downstream: false, local: None }
    });
    rows.collect()
}

fn terms(place: Place, profile: Profile) -> Tolerance {
    tolerance(place, profile, LogitScale::default())
}

fn alone(record: Option<&Record>, verdict: Verdict, why: &str) -> Comparison {
    let shape = record.map(|record| record.shape.clone()).unwrap_or_default();
    Comparison { verdict, reference_shape: shape, found_shape: Vec::new(), numbers: None, remark: Some(why.to_owned()) }
}

/// The first numbers of a record, as a row.
fn head(record: &Record) -> Tensor {
    let values: Vec<f64> = record.values.iter().map(|value| value.as_f64()).collect();
    Tensor::f64(&[values.len()], values)
}

/// Two records of one tensor.
fn judge(expected: &Record, shown: &Record, tolerance: Tolerance) -> Comparison {
    let mut reference = head(expected);
    let mut found = head(shown);
    let common = reference.count().min(found.count());
    reference = first(&reference, common);
    found = first(&found, common);
    // Of what the log shows, the mask is plain: an entry is far below any score, or it is none.
    let masked = expected.checkpoint == checkpoint(Station::ScoresMasked);
    let comparison = compare(Pair { reference: &reference, found: &found, tolerance, masked });
    let comparison =
        Comparison { reference_shape: expected.shape.clone(), found_shape: shown.shape.clone(), ..comparison };
    let end = |verdict, remark: String| Comparison { verdict, remark: Some(remark), ..comparison.clone() };
    if expected.shape != shown.shape {
        let remark = format!("shape {}, expected {}", Shape(&shown.shape), Shape(&expected.shape));
        return Comparison { numbers: None, ..end(Verdict::Shape, remark) };
    }
    let (nan, inf) = (shown.statistics.nan, shown.statistics.inf);
    if nan > expected.statistics.nan || !masked && inf > expected.statistics.inf {
        return end(Verdict::NotFinite, format!("{nan} NaN and {inf} infinities in {} numbers", shown.count));
    }
    if comparison.verdict != Verdict::Pass {
        return comparison;
    }
    let same_bits = expected.dtype == shown.dtype && expected.digest == shown.digest;
    let pairs = [
        ("min", expected.statistics.min, shown.statistics.min),
        ("max", expected.statistics.max, shown.statistics.max),
        ("mean", expected.statistics.mean, shown.statistics.mean),
    ];
    for (name, expected, found) in pairs.into_iter().filter(|_| !same_bits && !masked) {
        let (expected, found) = (expected.as_f64(), found.as_f64());
        if (found - expected).abs() > tolerance.rule.allowed(expected) {
            return end(
                Verdict::Differs,
                format!("its {name} is {found}, expected {expected}; its first {common} numbers agree"),
            );
        }
    }
    // Ids have to be equal to the last, which only the digest sees.
    if tolerance.rule == Rule::Exact && !same_bits && expected.dtype == shown.dtype {
        return end(Verdict::Differs, "another digest".to_owned());
    }
    let seen = format!("{common} of {} numbers, and statistics", expected.count);
    if same_bits || common == expected.count { comparison } else { end(Verdict::Pass, seen) }
}

fn first(tensor: &Tensor, count: usize) -> Tensor {
    Tensor::f64(&[count], tensor.to_f64()[..count].to_vec())
}

fn account_for(place: Place, reference: &Run, found: &Run, profile: Profile) -> Option<First> {
    let key = places(reference, found).into_iter().find(|(other, _)| *other == Some(place))?.1;
    let (expected, shown) = (head(reference.records.get(&key)?), head(found.records.get(&key)?));
    let common = expected.count().min(shown.count());
    let (expected, shown) = (first(&expected, common), first(&shown, common));
    let masked = place.station == Station::ScoresMasked;
    let pair = Pair { reference: &expected, found: &shown, tolerance: terms(place, profile), masked };
    let location = location::locate(place, pair).filter(|location| location.beyond > 0);
    let patterns = pattern::patterns(place, pair, &Default::default(), location.as_ref());
    Some(First { place, location, patterns, diagnosis: None })
}
