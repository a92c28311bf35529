//! Every station judged, in the order in which engines compute.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::Place;
use super::super::capture::{Capture, Tensor};
use super::super::compare::{Comparison, Pair, Shape, Verdict, compare, compare_all, number, value};
use super::super::station::is_optional;
use super::super::tolerance::{LogitScale, Profile, Rule, Tolerance, tolerance};
use super::{Noise, Options, by_place, quantised};
use crate::layers::Station;

/// One station, or a tensor that belongs to none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    /// None for names that no station has.
    pub place: Option<Place>,
    pub comparison: Comparison,
    #[serde(serialize_with = "base")]
    pub tolerance: Tolerance,
    /// An earlier station, which goes into this one, is wrong already.
    pub downstream: bool,
    /// The station by itself: computed from the found capture's own inputs.
    pub local: Option<Local>,
}

/// How far a single step is off on its own inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Local {
    #[serde(serialize_with = "number")]
    pub max_abs: f64,
    #[serde(serialize_with = "number")]
    pub needed: f64,
    /// Signal to noise, in decibels.
    #[serde(serialize_with = "number")]
    pub sqnr: f64,
    pub verdict: Verdict,
}

/// Where a row stands in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Agrees,
    /// Wrong, with nothing wrong before it that goes into it.
    Diverges,
    /// Wrong, as it must be after what went before.
    Downstream,
    NearTie,
    Missing,
    NotCompared,
}

impl Standing {
    /// Of several in one cell, the largest is shown.
    pub fn severity(self) -> u8 {
        match self {
            Standing::Diverges => 5,
            Standing::Missing => 4,
            Standing::NearTie => 3,
            Standing::Downstream => 2,
            Standing::NotCompared => 1,
            Standing::Agrees => 0,
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Standing::Agrees => "✓",
            Standing::Diverges => "✕",
            Standing::Downstream => "↓",
            Standing::NearTie => "≈",
            Standing::Missing => "?",
            Standing::NotCompared => "–",
        }
    }
}

impl Row {
    pub fn standing(&self) -> Standing {
        match self.comparison.verdict {
            Verdict::Pass => Standing::Agrees,
            Verdict::Missing => Standing::Missing,
            Verdict::NotCompared => Standing::NotCompared,
            Verdict::NearTie if !self.downstream => Standing::NearTie,
            _ if self.downstream => Standing::Downstream,
            _ => Standing::Diverges,
        }
    }
}

fn base<S: serde::Serializer>(tolerance: &Tolerance, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Told {
        absolute: f64,
        reason: &'static str,
    }
    Told { absolute: tolerance.rule.base(), reason: tolerance.reason }.serialize(serializer)
}

pub(super) fn is_masked_station(place: Place) -> bool {
    place.station == Station::ScoresMasked
}

pub(super) fn rows(
    reference: &Capture,
    found: &Capture,
    profile: Profile,
    options: Options<'_>,
    noise: Option<Noise>,
    other_tokens: bool,
) -> Vec<Row> {
    let (expected, shown) = (by_place(reference), by_place(found));
    let logits = LogitScale { largest: expected.get(&SELECTED).map_or(1.0, |logits| largest(logits)) };
    let terms = |place| tolerance(place, profile, logits);
    let both: Vec<Place> = expected.keys().copied().filter(|place| shown.contains_key(place)).collect();
    let pairs: Vec<Pair<'_>> = both
        .iter()
        .map(|place| Pair {
            reference: expected[place],
            found: shown[place],
            tolerance: terms(*place),
            masked: is_masked_station(*place),
        })
        .collect();
    let mut compared = compare_all(&pairs, options.threads.max(1)).into_iter();

    let places: BTreeSet<Place> = expected.keys().chain(shown.keys()).copied().collect();
    let mut rows: Vec<Row> = Vec::new();
    for place in places {
        let comparison = match (expected.get(&place), shown.get(&place)) {
            (Some(reference), Some(found)) => {
                let comparison =
                    compared.next().unwrap_or_else(|| absent(None, None, Verdict::NotCompared, "not read"));
                refine(place, reference, found, comparison)
            }
            (Some(reference), None) => match excuse(place, &shown.keys().copied().collect::<Vec<_>>()) {
                Some(why) => absent(Some(reference), None, Verdict::NotCompared, why),
                None => absent(Some(reference), None, Verdict::Missing, "the reference has it"),
            },
            (None, found) => absent(None, found.copied(), Verdict::NotCompared, "the reference does not have it"),
        };
        let comparison = match noise {
            Some(noise) => quantised::judge(comparison, place.station, noise),
            None => comparison,
        };
        rows.push(Row {
            name: place.name(),
            place: Some(place),
            comparison,
            tolerance: terms(place),
            downstream: other_tokens,
            local: None,
        });
    }
    if noise.is_none() {
        judge_choices(&mut rows, &expected_and_found(&expected, &shown));
    }
    mark_downstream(&mut rows);
    if let Some(insight) = options.insight {
        let step = insight.steps(found);
        for row in &mut rows {
            let Some(place) = row.place else { continue };
            let Some(found_tensor) = shown.get(&place) else { continue };
            row.local = step(place).and_then(|step| {
                // On its own inputs a step owes nothing to those before it: layer 0's tolerance holds in every layer.
                let tolerance = tolerance(Place::new(place.station, 0, 0), profile, logits);
                let masked = is_masked_station(place);
                let comparison = compare(Pair { reference: &step, found: found_tensor, tolerance, masked });
                let numbers = comparison.numbers?;
                let verdict = match noise {
                    Some(_) if place.station >= Station::Argmax => Verdict::NotCompared,
                    Some(noise) => quantised::verdict(&numbers, noise.by_itself),
                    None => comparison.verdict,
                };
                let (max_abs, needed, sqnr) = (numbers.max_abs.value, numbers.needed, numbers.sqnr());
                Some(Local { max_abs, needed, sqnr, verdict })
            });
        }
    }
    rows.extend(strangers(reference, found));
    rows
}

const SELECTED: Place = Place { station: Station::SelectedLogits, layer: 0, step: 0 };

type Choices<'a> = [Option<&'a Tensor>; 2];

fn expected_and_found<'a>(
    expected: &std::collections::BTreeMap<Place, &'a Tensor>,
    shown: &std::collections::BTreeMap<Place, &'a Tensor>,
) -> Choices<'a> {
    [expected.get(&SELECTED).copied(), shown.get(&SELECTED).copied()]
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.to_f64().iter().filter(|value| value.is_finite()).fold(0.0, |largest, value| value.abs().max(largest))
}

/// A tensor that only one side has.
fn absent(reference: Option<&Tensor>, found: Option<&Tensor>, verdict: Verdict, why: &str) -> Comparison {
    let shape = |tensor: Option<&Tensor>| tensor.map(|tensor| tensor.shape.clone()).unwrap_or_default();
    Comparison {
        verdict,
        reference_shape: shape(reference),
        found_shape: shape(found),
        numbers: None,
        remark: Some(why.to_owned()),
    }
}

/// Why a capture may be without a tensor that the reference has.
fn excuse(place: Place, shown: &[Place]) -> Option<&'static str> {
    let none = |test: &dyn Fn(&Place) -> bool| !shown.iter().any(test);
    if is_optional(place.station) {
        Some("the found capture does not have it, and may be without: the step after it can't be checked by itself")
    } else if place.step > 0 && none(&|other| other.step > 0) {
        Some("the found capture has no decode step")
    } else if place.layer > 0
        && place.station != Station::BlockOutput
        && none(&|other| other.layer > 0 && other.step == place.step && other.station != Station::BlockOutput)
    {
        Some("the found capture has layer 0 only")
    } else {
        None
    }
}

/// Generated ids may be fewer or more: what is wrong is then where they part, or that they stop.
fn refine(place: Place, reference: &Tensor, found: &Tensor, comparison: Comparison) -> Comparison {
    let one_row = reference.shape.len() == 1 && found.shape.len() == 1;
    if place.station != Station::GeneratedIds || comparison.verdict != Verdict::Shape || !one_row {
        return comparison;
    }
    let (expected, shown) = (reference.to_f64(), found.to_f64());
    let (count, wanted) = (shown.len(), expected.len());
    let (verdict, remark) = match expected.iter().zip(shown.iter()).position(|(expected, found)| expected != found) {
        Some(at) => (
            Verdict::Differs,
            format!("token {at} is {}, expected {}; {count} tokens, expected {wanted}", shown[at], expected[at]),
        ),
        None => (Verdict::Count, format!("{count} tokens, expected {wanted}; as far as they go they agree")),
    };
    Comparison { verdict, remark: Some(remark), ..comparison }
}

/// Another token is excused where the logits could not decide: the reference's margin is within the error of the two.
fn judge_choices(rows: &mut [Row], logits: &Choices<'_>) {
    let [Some(reference), Some(found)] = logits else { return };
    let agree = rows.iter().any(|row| row.place == Some(SELECTED) && row.comparison.verdict == Verdict::Pass);
    for row in rows {
        let is_choice = row.place.is_some_and(|place| matches!(place.station, Station::Argmax | Station::GeneratedIds));
        let differs = row.comparison.verdict == Verdict::Differs;
        let Some(numbers) = row.comparison.numbers.as_ref().filter(|_| is_choice) else { continue };
        let at_start =
            differs && numbers.needed_at == 0 || row.place.is_some_and(|place| place.station == Station::Argmax);
        let Some(choice) = Choice::read(reference, found) else { continue };
        if !differs && !at_start {
            continue;
        }
        if !differs {
            row.comparison.remark.get_or_insert(format!("margin {:.3e}", choice.margin));
            continue;
        }
        let excused = agree && at_start && choice.is_near_tie();
        row.comparison.verdict = if excused { Verdict::NearTie } else { Verdict::Differs };
        row.comparison.remark = Some(choice.told());
    }
}

/// What the two rows of logits choose.
struct Choice {
    expected: usize,
    own: usize,
    /// The reference's: its first minus its second logit.
    margin: f64,
    /// How far the logits of the two candidates are off.
    error: f64,
}

impl Choice {
    fn read(reference: &Tensor, found: &Tensor) -> Option<Choice> {
        let (expected, own) = (argmax(reference)?, argmax(found)?);
        let top = value(reference, expected)?;
        let others = (0..reference.count()).filter(|at| *at != expected).filter_map(|at| value(reference, at));
        let second = others.fold(f64::NEG_INFINITY, f64::max);
        let off = |at| Some((value(found, at)? - value(reference, at)?).abs());
        Some(Choice { expected, own, margin: top - second, error: off(expected)? + off(own)? })
    }

    /// Each side chose what its own logits say, and the error explains why they say different things.
    fn is_near_tie(&self) -> bool {
        self.own != self.expected && self.margin <= self.error
    }

    fn told(&self) -> String {
        let Choice { expected, own, margin, error } = self;
        if own == expected {
            format!("its own logits choose {own}, as the reference's do; margin {margin:.3e}")
        } else {
            format!("its own logits choose {own}, the reference's {expected}; margin {margin:.3e}, error {error:.3e}")
        }
    }
}

/// The lowest index of the largest number.
fn argmax(tensor: &Tensor) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, value) in tensor.to_f64().iter().enumerate() {
        if best.is_none_or(|(_, largest)| *value > largest) {
            best = Some((at, *value));
        }
    }
    best.map(|(at, _)| at)
}

/// After what diverged, whatever is made of it diverges too.
pub(super) fn mark_downstream(rows: &mut [Row]) {
    let mut wrong: Vec<Place> = Vec::new();
    for row in rows {
        let Some(place) = row.place else { continue };
        if row.comparison.verdict.is_divergence() || row.comparison.verdict == Verdict::NearTie {
            row.downstream |= wrong.iter().any(|earlier| earlier.feeds(place));
            wrong.push(place);
        }
    }
}

/// Tensors under names that no station has.
fn strangers(reference: &Capture, found: &Capture) -> Vec<Row> {
    let names: BTreeSet<&String> = reference.tensors.keys().chain(found.tensors.keys()).collect();
    let names = names.into_iter().filter(|name| Place::of_name(name).is_none());
    names
        .map(|name| {
            let (reference, found) = (reference.tensors.get(name), found.tensors.get(name));
            let shape = reference.or(found).map(|tensor| Shape(&tensor.shape).to_string()).unwrap_or_default();
            Row {
                name: name.clone(),
                place: None,
                comparison: absent(
                    reference,
                    found,
                    Verdict::NotCompared,
                    &format!("{shape}: no station has this name"),
                ),
                tolerance: Tolerance { rule: Rule::Exact, reason: "not compared" },
                downstream: false,
                local: None,
            }
        })
        .collect()
}
