//! What a model adds to a comparison: each step on its own inputs, and the cause by name.

use std::fmt;

use super::{diagnose, step};
use crate::parity::Place;
use crate::parity::capture::{Capture, Tensor};
use crate::parity::diff::Insight;
use crate::parity::oracle::Model;

impl Insight for Model<'_> {
    fn step(&self, found: &Capture, place: Place) -> Option<Tensor> {
        let tensor = step(self, found, place)?;
        Some(Tensor::f64(&tensor.shape, tensor.values))
    }

    fn diagnose(&self, reference: &Capture, found: &Capture, _: Place) -> Option<Box<dyn fmt::Display>> {
        Some(Box::new(diagnose(self, Some(reference), found)))
    }
}
