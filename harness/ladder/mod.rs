//! The ladder: eight rungs, each of which beats the cheats below it. The word of the haiku stands in its prompt, so a
//! program that copies a quoted word into a template passes the first rung; nothing that does not compute reaches the last.
//!
//! Here is what each rung judges; the scenarios in `features/haiku` climb them one by one. What is right is always told by
//! the f64 reference (`reference`), never by the worker's own code.

pub mod known_answer;
pub mod reference;
pub mod stream;
pub mod work;

use serde::Serialize;

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
    pub const ALL: [Rung; 8] = [
        Rung::Echo,
        Rung::KnownAnswer,
        Rung::RandomProbe,
        Rung::FreshWeights,
        Rung::PerturbedWeights,
        Rung::WorkLaw,
        Rung::HonestStream,
        Rung::RealCancel,
    ];

    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn of_number(number: u8) -> Option<Rung> {
        Rung::ALL.into_iter().find(|rung| rung.number() == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Rung::Echo => "echo",
            Rung::KnownAnswer => "known answer",
            Rung::RandomProbe => "random probe",
            Rung::FreshWeights => "fresh weights",
            Rung::PerturbedWeights => "perturbed weights",
            Rung::WorkLaw => "work law",
            Rung::HonestStream => "honest stream",
            Rung::RealCancel => "real cancel",
        }
    }

    /// What whoever stands on it has shown.
    pub fn shows(self) -> &'static str {
        match self {
            Rung::Echo => "the text answers the prompt",
            Rung::KnownAnswer => "the text is the one that this model writes",
            Rung::RandomProbe => "the tensors on the way to it are this model's",
            Rung::FreshWeights => "the weights are read from the file that was named",
            Rung::PerturbedWeights => "every weight counts",
            Rung::WorkLaw => "the work is done, each time, as the arithmetic demands",
            Rung::HonestStream => "tokens arrive when they are computed, and are counted once",
            Rung::RealCancel => "a cancelled computation stops",
        }
    }
}
