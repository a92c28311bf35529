//! Slices: what a golden keeps of a tensor that is too large to commit, next to digest and statistics of the whole.
//!
//! The tensor, row-major, is cut into parts of equal size, and each part keeps one run of elements side by side, at a
//! place that a hash decides, so that no period of the tensor (a row, a head) meets the period of the slices. The first
//! part keeps the tensor's first elements and the last part its last. `golden/capture_format.py` cuts by the same rule.

use serde::Deserialize;
use serde_json::Value;

use crate::parity::capture::summary::Statistics;
use crate::parity::capture::{Tensor, Values};

#[derive(Clone, Debug, PartialEq)]
pub struct Slices {
    /// Elements side by side.
    pub run: usize,
    pub of: Whole,
    /// Where each run begins in the whole.
    starts: Vec<usize>,
}

/// The tensor that was cut.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Whole {
    pub shape: Vec<usize>,
    pub sha256: String,
    pub count: usize,
    #[serde(deserialize_with = "number")]
    pub min: f64,
    #[serde(deserialize_with = "number")]
    pub max: f64,
    #[serde(deserialize_with = "number")]
    pub mean: f64,
    #[serde(deserialize_with = "number")]
    pub l2: f64,
    pub nan: usize,
    pub inf: usize,
}

/// A number, or what JSON has none for as a string.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let found = match &value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "nan" => Some(f64::NAN),
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| serde::de::Error::custom(format!("{value} is no number")))
}

/// How a statistic of the whole differs, in the measure of a single element, so that the element's tolerance is its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatisticDifference {
    /// `min`, `max`, `mean`, `l2`; `nan` and `inf`, which are counts and may not differ at all.
    pub statistic: &'static str,
    pub expected: f64,
    pub found: f64,
    /// What a tolerance is held against; infinite where counts differ.
    pub difference: f64,
}

impl Slices {
    /// `kept` elements, in runs, of a tensor.
    pub(super) fn new(kept: usize, run: usize, of: Whole) -> Result<Slices, String> {
        if of.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size)) != Some(of.count) {
            return Err(format!("are of shape {:?}, which has not {} elements", of.shape, of.count));
        }
        if run == 0 || kept == 0 || !kept.is_multiple_of(run) || kept >= of.count {
            return Err(format!("keep {kept} of {} elements in runs of {run}", of.count));
        }
        match starts(of.count, kept / run, run) {
            Some(starts) => Ok(Slices { run, of, starts }),
            None => Err(format!("keep runs of {run} in parts that are shorter: {kept} of {}", of.count)),
        }
    }

    /// `256 of 43776 elements, and statistics`
    pub fn coverage(&self) -> String {
        format!("{} of {} elements, and statistics", self.kept(), self.of.count)
    }

    pub fn kept(&self) -> usize {
        self.starts.len() * self.run
    }

    /// Where in the whole a kept element is.
    pub fn index(&self, kept: usize) -> Vec<usize> {
        let mut flat = self.starts.get(kept / self.run).map_or(0, |start| start + kept % self.run);
        let mut index = vec![0; self.of.shape.len()];
        for (place, size) in index.iter_mut().zip(&self.of.shape).rev() {
            (*place, flat) = (flat % size, flat / size);
        }
        index
    }

    /// What the golden keeps, of a tensor of the same shape.
    pub fn cut(&self, tensor: &Tensor) -> Tensor {
        let values = match &tensor.values {
            Values::F32(values) => Values::F32(self.pick(values)),
            Values::F64(values) => Values::F64(self.pick(values)),
            Values::I64(values) => Values::I64(self.pick(values)),
        };
        Tensor { shape: vec![self.kept()], values }
    }

    fn pick<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.starts.iter().flat_map(|start| &values[*start..start + self.run]).copied().collect()
    }

    /// The statistics of the whole golden against those of a whole tensor.
    pub fn statistics(&self, tensor: &Tensor) -> Vec<StatisticDifference> {
        let found = Statistics::of(tensor);
        let (expected, root) = (&self.of, (self.of.count as f64).sqrt());
        let one = |statistic, expected: f64, found: f64, scale: f64| {
            let same = expected == found || (expected.is_nan() && found.is_nan());
            // NaN on one side only is as far as can be.
            let difference = if same { 0.0 } else { (expected - found).abs() / scale };
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            StatisticDifference { statistic, expected, found, difference }
        };
        let count = |statistic, expected: usize, found: usize| {
            let (expected, found) = (expected as f64, found as f64);
            let difference = if expected == found { 0.0 } else { f64::INFINITY };
            StatisticDifference { statistic, expected, found, difference }
        };
        let relative = |value: f64| value.abs().max(1.0);
        vec![
            one("min", expected.min, found.min.as_f64(), relative(expected.min)),
            one("max", expected.max, found.max.as_f64(), relative(expected.max)),
            one("mean", expected.mean, found.mean.as_f64(), 1.0),
            // Where every element is off by t, the norm is off by at most t √count.
            one("l2", expected.l2, found.l2.as_f64(), root * (expected.l2 / root).max(1.0)),
            count("nan", expected.nan, found.nan),
            count("inf", expected.inf, found.inf),
        ]
    }
}

/// Where runs begin; none if a part is shorter than a run.
fn starts(count: usize, runs: usize, run: usize) -> Option<Vec<usize>> {
    let bound = |part: usize| (count as u128 * part as u128 / runs as u128) as usize;
    let mut starts = Vec::with_capacity(runs);
    for part in 0..runs {
        let (low, high) = (bound(part), bound(part + 1));
        let room = (high - low + 1).checked_sub(run).filter(|room| *room > 0)?;
        starts.push(low + (mix(part as u64) % room as u64) as usize);
    }
    *starts.first_mut()? = 0;
    *starts.last_mut()? = count - run;
    Some(starts)
}

/// The finalizer of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
