//! What a difference looks like, from the numbers alone: constant ratio or offset, the same vector at each position, a
//! permutation, another tensor's values, growth with the position.
//!
//! Each pattern is a prediction of the found tensor from the reference; it holds where hardly anything of the difference
//! is left unexplained. It describes and does not judge: where a model is at hand, the diagnosis has names.

use std::fmt;

use serde::Serialize;

use super::super::Place;
use super::super::capture::{Capture, Sizes, Tensor};
use super::super::compare::{Pair, index_of, is_masked};
use super::by_place;
use super::location::{Location, Touched, axis_names};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pattern {
    pub kind: Kind,
    /// In words.
    pub told: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Zero,
    OtherTensor,
    Sign,
    Ratio,
    Offset,
    OffsetByChannel,
    RatioByChannel,
    RatioByRow,
    AffineByRow,
    Permutation,
    Transposition,
    Rearranged,
    Mask,
    Growth,
    Unknown,
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.told)
    }
}

/// The part of the difference's energy that a pattern may leave unexplained.
const LEFT: f64 = 1e-3;

/// What holds, the plainest first; never empty. Only the part of the tensor that the location says is touched is looked
/// at: what is wrong in one head is plain there, and lost among the others.
pub(super) fn patterns(place: Place, pair: Pair<'_>, reference: &Capture, location: Option<&Location>) -> Vec<Pattern> {
    let mut held: Vec<Pattern> = Vec::new();
    if pair.reference.shape == pair.found.shape && pair.reference.count() != pair.found.count() {
        let told = "the counts differ: nothing can be said of the values".to_owned();
        held.push(Pattern { kind: Kind::Unknown, told });
        return held;
    }
    let case = Case::new(place, pair, reference.manifest.sizes);
    let mut say = |kind, told: String| held.push(Pattern { kind, told });
    if case.shape != pair.found.shape {
        if let Some(axes) = case.transposed_axes(&pair.found.shape) {
            say(Kind::Transposition, axes);
        } else {
            say(Kind::Unknown, "the shapes differ: nothing can be said of the values".to_owned());
        }
        return held;
    }
    if pair.masked
        && let Some(told) = case.mask(pair)
    {
        say(Kind::Mask, told);
    }
    if held.is_empty() {
        // What is no number follows no pattern.
        let strange = |value: &f64| value.is_nan() || (value.is_infinite() && !pair.masked);
        let [in_found, in_reference] =
            [pair.found, pair.reference].map(|side| side.to_f64().iter().filter(|v| strange(v)).count());
        if in_found + in_reference > 0 {
            let mut say = |kind, told: String| held.push(Pattern { kind, told });
            let count = pair.found.count();
            if in_reference > 0 {
                say(
                    Kind::Unknown,
                    format!("the reference itself has {in_reference} of {count} numbers that are NaN or infinite"),
                );
            }
            if in_found > 0 {
                say(
                    Kind::Unknown,
                    format!("{in_found} of {count} numbers are NaN or infinite: nothing can be said of the values"),
                );
            }
            return held;
        }
    }
    let mut say = |kind, told: String| held.push(Pattern { kind, told });
    let growth = case.growth();
    let other = case.other_tensor(reference);
    let case = location.map_or(case.clone(), |location| case.part(&location.touched));
    if case.found.iter().all(|value| *value == 0.0) {
        say(Kind::Zero, "found is zero".to_owned());
    } else if let Some(other) = other {
        say(Kind::OtherTensor, other);
    } else if let Some((kind, told)) = case.scaled().or_else(|| case.by_row()).or_else(|| case.permuted()) {
        say(kind, told);
    }
    if let Some(told) = growth {
        say(Kind::Growth, told);
    }
    if held.is_empty() {
        let (energy, angle) = case.energy_and_angle();
        let told =
            format!("no simple pattern: found has {energy:.3} times the reference's size and cosine {angle:.4} to it");
        held.push(Pattern { kind: Kind::Unknown, told });
    }
    held
}

/// The two as rows of their last axis; what is masked on either side is left out as 0.
#[derive(Clone)]
struct Case {
    place: Place,
    sizes: Sizes,
    shape: Vec<usize>,
    /// For each axis, the indices in the whole tensor that this is made of.
    indices: Vec<Vec<usize>>,
    reference: Vec<f64>,
    found: Vec<f64>,
    tolerance: f64,
    /// Energy of the difference.
    difference: f64,
}

impl Case {
    fn new(place: Place, pair: Pair<'_>, sizes: Sizes) -> Case {
        let clean =
            |tensor: &Tensor, other: &Tensor| {
                let (own, other) = (tensor.to_f64(), other.to_f64());
                let visible = |value: f64| value.is_finite() && !(pair.masked && is_masked(value));
                let pairs = own.iter().enumerate();
                pairs
                    .map(|(at, value)| {
                        if visible(*value) && other.get(at).is_none_or(|other| visible(*other)) { *value } else { 0.0 }
                    })
                    .collect::<Vec<f64>>()
            };
        let (reference, found) = (clean(pair.reference, pair.found), clean(pair.found, pair.reference));
        let difference = energy(&reference, &found);
        let shape = pair.reference.shape.clone();
        let indices = shape.iter().map(|size| (0..*size).collect()).collect();
        Case { place, sizes, shape, indices, reference, found, tolerance: pair.tolerance.rule.base(), difference }
    }

    /// Of each axis only what is touched.
    fn part(self, touched: &[Touched]) -> Case {
        let is_whole = touched.iter().all(Touched::is_all);
        if is_whole || touched.len() != self.shape.len() || touched.iter().any(|axis| axis.indices.is_empty()) {
            return self;
        }
        let shape: Vec<usize> = touched.iter().map(|axis| axis.indices.len()).collect();
        let strides: Vec<usize> = (0..shape.len()).map(|axis| self.shape[axis + 1..].iter().product()).collect();
        let pick = |values: &[f64]| -> Vec<f64> {
            let place = |at| -> usize {
                let index = index_of(&shape, at).into_iter().zip(touched).zip(&strides);
                index.map(|((index, axis), stride)| axis.indices[index] * stride).sum()
            };
            (0..shape.iter().product()).map(|at| values[place(at)]).collect()
        };
        let (reference, found) = (pick(&self.reference), pick(&self.found));
        let difference = energy(&reference, &found);
        let indices = touched.iter().map(|axis| axis.indices.clone()).collect();
        Case { shape, indices, reference, found, difference, ..self }
    }

    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// Whether a prediction leaves next to nothing of the difference.
    fn explains(&self, predicted: impl Iterator<Item = f64>) -> bool {
        let left: f64 = predicted.zip(&self.found).map(|(predicted, found)| (found - predicted).powi(2)).sum();
        let noise = self.found.len() as f64 * (self.tolerance * 0.1).powi(2);
        self.difference > 0.0 && left <= (LEFT * self.difference).max(noise.min(0.1 * self.difference))
    }

    fn energy_and_angle(&self) -> (f64, f64) {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (r, f) = (dot(&self.reference, &self.reference), dot(&self.found, &self.found));
        let angle = if r > 0.0 && f > 0.0 { dot(&self.reference, &self.found) / (r * f).sqrt() } else { 0.0 };
        (if r > 0.0 { (f / r).sqrt() } else { f64::INFINITY }, angle)
    }

    /// Another station of the reference, which found is instead of its own.
    fn other_tensor(&self, reference: &Capture) -> Option<String> {
        for (other, tensor) in by_place(reference) {
            // `cp02.k` is `cp03.step0.k` where the cache is right: a twin explains nothing.
            if other == self.place || tensor.shape != self.shape || tensor.to_f64() == self.reference {
                continue;
            }
            if self.explains(tensor.to_f64().iter().map(|value| if value.is_finite() { *value } else { 0.0 })) {
                return Some(format!("found is the reference's {other}"));
            }
        }
        None
    }

    /// One number for the whole tensor, times or plus.
    fn scaled(&self) -> Option<(Kind, String)> {
        let (r, f) = (&self.reference, &self.found);
        let energy: f64 = r.iter().map(|r| r * r).sum();
        let ratio = if energy > 0.0 { r.iter().zip(f).map(|(r, f)| r * f).sum::<f64>() / energy } else { 0.0 };
        if energy > 0.0 && self.explains(r.iter().map(|r| r * ratio)) {
            let is_sign = (ratio + 1.0).abs() < 1e-3;
            let kind = if is_sign { Kind::Sign } else { Kind::Ratio };
            let told = if is_sign {
                "found = −reference".to_owned()
            } else {
                format!("found = {} × reference", self.named(ratio))
            };
            return Some((kind, told));
        }
        let visible = r.iter().zip(f).filter(|(r, f)| **r != 0.0 || **f != 0.0).count().max(1);
        let offset = r.iter().zip(f).map(|(r, f)| f - r).sum::<f64>() / visible as f64;
        let shifted = r.iter().zip(f).map(|(r, f)| if *r != 0.0 || *f != 0.0 { r + offset } else { 0.0 });
        self.explains(shifted)
            .then(|| (Kind::Offset, format!("found = reference {} {:.6}", sign(offset), offset.abs())))
    }

    /// A factor with its likely meaning, from the model's sizes.
    fn named(&self, ratio: f64) -> String {
        let c = self.sizes.n_embd as f64;
        let d = c / (self.sizes.n_head.max(1)) as f64;
        let names = [
            (d.sqrt(), "√D"),
            (1.0 / d.sqrt(), "1 / √D"),
            (d, "D"),
            (1.0 / d, "1 / D"),
            (c.sqrt(), "√C"),
            (1.0 / c.sqrt(), "1 / √C"),
            (((c - 1.0) / c).sqrt(), "√((C − 1) / C), as if a variance were divided by C − 1"),
            (2.0, "2"),
            (0.5, "½"),
        ];
        let near = |(value, _): &&(f64, &str)| (ratio / value - 1.0).abs() < 2e-4;
        let is_plain = (ratio - ratio.round()).abs() < 1e-6;
        let written = if is_plain { format!("{ratio:.0}") } else { format!("{ratio:.6}") };
        match names.iter().filter(|_| c > 1.0).find(near) {
            Some((_, name)) if *name != written => format!("{written} (= {name})"),
            _ => written,
        }
    }

    /// The same in each row, or a number for each row.
    fn by_row(&self) -> Option<(Kind, String)> {
        let width = self.width();
        let rows = self.reference.len() / width;
        if self.reference.is_empty() {
            return None;
        }
        let (r, f) = (&self.reference, &self.found);
        let axis = axis_names(self.place, self.shape.len()).last().copied().unwrap_or("column");
        if rows >= 2 {
            let column = |test: &dyn Fn(usize) -> f64| (0..width).map(test).collect::<Vec<f64>>();
            let mean = column(&|c| (0..rows).map(|t| f[t * width + c] - r[t * width + c]).sum::<f64>() / rows as f64);
            if self.explains(r.iter().enumerate().map(|(at, r)| r + mean[at % width])) {
                let told = format!("found is off by the same number in every row of a {axis}: as by a bias");
                return Some((Kind::OffsetByChannel, told));
            }
            let slope = column(&|c| {
                let rows = (0..rows).map(|t| (r[t * width + c], f[t * width + c]));
                let (dot, energy) = rows.fold((0.0, 0.0), |(dot, energy), (r, f)| (dot + r * f, energy + r * r));
                if energy > 0.0 { dot / energy } else { 0.0 }
            });
            if self.explains(r.iter().enumerate().map(|(at, r)| r * slope[at % width])) {
                let told = format!("found is off by the same factor in every row of a {axis}: as by a scale");
                return Some((Kind::RatioByChannel, told));
            }
        }
        if width < 4 {
            return None;
        }
        let lines: Vec<(f64, f64, f64)> = r.chunks(width).zip(f.chunks(width)).map(|(r, f)| lines(r, f)).collect();
        let list = |values: &dyn Fn(&(f64, f64, f64)) -> f64| {
            let shown: Vec<String> = lines.iter().take(4).map(|line| format!("{:.6}", values(line))).collect();
            if lines.len() > 4 { format!("{}, …", shown.join(", ")) } else { shown.join(", ") }
        };
        if rows >= 2 && self.explains(r.iter().enumerate().map(|(at, r)| r * lines[at / width].0)) {
            return Some((Kind::RatioByRow, format!("each row has a factor of its own: {}", list(&|line| line.0))));
        }
        let affine = r.iter().enumerate().map(|(at, r)| r * lines[at / width].1 + lines[at / width].2);
        if self.explains(affine) {
            let told = format!(
                "each row is scaled and shifted as a whole: factors {}; shifts {}",
                list(&|line| line.1),
                list(&|line| line.2)
            );
            return Some((Kind::AffineByRow, told));
        }
        None
    }

    /// The slices of one axis in another order, or the axes themselves.
    fn permuted(&self) -> Option<(Kind, String)> {
        let names = axis_names(self.place, self.shape.len());
        for (axis, name) in names.iter().enumerate() {
            if let Some(order) = self.order_along(axis) {
                let told = order.iter().take(8).map(usize::to_string).collect::<Vec<_>>().join(", ");
                let more = if order.len() > 8 { ", …" } else { "" };
                let own = self.indices[axis].iter().take(8).map(usize::to_string).collect::<Vec<_>>().join(", ");
                let told = format!("{name}s {own}{more} of found are the reference's {told}{more}");
                return Some((Kind::Permutation, told));
            }
        }
        if self.shape.len() >= 2 {
            for (a, b) in (0..self.shape.len()).flat_map(|a| (a + 1..self.shape.len()).map(move |b| (a, b))) {
                // Only where the shape hides it, or where the numbers were read in another order than written.
                let swapped = transpose(&self.reference, &self.shape, a, b);
                if self.explains(swapped.iter().copied()) {
                    let told = format!("found has the axes {} and {} swapped", names[a], names[b]);
                    return Some((Kind::Transposition, told));
                }
            }
        }
        let sorted = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            values
        };
        let close = |(a, b): (f64, f64)| (a - b).abs() <= self.tolerance * a.abs().max(1.0);
        let rearranged = sorted(&self.reference).into_iter().zip(sorted(&self.found)).all(close);
        let told = "found has the reference's numbers in another arrangement".to_owned();
        rearranged.then_some((Kind::Rearranged, told))
    }

    /// For each slice of found along an axis, the slice of the reference that it is. None if one is none, or all in order.
    fn order_along(&self, axis: usize) -> Option<Vec<usize>> {
        let size = self.shape[axis];
        if !(2..=4096).contains(&size) {
            return None;
        }
        let mut slices = vec![(Vec::new(), Vec::new()); size];
        for at in 0..self.reference.len() {
            let (reference, found) = &mut slices[index_of(&self.shape, at)[axis]];
            reference.push(self.reference[at]);
            found.push(self.found[at]);
        }
        let close = |a: f64, b: f64| (a - b).abs() <= self.tolerance.max(1e-6) * a.abs().max(1.0);
        // A slice is told from others by its first numbers: hardly any pair is compared to its end.
        let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| close(*a, *b));
        let order: Option<Vec<usize>> =
            slices.iter().map(|(_, found)| slices.iter().position(|(reference, _)| same(reference, found))).collect();
        let order = order.filter(|order| order.iter().enumerate().any(|(at, from)| at != *from))?;
        Some(order.into_iter().map(|slice| self.indices[axis][slice]).collect())
    }

    /// Found has the reference's axes in another order.
    fn transposed_axes(&self, found: &[usize]) -> Option<String> {
        let names = axis_names(self.place, self.shape.len());
        for (a, b) in (0..self.shape.len()).flat_map(|a| (a + 1..self.shape.len()).map(move |b| (a, b))) {
            let mut swapped = self.shape.clone();
            swapped.swap(a, b);
            if swapped == found {
                let values = transpose(&self.reference, &self.shape, a, b);
                let same =
                    values.iter().zip(&self.found).all(|(a, b)| (a - b).abs() <= self.tolerance * a.abs().max(1.0));
                let what = if same { "and nothing else is wrong" } else { "and the values are others too" };
                return Some(format!("the axes {} and {} are swapped, {what}", names[a], names[b]));
            }
        }
        None
    }

    /// Which entries are masked on one side only.
    fn mask(&self, pair: Pair<'_>) -> Option<String> {
        let (reference, found) = (pair.reference.to_f64(), pair.found.to_f64());
        let differ: Vec<usize> =
            (0..reference.len()).filter(|at| is_masked(reference[*at]) != is_masked(found[*at])).collect();
        let visible = differ.iter().filter(|at| is_masked(reference[**at])).count();
        let first = *differ.first()?;
        let index = index_of(&self.shape, first);
        let names = axis_names(self.place, self.shape.len());
        let place = names.iter().zip(&index).map(|(name, at)| format!("{name} {at}")).collect::<Vec<_>>().join(", ");
        let what = match (visible, differ.len() - visible) {
            (visible, 0) => format!("{visible} entries are visible that must be masked"),
            (0, hidden) => format!("{hidden} entries are masked that must be visible"),
            (visible, hidden) => {
                format!("{visible} entries are visible that must be masked, and {hidden} the other way round")
            }
        };
        let value = found[first];
        Some(format!("{what}, the first at {place} (found {value}); an entry counts as masked at −∞ or below −1e30"))
    }

    /// The error of each position is larger than that of the one before, and much larger in the end.
    fn growth(&self) -> Option<String> {
        let axis = axis_names(self.place, self.shape.len()).iter().position(|name| *name == "position")?;
        let size = self.shape[axis];
        if size < 4 {
            return None;
        }
        let mut largest = vec![0.0_f64; size];
        for (at, (r, f)) in self.reference.iter().zip(&self.found).enumerate() {
            let position = index_of(&self.shape, at)[axis];
            largest[position] = largest[position].max((f - r).abs());
        }
        let rising = largest.windows(2).filter(|pair| pair[1] > pair[0]).count();
        let (first, last) = (largest[0], largest[size - 1]);
        let grows = rising * 10 >= (size - 1) * 8 && last > 4.0 * first && last > self.tolerance;
        grows.then(|| format!("the error grows with the position, from {first:.1e} at 0 to {last:.1e} at {}", size - 1))
    }
}

/// Of the difference.
fn energy(reference: &[f64], found: &[f64]) -> f64 {
    reference.iter().zip(found).map(|(r, f)| (f - r).powi(2)).sum()
}

fn sign(value: f64) -> &'static str {
    if value < 0.0 { "−" } else { "+" }
}

/// Of found against reference in one row: the factor through zero, and factor and shift of the best line.
fn lines(reference: &[f64], found: &[f64]) -> (f64, f64, f64) {
    let n = reference.len() as f64;
    let (mean_r, mean_f) = (reference.iter().sum::<f64>() / n, found.iter().sum::<f64>() / n);
    let (mut dot, mut energy, mut covariance, mut variance) = (0.0, 0.0, 0.0, 0.0);
    for (r, f) in reference.iter().zip(found) {
        dot += r * f;
        energy += r * r;
        covariance += (r - mean_r) * (f - mean_f);
        variance += (r - mean_r).powi(2);
    }
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let slope = ratio(covariance, variance);
    (ratio(dot, energy), slope, mean_f - slope * mean_r)
}

/// Two axes swapped; row-major in the new shape.
fn transpose(values: &[f64], shape: &[usize], a: usize, b: usize) -> Vec<f64> {
    let mut swapped = shape.to_vec();
    swapped.swap(a, b);
    let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
    (0..values.len())
        .map(|at| {
            let mut index = index_of(&swapped, at);
            index.swap(a, b);
            values[index.iter().zip(&strides).map(|(index, stride)| index * stride).sum::<usize>()]
        })
        .collect()
}
