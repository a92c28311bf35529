//! One pass over two tensors.
//!
//! A chunk fits the first cache. The quick look at it (one copy for each instruction set) adds up sums in f64, and sees
//! whether the chunk holds a new extreme without dividing once: `|d| > best · |r|`. Only such a chunk, or one with
//! something that is not a number in it, is looked at again, number by number.

use std::ops::Range;

use super::super::capture::Values;
use super::super::tolerance::Rule;
use super::{Pair, Worst, is_masked, need};
use crate::tensor::Instructions;
use crate::tensor::lanes::{Lanes, for_each_instruction_set};

/// Small, since an extreme costs a second look at its chunk.
pub(super) const CHUNK: usize = 512;
const WIDE: usize = 8;

/// What one pass finds; two of them add up.
#[derive(Clone, Debug, Default)]
pub(super) struct Sweep {
    pub difference: f64,
    pub difference_squared: f64,
    pub reference_squared: f64,
    /// Reference times difference.
    pub product: f64,
    pub max_abs: Worst,
    pub max_rel: Worst,
    pub needed: Worst,
    pub beyond: usize,
    pub not_finite: usize,
    pub mask_differs: usize,
}

impl Sweep {
    /// Of a later part of the same tensors.
    pub fn add(&mut self, later: &Sweep) {
        self.difference += later.difference;
        self.difference_squared += later.difference_squared;
        self.reference_squared += later.reference_squared;
        self.product += later.product;
        self.max_abs.raise(later.max_abs);
        self.max_rel.raise(later.max_rel);
        self.needed.raise(later.needed);
        self.beyond += later.beyond;
        self.not_finite += later.not_finite;
        self.mask_differs += later.mask_differs;
    }

    /// Found is reference plus difference, so f · r = r² + r · d and f² = r² + 2 r · d + d².
    pub fn cosine(&self) -> f64 {
        let dot = self.reference_squared + self.product;
        let found_squared = self.reference_squared + 2.0 * self.product + self.difference_squared;
        match (self.reference_squared > 0.0, found_squared > 0.0) {
            (true, true) => (dot / (self.reference_squared * found_squared).sqrt()).clamp(-1.0, 1.0),
            (false, false) => 1.0,
            _ => 0.0,
        }
    }
}

impl Worst {
    #[inline(always)]
    fn raise(&mut self, other: Worst) {
        if other.value > self.value {
            *self = other;
        }
    }
}

/// The pass over a range of two tensors of the same shape.
pub(super) fn sweep(pair: Pair<'_>, range: Range<usize>) -> Sweep {
    let mut sweep = Sweep::default();
    let instructions = Instructions::detect();
    let (mut reference_copy, mut found_copy) = (vec![0.0; CHUNK], vec![0.0; CHUNK]);
    for start in range.clone().step_by(CHUNK) {
        let part = start..(start + CHUNK).min(range.end);
        let quick = match (&pair.reference.values, &pair.found.values, pair.tolerance.rule) {
            (Values::F32(reference), Values::F32(found), Rule::Within(tolerance)) if !pair.masked => {
                let limits = sweep.limits(tolerance);
                Some(look_f32(instructions, &reference[part.clone()], &found[part.clone()], limits))
            }
            _ => None,
        };
        if let Some(quick) = quick.filter(|quick| quick.is_clean()) {
            sweep.take(&quick);
            if quick.has_extreme(&sweep) {
                let (reference, found) = copies(pair, part, &mut reference_copy, &mut found_copy);
                sweep.extremes(reference, found, start, pair.tolerance.rule);
            }
            continue;
        }
        let (reference, found) = copies(pair, part, &mut reference_copy, &mut found_copy);
        if pair.masked {
            sweep.mask_differs += unmask(reference, found);
        }
        let quick = match pair.tolerance.rule {
            Rule::Within(tolerance) => look_f64(instructions, reference, found, sweep.limits(tolerance)),
            _ => Quick::UNKNOWN,
        };
        if quick.is_clean() {
            sweep.take(&quick);
            if quick.has_extreme(&sweep) {
                sweep.extremes(reference, found, start, pair.tolerance.rule);
            }
        } else {
            sweep.each(reference, found, start, pair.tolerance.rule);
        }
    }
    sweep
}

/// A part of both tensors as f64.
fn copies<'a>(
    pair: Pair<'_>,
    part: Range<usize>,
    reference_copy: &'a mut [f64],
    found_copy: &'a mut [f64],
) -> (&'a mut [f64], &'a mut [f64]) {
    let copy = |values: &Values, to: &mut [f64]| match values {
        Values::F32(from) => to.iter_mut().zip(&from[part.clone()]).for_each(|(to, from)| *to = f64::from(*from)),
        Values::F64(from) => to.copy_from_slice(&from[part.clone()]),
        Values::I64(from) => to.iter_mut().zip(&from[part.clone()]).for_each(|(to, from)| *to = *from as f64),
    };
    let (reference, found) = (&mut reference_copy[..part.len()], &mut found_copy[..part.len()]);
    copy(&pair.reference.values, reference);
    copy(&pair.found.values, found);
    (reference, found)
}

/// Entries masked on both sides become equal numbers, those masked on one side too, and are counted.
fn unmask(reference: &mut [f64], found: &mut [f64]) -> usize {
    let mut differ = 0;
    for (reference, found) in reference.iter_mut().zip(found) {
        match (is_masked(*reference), is_masked(*found)) {
            (false, false) => continue,
            (true, true) => {}
            // A NaN is one, whether it should be masked or not.
            _ if found.is_nan() => continue,
            _ => differ += 1,
        }
        (*reference, *found) = (0.0, 0.0);
    }
    differ
}

/// What the quick look compares with.
#[derive(Clone, Copy)]
struct Limits {
    tolerance: f64,
    /// The largest so far.
    relative: f64,
    needed: f64,
}

/// What the quick look at one chunk finds.
#[derive(Clone, Copy)]
struct Quick {
    difference: f64,
    difference_squared: f64,
    reference_squared: f64,
    product: f64,
    max_abs: f64,
    /// Above 0 where some element has a larger relative difference than all before.
    relative_excess: f64,
    needed_excess: f64,
    beyond: f64,
}

impl Quick {
    const UNKNOWN: Quick = Quick {
        difference: f64::NAN,
        difference_squared: f64::NAN,
        reference_squared: f64::NAN,
        product: 0.0,
        max_abs: 0.0,
        relative_excess: 0.0,
        needed_excess: 0.0,
        beyond: 0.0,
    };

    /// Every number was one: any NaN or infinity stays in the sums.
    fn is_clean(&self) -> bool {
        self.difference_squared.is_finite() && self.reference_squared.is_finite() && self.product.is_finite()
    }

    fn has_extreme(&self, sweep: &Sweep) -> bool {
        self.max_abs > sweep.max_abs.value || self.relative_excess > 0.0 || self.needed_excess > 0.0
    }
}

/// An element of the quick look. Always inlined: what is called here must be compiled with the look's instructions.
trait Element: Copy + Default {
    fn wide(self) -> f64;
}

impl Element for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Element for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// Eight of everything at a time, which every instruction set has registers for; no closure, which would be compiled
/// without them.
#[inline(always)]
fn look<L: Lanes, T: Element>(_: L, reference: &[T], found: &[T], limits: Limits) -> Quick {
    let mut difference = [0.0_f64; WIDE];
    let mut difference_squared = [0.0_f64; WIDE];
    let mut reference_squared = [0.0_f64; WIDE];
    let mut product = [0.0_f64; WIDE];
    let mut max_abs = [0.0_f64; WIDE];
    let mut relative_excess = [0.0_f64; WIDE];
    let mut needed_excess = [0.0_f64; WIDE];
    let mut beyond = [0.0_f64; WIDE];
    let (references, reference_rest) = reference.as_chunks::<WIDE>();
    let (founds, found_rest) = found.as_chunks::<WIDE>();
    // Zeros at the end change nothing.
    let (mut last_reference, mut last_found) = ([T::default(); WIDE], [T::default(); WIDE]);
    last_reference[..reference_rest.len()].copy_from_slice(reference_rest);
    last_found[..found_rest.len()].copy_from_slice(found_rest);
    let whole = references.len();
    for chunk in 0..=whole {
        let (reference, found) =
            if chunk < whole { (&references[chunk], &founds[chunk]) } else { (&last_reference, &last_found) };
        for i in 0..WIDE {
            let r = reference[i].wide();
            let d = found[i].wide() - r;
            let (r_abs, d_abs) = (r.abs(), d.abs());
            difference[i] += d;
            difference_squared[i] += d * d;
            reference_squared[i] += r * r;
            product[i] += r * d;
            let scale = if r_abs > 1.0 { r_abs } else { 1.0 };
            let relative = if r_abs > 0.0 { d_abs - limits.relative * r_abs } else { 0.0 };
            let needed = d_abs - limits.needed * scale;
            max_abs[i] = if d_abs > max_abs[i] { d_abs } else { max_abs[i] };
            relative_excess[i] = if relative > relative_excess[i] { relative } else { relative_excess[i] };
            needed_excess[i] = if needed > needed_excess[i] { needed } else { needed_excess[i] };
            beyond[i] += if d_abs > limits.tolerance * scale { 1.0 } else { 0.0 };
        }
    }
    Quick {
        difference: difference.iter().sum(),
        difference_squared: difference_squared.iter().sum(),
        reference_squared: reference_squared.iter().sum(),
        product: product.iter().sum(),
        max_abs: max_abs.into_iter().fold(0.0, f64::max),
        relative_excess: relative_excess.into_iter().fold(0.0, f64::max),
        needed_excess: needed_excess.into_iter().fold(0.0, f64::max),
        beyond: beyond.iter().sum(),
    }
}

#[inline(always)]
fn look_f32_with<L: Lanes>(lanes: L, reference: &[f32], found: &[f32], limits: Limits) -> Quick {
    look(lanes, reference, found, limits)
}

#[inline(always)]
fn look_f64_with<L: Lanes>(lanes: L, reference: &[f64], found: &[f64], limits: Limits) -> Quick {
    look(lanes, reference, found, limits)
}

for_each_instruction_set! {
    fn look_f32(reference: &[f32], found: &[f32], limits: Limits) -> Quick = look_f32_with
}

for_each_instruction_set! {
    fn look_f64(reference: &[f64], found: &[f64], limits: Limits) -> Quick = look_f64_with
}

impl Sweep {
    fn limits(&self, tolerance: f64) -> Limits {
        Limits { tolerance, relative: self.max_rel.value, needed: self.needed.value }
    }

    fn take(&mut self, quick: &Quick) {
        self.difference += quick.difference;
        self.difference_squared += quick.difference_squared;
        self.reference_squared += quick.reference_squared;
        self.product += quick.product;
        self.beyond += quick.beyond as usize;
    }

    /// Where in a chunk the new extremes are.
    fn extremes(&mut self, reference: &[f64], found: &[f64], start: usize, rule: Rule) {
        for (at, (r, f)) in reference.iter().zip(found.iter()).enumerate() {
            self.extreme(*r, f - r, start + at, rule);
        }
    }

    #[inline(always)]
    fn extreme(&mut self, reference: f64, difference: f64, at: usize, rule: Rule) {
        self.max_abs.raise(Worst { value: difference.abs(), at });
        self.needed.raise(Worst { value: need(rule, reference, difference), at });
        if reference != 0.0 {
            self.max_rel.raise(Worst { value: (difference / reference).abs(), at });
        }
    }

    /// Everything, number by number.
    fn each(&mut self, reference: &[f64], found: &[f64], start: usize, rule: Rule) {
        for (at, (r, f)) in reference.iter().zip(found.iter()).enumerate() {
            let at = start + at;
            if r.is_finite() && f.is_finite() {
                let d = f - r;
                self.difference += d;
                self.difference_squared += d * d;
                self.reference_squared += r * r;
                self.product += r * d;
                self.extreme(*r, d, at, rule);
                // Bit for bit: 0 and −0 are two numbers.
                let beyond = match rule {
                    Rule::Exact => r.to_bits() != f.to_bits(),
                    _ => need(rule, *r, d) > rule.base(),
                };
                self.beyond += usize::from(beyond);
            } else if !(r.is_nan() && f.is_nan() || r == f) {
                // A number against something that is none: as far apart as can be.
                if r.is_finite() {
                    self.not_finite += 1;
                } else {
                    self.beyond += 1;
                }
                self.max_abs.raise(Worst { value: f64::INFINITY, at });
                self.needed.raise(Worst { value: f64::INFINITY, at });
            }
        }
    }
}
