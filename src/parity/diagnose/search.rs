//! Which fault of the catalogue gives what was found.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::found::{Found, Frame, Recomputed, Reused, Shown};
use super::measure::{allowed, difference, is_masked_station};
use super::{Diagnosis, Finding, Named, generation, recognise, statistics};
use crate::layers::Station;
use crate::parity::Place;
use crate::parity::capture::Capture;
use crate::parity::faults::{Fault, Injected, Injection, differing};
use crate::parity::oracle::{Honest, Operations as _, Pass, Tensor};

/// A fault explains a difference when it leaves no more than this part of it…
const LEFT: f64 = 0.1;
/// …and faults that leave about as little as the best are as good: rounding decides between them.
const AS_GOOD: f64 = 4.0;
/// Rounding of f64, below which nothing is told apart.
const ROUNDING: f64 = 1e-13;
/// Pairs of faults are tried where a step is this cheap, in multiplications for all of them.
const PAIRS: f64 = 3e8;

pub fn search(mut found: Found<'_>, reference: Option<&Capture>, capture: &Capture) -> Diagnosis {
    let (mut findings, mut not_isolated) = (Vec::new(), Vec::new());
    findings.extend(tokens(&mut found, reference));
    // One right pass for each step of the trace: what it computes for one place serves the others.
    let steps: BTreeSet<usize> = found.tensors.keys().map(|place| place.step).collect();
    let steps: Vec<(Shown<'_>, Frame)> = steps
        .into_iter()
        .filter_map(|step| Some((Shown { found: &found, step }, found.frame(step, &Honest)?)))
        .collect();
    let right: Vec<Right<'_>> = steps
        .iter()
        .filter_map(|(shown, frame)| Some(Right { step: shown.step, frame, pass: frame.pass(&found, &Honest, shown)? }))
        .collect();
    for place in found.tensors.keys().copied() {
        if place.station == Station::GeneratedIds {
            continue;
        }
        match local(&found, &right, place, &mut findings, false) {
            Some(more) => findings.extend(more),
            None => not_isolated.push(place),
        }
    }
    let differs = |reference: &Capture| !differing(reference, capture).is_empty();
    if findings.is_empty() && reference.is_some_and(differs) {
        // Nothing alone is off by more than rounding in f32, and yet the runs differ: a fault whose effect is small.
        for place in found.tensors.keys().copied() {
            let more = local(&found, &right, place, &mut findings, true);
            findings.extend(more.unwrap_or_default());
        }
    }
    for finding in &mut findings {
        refute(&found, &right, finding);
        settle(finding);
    }
    let all_known = findings.iter().all(|finding| !finding.faults.is_empty());
    if all_known {
        findings.extend(generation::ids(&found, reference, &findings));
    }
    findings.extend(generation::text(&found, reference, capture));
    Diagnosis { findings, not_isolated }
}

/// One place on its own inputs; `None` where they are not shown. A difference that a fault found before explains is added
/// to that one's places.
fn local(
    found: &Found<'_>,
    right: &[Right<'_>],
    place: Place,
    findings: &mut [Finding],
    small: bool,
) -> Option<Vec<Finding>> {
    let shown = Rc::clone(found.tensors.get(&place)?);
    let right = right.iter().find(|right| right.step == place.step)?;
    let honest = right.frame.recompute(&right.pass, place)?;
    let effect = difference(place, &shown, &honest.tensor);
    let limit = allowed(place, honest.stations.len(), found.profile);
    let matters = if small { effect > 100.0 * ROUNDING } else { effect > limit };
    if !matters {
        return Some(Vec::new());
    }
    let case = Case { found, right, place, shown: &shown, honest: &honest, effect, limit, small };
    if !is_softmax(place) && finite_difference(&shown, &honest.tensor) <= limit {
        // All that differs is what is no number, and NaN is equal to NaN whatever made it: evidence of nothing. Where the
        // inputs have it already, what comes of it is no second mistake.
        let inherited = honest.tensor.values.iter().any(|value| value.is_nan());
        let told = not_finite(place, &shown, &honest.tensor).filter(|_| !inherited);
        return Some(told.map(|told| case.finding(Vec::new(), vec![told])).into_iter().collect());
    }

    // What was found before, in this place
    let mut explained = false;
    for finding in findings.iter_mut().filter(|finding| !finding.faults.is_empty()) {
        let fits = |named: &Named| {
            [anywhere(named.injection), named.injection]
                .map(|one| case.explained(&Injected::from(one)))
                .iter()
                .any(Option::is_some)
        };
        let fitting: Vec<bool> = finding.faults.iter().map(fits).collect();
        if fitting.contains(&true) {
            let mut fitting = fitting.into_iter();
            finding.faults.retain(|_| fitting.next() == Some(true));
            finding.also_at.push(place);
            explained = true;
            break;
        }
    }
    let known: Vec<Injection> =
        findings.iter().filter_map(|finding| finding.faults.first()).map(|named| anywhere(named.injection)).collect();
    if explained || (known.len() > 1 && case.explained(&Injected { faults: known.clone() }).is_some()) {
        return Some(Vec::new());
    }

    // A fault with a number of its own is recognised again rather than computed.
    let recognised = if small { None } else { recognise::recognise(found, place, &shown, &honest) };
    if let Some(again) = &recognised {
        let same = |finding: &&mut Finding| finding.faults.iter().any(|named| named.fault() == again.fault());
        if let Some(finding) = findings.iter_mut().find(same) {
            finding.also_at.push(place);
            return Some(Vec::new());
        }
    }

    let mut named = case.singles(&[]);
    if named.is_empty() && !known.is_empty() {
        named = case.singles(&known);
    }
    if named.is_empty() {
        named.extend(recognised);
    }
    if named.is_empty()
        && !small
        && place.step == 0
        && let Some(pair) = case.pairs()
    {
        return Some(pair.into_iter().map(|named| case.finding(vec![named], Vec::new())).collect());
    }
    if named.is_empty() && small {
        return Some(Vec::new());
    }
    let statistics =
        if named.is_empty() { statistics::statistics(found, place, &shown, &honest.tensor) } else { Vec::new() };
    Some(vec![case.finding(named, statistics)])
}

/// Where a fault of the catalogue makes what is no number: an exponential that overflows.
fn is_softmax(place: Place) -> bool {
    matches!(place.station, Station::SoftmaxHalf | Station::SoftmaxOne | Station::SoftmaxTwo)
}

/// The largest difference among what is a number on both sides, and no mask; infinite where none can be paired.
fn finite_difference(shown: &Tensor, right: &Tensor) -> f64 {
    if shown.shape != right.shape {
        return f64::INFINITY;
    }
    let pairs = shown.values.iter().zip(&right.values);
    let strange = pairs.clone().any(|(found, right)| found.is_nan() || right.is_nan());
    if !strange {
        return f64::INFINITY;
    }
    let finite = pairs.filter(|(found, right)| found.is_finite() && right.is_finite());
    finite.map(|(found, right)| (found - right).abs() / right.abs().max(1.0)).fold(0.0, f64::max)
}

/// How many numbers are none where the right computation gives one, and the first of them. −∞ among scores is a mask.
fn not_finite(place: Place, shown: &Tensor, right: &Tensor) -> Option<String> {
    let wrong = |value: f64| value.is_nan() || (value.is_infinite() && !is_masked_station(place.station));
    let pairs = shown.values.iter().zip(&right.values);
    let at: Vec<usize> =
        pairs.enumerate().filter(|(_, (found, right))| wrong(**found) && right.is_finite()).map(|(at, _)| at).collect();
    let first = crate::parity::compare::index_of(&shown.shape, *at.first()?);
    let count = shown.values.len();
    Some(format!(
        "{} of {count} numbers are NaN or infinite, the first at {first:?}, where the right ones are finite",
        at.len()
    ))
}

/// A fault may be in all layers, or in some.
pub fn anywhere(injection: Injection) -> Injection {
    Injection { layer: None, ..injection }
}

/// A pass of the trace as it should be.
struct Right<'a> {
    step: usize,
    frame: &'a Frame,
    pass: Pass<'a, Honest>,
}

struct Case<'a> {
    found: &'a Found<'a>,
    right: &'a Right<'a>,
    place: Place,
    shown: &'a Tensor,
    honest: &'a Recomputed,
    effect: f64,
    limit: f64,
    small: bool,
}

impl Case<'_> {
    /// What injected faults leave of the difference, where they explain it.
    fn explained(&self, injected: &Injected) -> Option<f64> {
        let shown = Shown { found: self.found, step: self.place.step };
        let given = Reused { shown, honest: &self.right.pass, before: self.first_act(injected) };
        let frame = self.found.frame(self.place.step, injected)?;
        let faulty = frame.recompute(&frame.pass(self.found, injected, &given)?, self.place)?;
        let residual = difference(self.place, self.shown, &faulty.tensor);
        let limit = if self.small { self.effect } else { self.limit };
        (residual <= limit && residual <= LEFT * self.effect).then_some(residual)
    }

    /// The first of the steps that were computed on which a fault acts: everything before is as it should be. None for a fault
    /// that changes what is fed.
    fn first_act(&self, injected: &Injected) -> Option<Place> {
        let feeds = |injection: &Injection| injection.fault.entry().lives == 12;
        let acts = |(station, layer): &&(Station, usize)| injected.acts(*station, *layer);
        let first = self.honest.stations.iter().find(acts).map(|(station, layer)| Place::new(*station, *layer, 0));
        first.filter(|_| !injected.faults.iter().any(feeds))
    }

    /// Every way to make every fault that acts on one of the steps that were computed.
    fn candidates(&self) -> Vec<Injection> {
        let acts = |injection: &Injection| {
            let injected = Injected::from(*injection);
            let decode = self.place.step > 0
                && matches!(injection.fault, Fault::PositionRestarted | Fault::TokenNotAppended | Fault::CacheDropped);
            decode || self.honest.stations.iter().any(|(station, layer)| injected.acts(*station, *layer))
        };
        // Where several layers had to be computed as one, a fault may be in each of them or in all.
        let blocks: BTreeSet<usize> = self
            .honest
            .stations
            .iter()
            .filter(|(station, _)| station.is_of_a_layer())
            .map(|(_, layer)| *layer)
            .collect();
        let only_one_block =
            blocks.len() == 1 && self.honest.stations.iter().all(|(station, _)| station.is_of_a_layer());
        let everywhere = if only_one_block { None } else { Some(None) };
        let scopes: Vec<Option<usize>> = everywhere.into_iter().chain(blocks.into_iter().map(Some)).collect();
        let mut candidates = Vec::new();
        for entry in Fault::of(self.found.model).filter(|entry| !entry.parametric) {
            for variant in 0..entry.variants.len() {
                let scoped = |layer: &Option<usize>| Injection { fault: entry.fault, layer: *layer, variant };
                candidates.extend(scopes.iter().map(scoped).filter(acts));
            }
        }
        candidates
    }

    /// The faults that explain the difference, besides those known already; the best first.
    fn singles(&self, known: &[Injection]) -> Vec<Named> {
        let mut named: Vec<(f64, Injection)> = Vec::new();
        for injection in self.candidates() {
            if known.iter().any(|known| known.fault == injection.fault) {
                continue;
            }
            let faults = known.iter().copied().chain([injection]).collect();
            if let Some(residual) = self.explained(&Injected { faults }) {
                named.push((residual, injection));
            }
        }
        best(named)
    }

    /// Two faults at once in steps that can't be taken apart, or on one step.
    fn pairs(&self) -> Option<[Named; 2]> {
        let candidates = self.candidates();
        let c = self.found.model.configuration.n_embd() as f64;
        let rows = self.found.tokens.len() as f64;
        let steps = self.honest.stations.len().max(1) as f64;
        let count = (candidates.len() * candidates.len()) as f64 / 2.0;
        if count * steps * rows * c * c > PAIRS {
            return None;
        }
        let mut best: Option<(f64, Injection, Injection)> = None;
        for (at, first) in candidates.iter().enumerate() {
            for second in &candidates[at + 1..] {
                if first.fault == second.fault {
                    continue;
                }
                let pair = Injected { faults: vec![*first, *second] };
                let Some(residual) = self.explained(&pair) else { continue };
                if best.is_none_or(|(least, ..)| residual < least) {
                    best = Some((residual, *first, *second));
                }
            }
        }
        best.map(|(residual, first, second)| [named(residual, first), named(residual, second)])
    }

    fn finding(&self, faults: Vec<Named>, statistics: Vec<String>) -> Finding {
        let own = (self.place.station, self.place.layer);
        let missing = self.honest.stations.iter().filter(|station| **station != own);
        let together = if self.place.step > 0 {
            Vec::new()
        } else {
            missing.map(|(station, layer)| Place::new(*station, *layer, 0)).collect()
        };
        let words = self.found.words();
        Finding { place: self.place, faults, effect: self.effect, statistics, also_at: Vec::new(), together, words }
    }
}

fn named(residual: f64, injection: Injection) -> Named {
    Named { injection, residual: Some(residual), evidence: None }
}

/// Those that are as good as the best, the best first.
fn best(mut found: Vec<(f64, Injection)>) -> Vec<Named> {
    found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let Some(least) = found.first().map(|(residual, _)| *residual) else { return Vec::new() };
    let mut kept: Vec<Named> = Vec::new();
    for (residual, injection) in found {
        let is_new = kept.iter().all(|named| named.fault() != injection.fault);
        if is_new && residual <= AS_GOOD * least + ROUNDING {
            kept.push(named(residual, injection));
        }
    }
    kept
}

/// Of several faults that explain a place, those that would also show at another of the same block, which is right there.
fn refute(found: &Found<'_>, right: &[Right<'_>], finding: &mut Finding) {
    let [_, _, ..] = finding.faults.as_slice() else { return };
    let beside = |place: &Place| {
        let is_explained = *place == finding.place || finding.also_at.contains(place);
        place.layer == finding.place.layer && place.step == finding.place.step && !is_explained
    };
    let others: Vec<Place> = found.tensors.keys().copied().filter(beside).collect();
    let would_show = |named: &Named| {
        let injected = Injected::from(anywhere(named.injection));
        let at = |place: &Place| -> Option<bool> {
            if !injected.acts(place.station, place.layer) {
                return None;
            }
            let right = right.iter().find(|right| right.step == place.step)?;
            let honest = right.frame.recompute(&right.pass, *place)?;
            let shown = found.tensors.get(place)?;
            let limit = allowed(*place, honest.stations.len(), found.profile);
            let faulty = found.recompute(*place, &injected)?;
            let is_right = difference(*place, shown, &honest.tensor) <= limit;
            Some(is_right && difference(*place, shown, &faulty.tensor) > limit.max(finding.effect * LEFT))
        };
        others.iter().any(|place| at(place) == Some(true))
    };
    let kept: Vec<Named> = finding.faults.iter().filter(|named| !would_show(named)).cloned().collect();
    if !kept.is_empty() {
        finding.faults = kept;
    }
}

/// The same function under two names, where the place says which is meant.
fn settle(finding: &mut Finding) {
    let has = |finding: &Finding, fault| finding.faults.iter().any(|named| named.fault() == fault);
    let plainer = [
        (Fault::LastBlockSkipped, Fault::BlockSkipped),
        (Fault::ScaledByHeadSize, Fault::ScaledByWidth),
        (Fault::Epsilon1e12, Fault::OtherEpsilon),
        (Fault::Epsilon1e6, Fault::OtherEpsilon),
        (Fault::FirstRow, Fault::LastButOneRow),
    ];
    for (keep, drop) in plainer {
        if has(finding, keep) && has(finding, drop) {
            finding.faults.retain(|named| named.fault() != drop);
        }
    }
}

/// Tokens that are not the prompt's: a mistake before the first station.
fn tokens(found: &mut Found<'_>, reference: Option<&Capture>) -> Option<Finding> {
    let rows = |station| found.get(station, 0, 0).and_then(|tensor| tensor.shape.first().copied());
    let shown = [Station::Embedding, Station::LayerNorm1, Station::Block].into_iter().find_map(rows);
    let expected = reference.map_or(&found.tokens, |reference| &reference.manifest.token_ids).clone();
    let own = found.tokens.clone();
    for fault in [Fault::BeginningOfText, Fault::PromptTwice] {
        let fed = Injected::from(fault).prompt(&found.model, &expected);
        // By the ids that it reports, or by how many rows it computed for the right ones.
        let by_ids = own == fed && own != expected;
        let by_rows = own == expected && shown == Some(fed.len());
        if by_ids || by_rows {
            found.tokens.clone_from(&fed);
            let evidence = format!("fed {} tokens: {}; expected {}", fed.len(), list(&fed), list(&expected));
            let named = Named { injection: fault.into(), residual: None, evidence: Some(evidence) };
            let place = Place::new(Station::Embedding, 0, 0);
            return Some(Finding::of_generation(found.words(), place, vec![named], Vec::new()));
        }
    }
    None
}

fn list(ids: &[u32]) -> String {
    let shown = ids.iter().take(8).map(u32::to_string).collect::<Vec<_>>().join(", ");
    if ids.len() > 8 { format!("[{shown}, …]") } else { format!("[{shown}]") }
}
