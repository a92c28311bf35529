//! What a difference looks like that no fault explains, with the model at hand: against the right numbers for the trace's own
//! inputs, so that nothing upstream blurs it.

use super::found::Found;
use super::measure::{apart, is_masked_station};
use crate::parity::Place;
use crate::parity::oracle::Tensor;

/// The part of a difference that a pattern may leave.
const LEFT: f64 = 0.02;

/// Every pattern that holds; never empty.
pub fn statistics(found: &Found<'_>, place: Place, shown: &Tensor, right: &Tensor) -> Vec<String> {
    if shown.shape != right.shape {
        return vec![shapes(shown, right)];
    }
    let case = Case::new(found, place, shown, right);
    let mut told = Vec::new();
    told.extend(not_numbers(shown, right));
    told.extend(case.other_tensor());
    if case.shown.iter().all(|x| *x == 0.0) {
        told.push("all zeros".to_owned());
    } else if told.is_empty() {
        let whole = case.ratio().or_else(|| case.offset()).or_else(|| case.by_column()).or_else(|| case.by_row());
        told.extend(whole.or_else(|| case.permuted()).or_else(|| case.transposed()).or_else(|| case.dropped()));
    }
    told.extend(case.rounded());
    told.extend(case.extent());
    told.extend(case.growth());
    if told.is_empty() {
        told.push(format!(
            "nothing simple: cosine {:.4} to the right numbers, {:.3} times their size",
            case.cosine(),
            case.size()
        ));
    }
    told
}

fn shapes(shown: &Tensor, right: &Tensor) -> String {
    let text = |tensor: &Tensor| tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let (a, b) = (text(shown), text(right));
    let turned = shown.shape.iter().rev().eq(&right.shape);
    if turned { format!("shape {a}, the axes of {b} the other way round") } else { format!("shape {a}, expected {b}") }
}

fn not_numbers(shown: &Tensor, right: &Tensor) -> Option<String> {
    let count = |test: fn(f64) -> bool| {
        shown.values.iter().zip(&right.values).filter(|(shown, right)| test(**shown) && !test(**right)).count()
    };
    let (nan, infinite) = (count(f64::is_nan), count(f64::is_infinite));
    (nan + infinite > 0).then(|| format!("{nan} NaN and {infinite} infinite numbers where the right ones are finite"))
}

struct Case<'a> {
    found: &'a Found<'a>,
    place: Place,
    shape: &'a [usize],
    /// Both with 0 where either is masked or no number.
    shown: Vec<f64>,
    right: Vec<f64>,
    /// Σ (shown − right)²
    energy: f64,
}

impl<'a> Case<'a> {
    fn new(found: &'a Found<'a>, place: Place, shown: &'a Tensor, right: &Tensor) -> Self {
        let visible =
            |(shown, right): (&f64, &f64)| shown.is_finite() && right.is_finite() && *shown > -1e30 && *right > -1e30;
        let keep = |pick: fn((f64, f64)) -> f64| {
            let pairs = shown.values.iter().zip(&right.values);
            pairs.map(|pair| if visible(pair) { pick((*pair.0, *pair.1)) } else { 0.0 }).collect::<Vec<f64>>()
        };
        let (clean, wanted) = (keep(|pair| pair.0), keep(|pair| pair.1));
        let energy = clean.iter().zip(&wanted).map(|(a, b)| (a - b).powi(2)).sum();
        Self { found, place, shape: &shown.shape, shown: clean, right: wanted, energy }
    }

    /// Whether a prediction of what was found leaves hardly anything of the difference.
    fn explains(&self, predicted: impl Iterator<Item = f64>) -> bool {
        let left: f64 = predicted.zip(&self.shown).map(|(predicted, shown)| (predicted - shown).powi(2)).sum();
        self.energy > 0.0 && left <= LEFT * LEFT * self.energy
    }

    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    fn cosine(&self) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(&self.shown, &self.right) / (dot(&self.shown, &self.shown) * dot(&self.right, &self.right)).sqrt()
    }

    fn size(&self) -> f64 {
        let norm = |a: &[f64]| a.iter().map(|x| x * x).sum::<f64>().sqrt();
        norm(&self.shown) / norm(&self.right)
    }

    /// Another tensor of the same trace: a step that did nothing, or that shows something else's.
    fn other_tensor(&self) -> Option<String> {
        let shown = self.found.tensors.get(&self.place)?;
        let masked = is_masked_station(self.place.station);
        let same = |(place, other): &(&Place, &std::rc::Rc<Tensor>)| {
            **place < self.place
                && other.shape == shown.shape
                && other.values.iter().zip(&shown.values).all(|(a, b)| apart(*a, *b, masked) <= 1e-9)
        };
        let (place, _) = self.found.tensors.iter().find(same)?;
        Some(format!("equal to {}: the step did nothing, or another tensor was shown", place.name()))
    }

    fn ratio(&self) -> Option<String> {
        let squares: f64 = self.right.iter().map(|x| x * x).sum();
        let ratio = self.right.iter().zip(&self.shown).map(|(right, shown)| right * shown).sum::<f64>() / squares;
        if !ratio.is_finite() || !self.explains(self.right.iter().map(|x| x * ratio)) {
            return None;
        }
        if (ratio + 1.0).abs() < 1e-3 {
            return Some("the sign is the other way round: found = −right".to_owned());
        }
        let configuration = self.found.model.configuration;
        let (c, d, h) =
            (configuration.n_embd() as f64, configuration.head_size() as f64, configuration.n_head() as f64);
        let l = configuration.n_layer() as f64;
        let names = [
            (2.0, "2: added twice, or a missing ½"),
            (0.5, "½"),
            (d.sqrt(), "√D"),
            (d.sqrt().recip(), "1 / √D"),
            (d, "D"),
            (d.recip(), "1 / D"),
            (c.sqrt(), "√C"),
            (c.sqrt().recip(), "1 / √C"),
            (c, "C"),
            (c.recip(), "1 / C"),
            (h.sqrt(), "√H"),
            (h, "H"),
            (h.recip(), "1 / H"),
            ((2.0 * l).sqrt().recip(), "1 / √(2L), the scale of an initialisation"),
            ((self.place.layer as f64 + 1.0).recip(), "1 / (layer + 1), scale_attn_by_inverse_layer_idx"),
            (std::f64::consts::LN_2, "ln 2: base 2 for e"),
            (std::f64::consts::LOG2_E, "1 / ln 2: base 2 for e"),
            (1.0 / 0.9, "1 / 0.9: a dropout of 0.1 that is on"),
        ];
        let name = names.iter().find(|(value, _)| (ratio / value - 1.0).abs() < 1e-3 && (ratio - 1.0).abs() > 1e-2);
        Some(match name {
            Some((_, name)) => format!("constant ratio {ratio:.6} = {name}"),
            None => format!("constant ratio {ratio:.6}"),
        })
    }

    fn offset(&self) -> Option<String> {
        let offset = self.shown.iter().zip(&self.right).map(|(a, b)| a - b).sum::<f64>() / self.shown.len() as f64;
        self.explains(self.right.iter().map(|x| x + offset)).then(|| format!("constant offset {offset:+.6}"))
    }

    /// The same difference, or the same factor, in every row: a vector of the model that is missing, or too much.
    fn by_column(&self) -> Option<String> {
        let width = self.shape.iter().skip(1).product::<usize>().max(1);
        let rows = self.shown.len() / width;
        if rows < 2 {
            return None;
        }
        let column = |c: usize| (0..rows).map(move |t| (self.shown[t * width + c], self.right[t * width + c]));
        let mean: Vec<f64> =
            (0..width).map(|c| column(c).map(|(shown, right)| shown - right).sum::<f64>() / rows as f64).collect();
        if self.explains(self.right.iter().enumerate().map(|(at, x)| x + mean[at % width])) {
            return Some(match self.vector(&mean) {
                Some(vector) => format!("the same vector added in every row: {vector}"),
                None => "the same vector added in every row: a bias that is not the model's".to_owned(),
            });
        }
        let slope = |c: usize| {
            let (dot, squares) =
                column(c).fold((0.0, 0.0), |(d, s), (shown, right)| (d + shown * right, s + right * right));
            if squares > 0.0 { dot / squares } else { 0.0 }
        };
        let slopes: Vec<f64> = (0..width).map(slope).collect();
        let predicted = self.right.iter().enumerate().map(|(at, x)| x * slopes[at % width]);
        self.explains(predicted).then(|| "a factor for each channel: a scale that is not the model's".to_owned())
    }

    /// Which vector of the model this is, or the part of it that is as long.
    fn vector(&self, of: &[f64]) -> Option<String> {
        let norm = of.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (name, weight) in self.found.model.weights.iter().filter(|(_, weight)| weight.shape().len() == 1) {
            for (part, values) in weight.values().chunks_exact(of.len()).enumerate() {
                for (factor, word) in [(-1.0, "−"), (1.0, "+"), (-2.0, "−2 ·"), (2.0, "+2 ·")] {
                    let far = |(x, w): (&f64, &f32)| (x - factor * f64::from(*w)).powi(2);
                    if of.iter().zip(values).map(far).sum::<f64>().sqrt() < 1e-2 * norm {
                        let part = if values.len() == weight.values().len() {
                            String::new()
                        } else {
                            format!(", part {part}")
                        };
                        return Some(format!("{word} {name}{part}"));
                    }
                }
            }
        }
        None
    }

    /// A factor or an offset for each row.
    fn by_row(&self) -> Option<String> {
        let width = self.width();
        if self.shown.len() / width < 2 || width < 3 {
            return None;
        }
        let rows = || self.right.chunks_exact(width).zip(self.shown.chunks_exact(width));
        let ratio = |(right, shown): (&[f64], &[f64])| {
            let squares: f64 = right.iter().map(|x| x * x).sum();
            if squares > 0.0 { right.iter().zip(shown).map(|(a, b)| a * b).sum::<f64>() / squares } else { 0.0 }
        };
        let ratios: Vec<f64> = rows().map(ratio).collect();
        let shown = |values: &[f64]| {
            let text = values.iter().take(4).map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(", ");
            if values.len() > 4 { format!("{text}, …") } else { text }
        };
        if self.explains(self.right.iter().enumerate().map(|(at, x)| x * ratios[at / width])) {
            return Some(format!("a factor for each row: {}", shown(&ratios)));
        }
        let offset =
            |(right, found): (&[f64], &[f64])| found.iter().zip(right).map(|(a, b)| a - b).sum::<f64>() / width as f64;
        let offsets: Vec<f64> = rows().map(offset).collect();
        let predicted = self.right.iter().enumerate().map(|(at, x)| x + offsets[at / width]);
        self.explains(predicted).then(|| format!("an offset for each row: {}", shown(&offsets)))
    }

    /// The slices of one axis in another order.
    fn permuted(&self) -> Option<String> {
        (0..self.shape.len()).find_map(|axis| {
            let size = self.shape[axis];
            let inner: usize = self.shape[axis + 1..].iter().product();
            let outer = self.shown.len() / (size * inner).max(1);
            if !(2..=8192).contains(&size) {
                return None;
            }
            let slice = |values: &[f64], at: usize| -> Vec<f64> {
                (0..outer).flat_map(|o| values[(o * size + at) * inner..][..inner].to_vec()).collect()
            };
            // Sorted by their first number, slices that are equal stand side by side.
            let keys: Vec<Vec<f64>> = (0..size).map(|at| slice(&self.right, at)).collect();
            let mut sorted: Vec<usize> = (0..size).collect();
            sorted.sort_by(|a, b| keys[*a][0].total_cmp(&keys[*b][0]));
            let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| apart(*a, *b, true) < 1e-4);
            let find = |at: usize| {
                let wanted = slice(&self.shown, at);
                let first = sorted.partition_point(|from| keys[*from][0] < wanted[0] - 1e-4 * wanted[0].abs().max(1.0));
                let near = sorted[first..].iter().take_while(|from| apart(wanted[0], keys[**from][0], true) < 1e-4);
                near.copied().find(|from| close(&wanted, &keys[*from]))
            };
            let order: Vec<usize> = (0..size).map(find).collect::<Option<_>>()?;
            let moved = order.iter().enumerate().filter(|(at, from)| at != *from).count();
            if moved == 0 {
                return None;
            }
            let text = order.iter().take(8).map(usize::to_string).collect::<Vec<_>>().join(", ");
            let more = if order.len() > 8 { ", …" } else { "" };
            Some(format!("the {}s are in another order: {text}{more}", self.axis(axis)))
        })
    }

    fn axis(&self, axis: usize) -> &'static str {
        crate::parity::station::axes(self.place.station).get(axis).copied().unwrap_or("index")
    }

    /// The axes in another order under the same shape: written one way, read the other.
    fn transposed(&self) -> Option<String> {
        for a in 0..self.shape.len() {
            for b in a + 1..self.shape.len() {
                let mut swapped = self.shape.to_vec();
                swapped.swap(a, b);
                // Where each number of the swapped tensor, in its own order, comes from.
                let strides: Vec<usize> = (0..self.shape.len()).map(|i| self.shape[i + 1..].iter().product()).collect();
                let from = |flat: usize| {
                    let (mut rest, mut at) = (flat, 0);
                    for axis in (0..swapped.len()).rev() {
                        let own = if axis == a {
                            b
                        } else if axis == b {
                            a
                        } else {
                            axis
                        };
                        at += rest % swapped[axis] * strides[own];
                        rest /= swapped[axis];
                    }
                    at
                };
                if self.explains((0..self.right.len()).map(|flat| self.right[from(flat)])) {
                    return Some(format!("{} and {} transposed under the same shape", self.axis(a), self.axis(b)));
                }
            }
        }
        None
    }

    /// Some numbers 0 and the others too large by one factor.
    fn dropped(&self) -> Option<String> {
        let zeros =
            self.shown.iter().zip(&self.right).filter(|(shown, right)| **shown == 0.0 && **right != 0.0).count();
        let part = zeros as f64 / self.shown.len() as f64;
        if !(0.01..0.9).contains(&part) {
            return None;
        }
        let kept = || self.shown.iter().zip(&self.right).filter(|(shown, _)| **shown != 0.0);
        let ratio = kept().map(|(a, b)| a * b).sum::<f64>() / kept().map(|(_, b)| b * b).sum::<f64>();
        let predicted =
            self.right.iter().zip(&self.shown).map(|(right, shown)| if *shown == 0.0 { 0.0 } else { right * ratio });
        self.explains(predicted).then(|| {
            format!(
                "{:.0} % of the numbers are 0 and the others {ratio:.4} times too large: a dropout that is on",
                part * 100.0
            )
        })
    }

    /// Numbers that a narrower type has made.
    fn rounded(&self) -> Option<String> {
        let some = self.shown.iter().filter(|x| **x != 0.0).count();
        if some < 8 {
            return None;
        }
        let is_bf16 = |x: &f64| (*x as f32).to_bits() & 0xffff == 0 && f64::from(*x as f32) == *x;
        let is_f16 = |x: &f64| f64::from(half::f16::from_f64(*x)) == *x;
        if self.shown.iter().all(is_bf16) {
            Some("every number is one of bf16: computed or stored in it".to_owned())
        } else if self.shown.iter().all(is_f16) {
            Some("every number is one of f16: computed or stored in it".to_owned())
        } else {
            None
        }
    }

    /// Whether only some heads, positions or channels differ.
    fn extent(&self) -> Vec<String> {
        let largest = self.shown.iter().zip(&self.right).map(|(a, b)| apart(*a, *b, true)).fold(0.0, f64::max);
        (0..self.shape.len())
            .filter_map(|axis| {
                let size = self.shape[axis];
                let inner: usize = self.shape[axis + 1..].iter().product();
                let mut touched = vec![false; size];
                for (at, (a, b)) in self.shown.iter().zip(&self.right).enumerate() {
                    touched[at / inner % size] |= apart(*a, *b, true) > 1e-3 * largest;
                }
                let which: Vec<usize> = (0..size).filter(|at| touched[*at]).collect();
                let name = self.axis(axis);
                match which.as_slice() {
                    _ if size < 2 || which.len() == size => None,
                    [] => None,
                    [one] => Some(format!("only {name} {one}")),
                    [first, .., last] if which.len() == last - first + 1 && *last + 1 == size => {
                        Some(format!("only from {name} {first} on"))
                    }
                    [first, .., last] if which.len() == last - first + 1 => {
                        Some(format!("only {name}s {first} to {last}"))
                    }
                    _ if which.len() * 4 <= size => Some(format!("only {} of {size} {name}s", which.len())),
                    _ => None,
                }
            })
            .collect()
    }

    /// Whether the difference grows from position to position.
    fn growth(&self) -> Option<String> {
        let axis = crate::parity::station::axes(self.place.station).iter().position(|name| *name == "position")?;
        let size = *self.shape.get(axis)?;
        let inner: usize = self.shape[axis + 1..].iter().product();
        let mut by_position = vec![0.0; size];
        for (at, (a, b)) in self.shown.iter().zip(&self.right).enumerate() {
            by_position[at / inner % size] += (a - b).powi(2);
        }
        let grows = size >= 4 && by_position.windows(2).all(|pair| pair[1] > pair[0]);
        let first = by_position.iter().copied().find(|x| *x > 0.0)?;
        let factor = (by_position.last()? / first).sqrt();
        (grows && factor > 2.0)
            .then(|| format!("growing with the position, {factor:.1} times from the first to the last"))
    }
}
