//! Two tensors held against each other: how far they are apart by every measure, and whether that is allowed.
//!
//! `sweep` reads both once, a chunk at a time, and keeps sums and extremes; `split` shares large tensors among threads;
//! here the sums become the numbers that a report shows, and a verdict.

mod split;
mod sweep;

use std::fmt;

use serde::{Serialize, Serializer};

use super::capture::{Tensor, Values};
use super::tolerance::{Rule, Tolerance};
use sweep::Sweep;

pub use split::compare_all;

/// How one station's comparison ends. Only `Pass` is green; a tensor that was not compared has not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Verdict {
    Pass,
    /// Beyond the tolerance.
    Differs,
    /// The reference has it, the other has not.
    Missing,
    Shape,
    /// Not as many numbers as the shape, or as the reference.
    Count,
    /// NaN or an infinity where the reference has a number.
    NotFinite,
    /// Another token, where the margin is below the measured error.
    NearTie,
    /// Nothing to hold it against.
    NotCompared,
}

impl Verdict {
    pub const ALL: [Verdict; 8] = [
        Verdict::Pass,
        Verdict::Differs,
        Verdict::Missing,
        Verdict::Shape,
        Verdict::Count,
        Verdict::NotFinite,
        Verdict::NearTie,
        Verdict::NotCompared,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Differs => "DIFFERS",
            Verdict::Missing => "MISSING",
            Verdict::Shape => "SHAPE",
            Verdict::Count => "COUNT",
            Verdict::NotFinite => "NAN/INF",
            Verdict::NearTie => "NEAR-TIE",
            Verdict::NotCompared => "NOT COMPARED",
        }
    }

    /// The tensor is there and is not what it should be.
    pub fn is_divergence(self) -> bool {
        matches!(self, Verdict::Differs | Verdict::Shape | Verdict::Count | Verdict::NotFinite)
    }

    /// It keeps two captures from being called equal.
    pub fn is_failure(self) -> bool {
        self.is_divergence() || matches!(self, Verdict::Missing | Verdict::NearTie)
    }
}

/// Two tensors and the terms on which they are compared.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    pub reference: &'a Tensor,
    pub found: &'a Tensor,
    pub tolerance: Tolerance,
    /// Entries at −∞ or below −1e30 count as masked, and masked is equal to masked.
    pub masked: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub verdict: Verdict,
    pub reference_shape: Vec<usize>,
    pub found_shape: Vec<usize>,
    /// Absent where shape or count don't allow to pair the numbers.
    pub numbers: Option<Numbers>,
    /// What the verdict says where the numbers don't.
    pub remark: Option<String>,
}

/// An element and how far off it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Worst {
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// Flat, row-major.
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Numbers {
    pub count: usize,
    pub max_abs: Worst,
    /// Over elements whose reference is not 0.
    pub max_rel: Worst,
    /// Found minus reference.
    #[serde(serialize_with = "number")]
    pub mean_difference: f64,
    #[serde(serialize_with = "number")]
    pub rmse: f64,
    /// Energy of the difference over energy of the reference.
    #[serde(serialize_with = "number")]
    pub nmse: f64,
    #[serde(serialize_with = "number")]
    pub cosine: f64,
    /// Representable numbers between the two at the largest absolute difference: of f32, unless both are f64.
    pub ulp_at_worst: Option<u64>,
    #[serde(serialize_with = "number")]
    pub tolerance: f64,
    /// The smallest that would have passed.
    #[serde(serialize_with = "number")]
    pub needed: f64,
    /// The element that needs it.
    pub needed_at: usize,
    /// Elements beyond the tolerance.
    pub beyond: usize,
    /// Elements that are NaN or infinite where the reference is a number.
    pub not_finite: usize,
    /// Entries masked on one side only.
    pub mask_differs: usize,
}

impl Numbers {
    /// Signal to quantisation noise, in decibels: what a quantised model is judged by.
    pub fn sqnr(&self) -> f64 {
        -10.0 * self.nmse.log10()
    }
}

/// Numbers of JSON have no infinities: those are strings.
pub(crate) fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.collect_str(value) }
}

/// One pair, on this thread.
pub fn compare(pair: Pair<'_>) -> Comparison {
    compare_all(&[pair], 1).remove(0)
}

/// The verdict on tensors whose numbers can't be paired.
fn unpaired(pair: Pair<'_>) -> Option<Comparison> {
    let Pair { reference, found, .. } = pair;
    let end = |verdict, remark| {
        Some(Comparison {
            verdict,
            reference_shape: reference.shape.clone(),
            found_shape: found.shape.clone(),
            numbers: None,
            remark: Some(remark),
        })
    };
    if reference.shape != found.shape {
        let remark = format!("shape {}, expected {}", Shape(&found.shape), Shape(&reference.shape));
        return end(Verdict::Shape, remark);
    }
    for (tensor, whose) in [(reference, "the reference's"), (found, "the found")] {
        let expected: usize = tensor.shape.iter().product();
        if tensor.count() != expected {
            let shape = Shape(&tensor.shape);
            let remark = format!("{whose} tensor has {} numbers; its shape {shape} has {expected}", tensor.count());
            return end(Verdict::Count, remark);
        }
    }
    None
}

fn conclude(pair: Pair<'_>, sweep: Sweep) -> Comparison {
    let Pair { reference, found, tolerance, .. } = pair;
    let count = reference.count();
    let numbers = Numbers {
        count,
        max_abs: sweep.max_abs,
        max_rel: sweep.max_rel,
        mean_difference: if count == 0 { 0.0 } else { sweep.difference / count as f64 },
        rmse: if count == 0 { 0.0 } else { (sweep.difference_squared / count as f64).sqrt() },
        nmse: ratio(sweep.difference_squared, sweep.reference_squared),
        cosine: sweep.cosine(),
        ulp_at_worst: ulp_distance(reference, found, sweep.max_abs.at),
        tolerance: tolerance.rule.base(),
        needed: sweep.needed.value,
        needed_at: sweep.needed.at,
        beyond: sweep.beyond,
        not_finite: sweep.not_finite,
        mask_differs: sweep.mask_differs,
    };
    let (verdict, remark) = if sweep.not_finite > 0 {
        let remark =
            format!("{} of {count} numbers are NaN or infinite, and the reference's are not", sweep.not_finite);
        (Verdict::NotFinite, Some(remark))
    } else if sweep.mask_differs > 0 {
        let remark = format!("{} of {count} entries are masked on one side only", sweep.mask_differs);
        (Verdict::Differs, Some(remark))
    } else if sweep.beyond > 0 {
        (Verdict::Differs, None)
    } else {
        (Verdict::Pass, None)
    };
    Comparison {
        verdict,
        reference_shape: reference.shape.clone(),
        found_shape: found.shape.clone(),
        numbers: Some(numbers),
        remark,
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

/// How many representable numbers lie between the two: of f32, unless both are f64; none for integers, NaN and infinities.
fn ulp_distance(reference: &Tensor, found: &Tensor, at: usize) -> Option<u64> {
    match (&reference.values, &found.values) {
        (Values::F64(reference), Values::F64(found)) => {
            let (a, b) = (*reference.get(at)?, *found.get(at)?);
            let ordered =
                |x: f64| if x.is_sign_negative() { -((x.to_bits() & !(1 << 63)) as i64) } else { x.to_bits() as i64 };
            (a.is_finite() && b.is_finite()).then(|| ordered(a).abs_diff(ordered(b)))
        }
        (Values::I64(_), _) | (_, Values::I64(_)) => None,
        _ => {
            let (a, b) = (value(reference, at)? as f32, value(found, at)? as f32);
            let ordered =
                |x: f32| if x.is_sign_negative() { -((x.to_bits() & !(1 << 31)) as i64) } else { x.to_bits() as i64 };
            (a.is_finite() && b.is_finite()).then(|| ordered(a).abs_diff(ordered(b)))
        }
    }
}

/// What each element needs of a tolerance: infinite where one is no number or masked and the other is not.
pub fn needs<'a>(pair: Pair<'a>) -> impl Iterator<Item = f64> + 'a {
    (0..pair.reference.count().min(pair.found.count())).map(move |at| {
        let number = |tensor| value(tensor, at).unwrap_or(f64::NAN);
        let (r, f) = (number(pair.reference), number(pair.found));
        if pair.masked && is_masked(r) && is_masked(f) || r == f || r.is_nan() && f.is_nan() {
            return 0.0;
        }
        let visible = !pair.masked || !is_masked(r) && !is_masked(f);
        if visible && r.is_finite() && f.is_finite() { need(pair.tolerance.rule, r, f - r) } else { f64::INFINITY }
    })
}

/// One number of a tensor.
pub fn value(tensor: &Tensor, at: usize) -> Option<f64> {
    match &tensor.values {
        Values::F32(values) => values.get(at).map(|value| f64::from(*value)),
        Values::F64(values) => values.get(at).copied(),
        Values::I64(values) => values.get(at).map(|value| *value as f64),
    }
}

/// The index of each axis of a flat one.
pub fn index_of(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (place, size) in index.iter_mut().zip(shape).rev() {
        *place = flat % (*size).max(1);
        flat /= (*size).max(1);
    }
    index
}

/// `[2, 64]`
pub struct Shape<'a>(pub &'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

/// Whether a score counts as masked.
#[inline(always)]
pub fn is_masked(value: f64) -> bool {
    value < -1e30
}

/// What an element needs of a tolerance to be inside it; found beyond it where that is more than the rule's base.
#[inline(always)]
fn need(rule: Rule, reference: f64, difference: f64) -> f64 {
    match rule {
        Rule::Exact => difference.abs(),
        Rule::Within(_) => difference.abs() / reference.abs().max(1.0),
        Rule::Probability { spread, .. } => difference.abs() - spread * (reference * (1.0 - reference)).max(0.0),
    }
}
