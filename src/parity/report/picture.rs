//! A tensor's error made small enough for a picture: a map of position × channel, a histogram, points of found against
//! reference. Computed while both captures are at hand; the page keeps only this.

use super::super::Place;
use super::super::compare::{self, Pair, index_of};
use super::super::diff::location::axis_names;

/// What the pictures of one station need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StationPicture {
    pub map: Map,
    pub histogram: Histogram,
    /// Reference and found; the worst element is the last.
    pub points: Vec<(f64, f64)>,
}

/// Levels of error by position and channel; each cell is the worst of the elements it stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    pub rows: usize,
    pub columns: usize,
    pub levels: Vec<u8>,
    /// What is along each side, and how many of it there are.
    pub down: (String, usize),
    pub across: (String, usize),
}

/// How many elements differ by how much, in half decades; the first bin holds those that are equal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub counts: Vec<usize>,
    /// The bin in which the tolerance is, as a fraction of the width.
    pub tolerance_at: Option<f64>,
}

const ROWS: usize = 24;
const COLUMNS: usize = 64;
const POINTS: usize = 240;
/// Decades of the histogram: 1e-12 to 1e4.
const LOWEST: f64 = -12.0;
const BINS: usize = 32;

/// How an element stands to its tolerance: 0 equal, 1 to 4 inside it by decades, 5 to 7 beyond it by decades.
pub fn level(need: f64, tolerance: f64) -> u8 {
    if need == 0.0 {
        return 0;
    }
    let tolerance = if tolerance > 0.0 { tolerance } else { f64::MIN_POSITIVE };
    match need / tolerance {
        share if share <= 1e-3 => 1,
        share if share <= 1e-2 => 2,
        share if share <= 1e-1 => 3,
        share if share <= 1.0 => 4,
        share if share <= 10.0 => 5,
        share if share <= 100.0 => 6,
        _ => 7,
    }
}

pub fn picture(place: Place, pair: Pair<'_>) -> StationPicture {
    let needs: Vec<f64> = compare::needs(pair).collect();
    StationPicture { map: map(place, pair, &needs), histogram: histogram(pair, &needs), points: points(pair, &needs) }
}

/// Positions downwards; everything else across, heads side by side.
fn map(place: Place, pair: Pair<'_>, needs: &[f64]) -> Map {
    let shape = &pair.reference.shape;
    let names = axis_names(place, shape.len());
    let position = names.iter().position(|name| *name == "position");
    let high = position.map_or(1, |axis| shape[axis]);
    let wide = needs.len() / high.max(1);
    let (rows, columns) = (high.clamp(1, ROWS), wide.clamp(1, COLUMNS));
    let mut levels = vec![0; rows * columns];
    let tolerance = pair.tolerance.rule.base();
    for (at, need) in needs.iter().enumerate() {
        let index = index_of(shape, at);
        let (mut row, mut column) = (0, 0);
        for (axis, index) in index.iter().enumerate() {
            if Some(axis) == position {
                row = *index;
            } else {
                column = column * shape[axis] + index;
            }
        }
        let cell = &mut levels[row * rows / high.max(1) * columns + column * columns / wide.max(1)];
        *cell = (*cell).max(level(*need, tolerance));
    }
    let across: Vec<&str> = names.iter().filter(|name| **name != "position").copied().collect();
    Map {
        rows,
        columns,
        levels,
        down: ("position".to_owned(), high),
        across: (if across.is_empty() { "number".to_owned() } else { across.join(" × ") }, wide),
    }
}

fn histogram(pair: Pair<'_>, needs: &[f64]) -> Histogram {
    let mut counts = vec![0; BINS + 1];
    let bin = |value: f64| (((value.log10() - LOWEST) * 2.0).floor().clamp(0.0, BINS as f64 - 1.0)) as usize;
    for need in needs {
        counts[if *need <= 0.0 { 0 } else { 1 + bin(*need) }] += 1;
    }
    let tolerance = pair.tolerance.rule.base();
    let at = (tolerance > 0.0).then(|| (1.0 + (tolerance.log10() - LOWEST) * 2.0) / (BINS + 1) as f64);
    Histogram { counts, tolerance_at: at }
}

/// An even sample, and the worst.
fn points(pair: Pair<'_>, needs: &[f64]) -> Vec<(f64, f64)> {
    let stride = needs.len().div_ceil(POINTS).max(1);
    let worst = (0..needs.len()).reduce(|worst, at| if needs[at] > needs[worst] { at } else { worst });
    let point = |at| Some((compare::value(pair.reference, at)?, compare::value(pair.found, at)?));
    let sample = (0..needs.len()).step_by(stride).chain(worst).filter_map(point);
    sample.filter(|(r, f)| r.is_finite() && f.is_finite() && r.abs() < 1e30 && f.abs() < 1e30).collect()
}
