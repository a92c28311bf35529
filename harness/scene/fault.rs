//! A mistake put into the reference: where it shows, and what the diagnosis calls it.

use super::Scene;
use crate::harness::Finding;
use crate::parity::faults::revealing::trials;
use crate::parity::faults::{Entry, Fault, Kill, Outcome, kill};
use crate::parity::oracle::{Honest, run};

impl Scene {
    /// Runs the reference with the fault on models of several shapes, on the input that reveals it.
    pub fn inject(&mut self, slug: &str) -> Result<(), Finding> {
        let entry = Fault::all().find(|entry| entry.slug() == slug);
        let entry = entry.ok_or_else(|| Finding::error("a fault of the catalogue", slug))?;
        self.kills = kills(entry).map_err(|error| Finding::error("the reference with a fault", error.to_string()))?;
        Ok(())
    }

    /// The first tensor that differs, which is never one that the fault leaves alone.
    pub fn fault_shows_first_at(&mut self, tensor: &str) -> Result<(), Finding> {
        for kill in &self.kills {
            // what is written in the feature and what the catalogue says are one
            if kill.entry().shows != tensor {
                return Err(Finding::error(format!("{tensor}, as the catalogue says"), kill.entry().shows));
            }
            let right = !matches!(kill.outcome, Outcome::Survived | Outcome::Misplaced | Outcome::Spilled(_));
            if !right {
                let found = match &kill.outcome {
                    Outcome::Survived => "nothing differs".to_owned(),
                    Outcome::Spilled(place) => {
                        format!("{place} is wrong on its own inputs, which the fault does not touch")
                    }
                    _ => format!("first at {}", kill.first.as_deref().unwrap_or("no tensor")),
                };
                return Err(Finding::fail(
                    format!("{} first at {}, on {}", kill.entry().name, kill.expected, kill.model),
                    found,
                ));
            }
        }
        self.kills.first().map(|_| ()).ok_or_else(|| Finding::error("a fault in the reference", "none was put in"))
    }

    pub fn fault_is_named(&mut self) -> Result<(), Finding> {
        for kill in &self.kills {
            if kill.outcome != Outcome::Killed {
                let finding = Finding::fail(
                    format!("the name {:?}, on {}", kill.entry().name, kill.model),
                    format!("{:?}", kill.outcome),
                );
                return Err(finding.with("diagnosis", kill.diagnosis.to_string()));
            }
        }
        self.kills.first().map(|_| ()).ok_or_else(|| Finding::error("a fault in the reference", "none was put in"))
    }
}

fn kills(entry: &'static Entry) -> Result<Vec<Kill>, crate::parity::oracle::OracleError> {
    let on = |trial: crate::parity::faults::revealing::Trial| {
        let trial = trial.revealing(entry.reveal)?;
        let honest = run(&trial.model(), &trial.request(true), &Honest)?;
        kill(entry, 0, &trial, &honest)
    };
    trials()?.into_iter().map(on).collect()
}
