//! Every fault of the catalogue is caught where it first shows, at no station that it leaves alone, and by its own name.

use llorch::parity::faults::revealing::trials;
use llorch::parity::faults::{Fault, Outcome, kill, kill_matrix};
use llorch::parity::oracle::{Honest, run};

pub const TESTS: &[(&str, fn())] = &[
    ("faults/all_are_caught_and_named", all_are_caught_and_named),
    ("faults/every_variant_is_named", every_variant_is_named),
];

fn all_are_caught_and_named() {
    let matrix = kill_matrix().expect("the models run");
    let told: Vec<String> = matrix
        .survivors()
        .map(|kill| {
            let (fault, model, first) = (kill.fault, &kill.model, &kill.first);
            let named: Vec<Fault> = kill.diagnosis.faults().collect();
            format!(
                "{fault:?} on {model}: {:?}; first {first:?}, expected {}; named {named:?}",
                kill.outcome, kill.expected
            )
        })
        .collect();
    assert!(told.is_empty(), "{} of {} get through:\n{}", told.len(), matrix.kills.len(), told.join("\n"));
}

fn every_variant_is_named() {
    let trial = &trials().expect("models")[1];
    let mut told = Vec::new();
    for entry in Fault::all().filter(|entry| entry.variants.len() > 1) {
        let trial = trial.revealing(entry.reveal).expect("an input");
        let honest = run(&trial.model(), &trial.request(true), &Honest).expect("the model runs");
        for variant in 1..entry.variants.len() {
            let kill = kill(entry, variant, &trial, &honest).expect("the model runs");
            if matches!(kill.outcome, Outcome::Survived | Outcome::Unnamed) || !kill.diagnosis.names(entry.fault) {
                told.push(format!(
                    "{:?} {variant}: {:?} {:?} {}",
                    entry.fault, kill.outcome, kill.first, kill.diagnosis
                ));
            }
        }
    }
    assert!(told.is_empty(), "not named:\n{}", told.join("\n"));
}
