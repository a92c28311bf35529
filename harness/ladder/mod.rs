//! The ladder: eight rungs, each of which beats the cheats below it. The word of the haiku stands in its prompt, so a
//! program that copies a quoted word into a template passes the first rung; nothing that does not compute reaches the last.
//!
//! Here is what each rung judges; the scenarios in `features/haiku` climb them one by one. What is right is always told by
//! the f64 reference (`reference`), never by the worker's own code.

pub mod close_calls;
pub mod known_answer;
pub mod prompts;
pub mod reference;
pub mod rungs;
pub mod stream;
pub mod unfolding;
pub mod work;

use std::time::Duration;

use serde::Serialize;

/// A job that only computes takes less.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    Echo = 1,
    KnownAnswer,
    RandomProbe,
    FreshWeights,
    PerturbedWeights,
    WorkLaw,
    HonestStream,
    RealCancel,
}

impl Rung {
    pub fn number(self) -> u8 {
        self as u8
    }
}
