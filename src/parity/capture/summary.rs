//! What the manifest says of each tensor: enough to see a change in a review, and to know the tensor again.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Capture, Tensor, Values};
use crate::model::digest::hex;

/// Numbers shown at either end.
const SHOWN: usize = 4;

/// One entry of the manifest's `tensors`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub name: String,
    /// `cp00` to `cp12`: the name up to its first dot.
    pub station: String,
    pub layer: usize,
    /// 0 for the prefill, then the number of the decode step.
    pub step: usize,
    pub shape: Vec<usize>,
    pub dtype: String,
    /// Over the numbers as little-endian bytes, row-major, in hexadecimal.
    pub sha256: String,
    pub count: usize,
    #[serde(flatten)]
    pub statistics: Statistics,
    /// The first four and the last four.
    pub head: Vec<Number>,
    pub tail: Vec<Number>,
}

/// Least, largest, mean and Euclidean norm of the finite numbers, summed in f64 one after the other; NaN where there is
/// none. What is not finite is counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    pub min: Number,
    pub max: Number,
    pub mean: Number,
    pub l2: Number,
    pub nan: usize,
    pub inf: usize,
}

/// In JSON a number, and where JSON has none, a string: `nan`, `inf`, `-inf`.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    F32(f32),
    F64(f64),
    I64(i64),
}

impl Summary {
    pub fn of(name: &str, tensor: &Tensor) -> Self {
        let place = Place::of(name);
        let numbers = |range: std::ops::Range<usize>| range.map(|index| tensor.number(index)).collect();
        let count = tensor.count();
        Self {
            name: name.to_owned(),
            station: place.station.to_owned(),
            layer: place.layer,
            step: place.step,
            shape: tensor.shape.clone(),
            dtype: tensor.values.dtype().to_owned(),
            sha256: sha256(tensor),
            count,
            statistics: Statistics::of(tensor),
            head: numbers(0..count.min(SHOWN)),
            tail: numbers(count.saturating_sub(SHOWN)..count),
        }
    }
}

impl Capture {
    /// The manifest's `tensors`, in the order of their names.
    pub fn summaries(&self) -> Vec<Summary> {
        self.tensors.iter().map(|(name, tensor)| Summary::of(name, tensor)).collect()
    }
}

impl Tensor {
    fn number(&self, index: usize) -> Number {
        match &self.values {
            Values::F32(values) => Number::F32(values[index]),
            Values::F64(values) => Number::F64(values[index]),
            Values::I64(values) => Number::I64(values[index]),
        }
    }
}

/// The digest of a tensor's numbers.
pub fn sha256(tensor: &Tensor) -> String {
    let mut sha256 = Sha256::new();
    let Ok(()) = tensor.values.for_each_run(|bytes| -> Result<(), std::convert::Infallible> {
        sha256.update(bytes);
        Ok(())
    });
    hex(&sha256.finalize())
}

impl Statistics {
    pub fn of(tensor: &Tensor) -> Self {
        match &tensor.values {
            Values::F32(values) => {
                Self::over(values.iter().map(|value| f64::from(*value)), |value| Number::F32(value as f32))
            }
            Values::F64(values) => Self::over(values.iter().copied(), Number::F64),
            Values::I64(values) => {
                Self::over(values.iter().map(|value| *value as f64), |value| Number::I64(value as i64))
            }
        }
    }

    /// `exact` gives one of the numbers back in its own type.
    fn over(values: impl Iterator<Item = f64>, exact: impl Fn(f64) -> Number) -> Self {
        let (mut min, mut max, mut sum, mut squares) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0);
        let (mut finite, mut nan, mut inf) = (0usize, 0, 0);
        for value in values {
            if value.is_finite() {
                finite += 1;
                min = min.min(value);
                max = max.max(value);
                sum += value;
                squares += value * value;
            } else if value.is_nan() {
                nan += 1;
            } else {
                inf += 1;
            }
        }
        if finite == 0 {
            let none = Number::F64(f64::NAN);
            return Self { min: none, max: none, mean: none, l2: none, nan, inf };
        }
        let (mean, l2) = (Number::F64(sum / finite as f64), Number::F64(squares.sqrt()));
        Self { min: exact(min), max: exact(max), mean, l2, nan, inf }
    }
}

impl Number {
    pub fn as_f64(self) -> f64 {
        match self {
            Number::F32(value) => value.into(),
            Number::F64(value) => value,
            Number::I64(value) => value as f64,
        }
    }
}

/// The same number as it is written; NaN is itself.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        let written = |number: &Number| match *number {
            Number::F32(value) => shortest(value),
            other => other.as_f64(),
        };
        let (one, other) = (written(self), written(other));
        one == other || (one.is_nan() && other.is_nan())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Number::F32(value) if value.is_finite() => serializer.serialize_f64(shortest(value)),
            Number::F64(value) if value.is_finite() => serializer.serialize_f64(value),
            Number::I64(value) => serializer.serialize_i64(value),
            other if other.as_f64().is_nan() => serializer.serialize_str("nan"),
            other => serializer.serialize_str(if other.as_f64() > 0.0 { "inf" } else { "-inf" }),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_i64().map(Number::I64).or(number.as_f64().map(Number::F64)),
            Value::String(text) => {
                // the spellings of Rust, Python, C and JavaScript
                let known = ["nan", "-nan", "inf", "-inf", "+inf", "infinity", "-infinity"];
                let text = text.to_ascii_lowercase();
                known.contains(&text.as_str()).then(|| Number::F64(text.parse().unwrap_or(f64::NAN)))
            }
            _ => None,
        };
        number
            .ok_or_else(|| D::Error::custom(format!("expected a number, \"nan\", \"inf\" or \"-inf\", found {value}")))
    }
}

/// The f64 whose text is the shortest one that reads as this f32: 0.1, where widening gives 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value.into())
}

/// What a tensor's name says of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub station: &'a str,
    pub layer: usize,
    pub step: usize,
}

impl<'a> Place<'a> {
    /// `cp03.step1.k.L07` is station `cp03`, layer 7, step 1; `cp08.block.11` is layer 11. 0 where the name says nothing.
    pub fn of(name: &'a str) -> Self {
        let mut parts = name.split('.');
        let mut place = Place { station: parts.next().unwrap_or_default(), layer: 0, step: 0 };
        let mut previous = "";
        for part in parts {
            let number = |text: &str| text.parse().ok();
            if let Some(step) = part.strip_prefix("step").and_then(number) {
                place.step = step;
            } else if let Some(layer) = part.strip_prefix('L').and_then(number) {
                place.layer = layer;
            } else if let Some(layer) = number(part).filter(|_| previous == "block") {
                place.layer = layer;
            }
            previous = part;
        }
        place
    }
}
