//! Where in a tensor the difference is: the worst element with its neighbours, and which heads, positions and channels
//! are touched at all.

use std::fmt;

use serde::Serialize;

use super::super::Place;
use super::super::compare::{self, Pair, index_of, number};
use super::super::station::axes;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Location {
    /// Of the worst element, an index for each axis.
    pub index: Vec<Coordinate>,
    #[serde(serialize_with = "number")]
    pub expected: f64,
    #[serde(serialize_with = "number")]
    pub found: f64,
    /// Elements beyond the tolerance, and elements.
    pub beyond: usize,
    pub count: usize,
    /// For each axis, which of its indices have an element beyond the tolerance.
    pub touched: Vec<Touched>,
    pub window: Window,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coordinate {
    pub axis: &'static str,
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touched {
    pub axis: &'static str,
    pub size: usize,
    pub indices: Vec<usize>,
}

/// A stretch of the last axis around the worst element.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Window {
    pub axis: &'static str,
    /// The index of the first column.
    pub from: usize,
    pub at: usize,
    #[serde(serialize_with = "numbers")]
    pub reference: Vec<f64>,
    #[serde(serialize_with = "numbers")]
    pub found: Vec<f64>,
}

fn numbers<S: serde::Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    struct Told(f64);
    impl Serialize for Told {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            number(&self.0, serializer)
        }
    }
    serializer.collect_seq(values.iter().map(|value| Told(*value)))
}

/// Columns on each side of the worst element.
const NEIGHBOURS: usize = 3;

pub(super) fn locate(place: Place, pair: Pair<'_>) -> Option<Location> {
    let shape = &pair.reference.shape;
    let needs: Vec<f64> = compare::needs(pair).collect();
    let allowed = pair.tolerance.rule.base();
    let worst = (0..needs.len()).reduce(|worst, at| if needs[at] > needs[worst] { at } else { worst })?;
    let names = axis_names(place, shape.len());

    let mut hit: Vec<Vec<bool>> = shape.iter().map(|size| vec![false; *size]).collect();
    let mut beyond = 0;
    for at in (0..needs.len()).filter(|at| needs[*at] > allowed) {
        beyond += 1;
        for (hit, index) in hit.iter_mut().zip(index_of(shape, at)) {
            hit[index] = true;
        }
    }
    let touched = names.iter().zip(&hit).map(|(axis, hit)| Touched {
        axis,
        size: hit.len(),
        indices: hit.iter().enumerate().filter(|(_, hit)| **hit).map(|(index, _)| index).collect(),
    });

    let index = index_of(shape, worst);
    let (last, size) = (index.last().copied().unwrap_or_default(), shape.last().copied().unwrap_or(1));
    let from = last.saturating_sub(NEIGHBOURS).min(size.saturating_sub(2 * NEIGHBOURS + 1));
    let to = (from + 2 * NEIGHBOURS + 1).min(size);
    let row = worst - last;
    let values = |tensor| (from..to).map(|at| compare::value(tensor, row + at).unwrap_or(f64::NAN)).collect();
    Some(Location {
        index: names.iter().zip(&index).map(|(axis, at)| Coordinate { axis, at: *at }).collect(),
        expected: compare::value(pair.reference, worst)?,
        found: compare::value(pair.found, worst)?,
        beyond,
        count: needs.len(),
        touched: touched.collect(),
        window: Window {
            axis: names.last().copied().unwrap_or("index"),
            from,
            at: last,
            reference: values(pair.reference),
            found: values(pair.found),
        },
    })
}

/// What the axes of a tensor are called; those that a station does not have are called by nothing better.
pub fn axis_names(place: Place, count: usize) -> Vec<&'static str> {
    let names = axes(place.station);
    if names.len() == count { names.to_vec() } else { vec!["index"; count] }
}

impl Touched {
    pub fn is_all(&self) -> bool {
        self.indices.len() == self.size
    }
}

/// `head 3 only`, `positions 2 to 5`, `heads 0, 2, 5`, `17 of 768 channels`
impl fmt::Display for Touched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Touched { axis, size, indices } = self;
        let plural = plural(axis);
        match indices.as_slice() {
            [] => write!(out, "no {axis}"),
            [_] if *size == 1 => write!(out, "the only {axis}"),
            [one] => write!(out, "{axis} {one} only"),
            all if all.len() == *size => write!(out, "all {size} {plural}"),
            [first, .., last] if last - first + 1 == indices.len() => {
                write!(out, "{plural} {first} to {last} of {size}")
            }
            few if few.len() <= 6 => {
                let few: Vec<String> = few.iter().map(usize::to_string).collect();
                write!(out, "{plural} {} of {size}", few.join(", "))
            }
            many => write!(out, "{} of {size} {plural}", many.len()),
        }
    }
}

fn plural(axis: &str) -> String {
    match axis {
        "index" => "indices".to_owned(),
        _ => format!("{axis}s"),
    }
}

impl Location {
    /// `head 3, position 1, attended position 0`
    pub fn told_index(&self) -> String {
        self.index.iter().map(|Coordinate { axis, at }| format!("{axis} {at}")).collect::<Vec<_>>().join(", ")
    }

    /// Which part of the tensor is touched: `head 3 only, positions 2 to 5`, or `everywhere`.
    pub fn told_extent(&self) -> String {
        let parts: Vec<String> =
            self.touched.iter().filter(|touched| !touched.is_all()).map(Touched::to_string).collect();
        match parts.is_empty() {
            true if self.beyond == self.count => "everywhere".to_owned(),
            true => {
                let axes: Vec<String> = self.touched.iter().map(|touched| plural(touched.axis)).collect();
                format!("in all {}", axes.join(" and "))
            }
            false => parts.join(", "),
        }
    }
}
