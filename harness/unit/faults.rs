//! Every fault of the catalogue is caught where it first shows, at no station that it leaves alone, and by its own name.

use std::collections::{BTreeSet, HashMap};

use llorch::parity::faults::revealing::{Trial, of_gpt2, of_llama};
use llorch::parity::faults::{
    CATALOGUE, EQUIVALENT, Entry, Family, Fault, Injected, Injection, Outcome, Reveal, differing, in_f32, kill,
    kill_matrix,
};
use llorch::parity::oracle::{self, Honest, Tensor, run};
use llorch::parity::{Place, diagnose};

pub const TESTS: &[(&str, fn())] = &[
    ("faults/all_are_caught_and_named", all_are_caught_and_named),
    ("faults/every_variant_is_named", every_variant_is_named),
    ("faults/in_one_layer_only", in_one_layer_only),
    ("faults/the_catalogue_is_whole", the_catalogue_is_whole),
    ("faults/each_row_says_everything", each_row_says_everything),
    ("faults/equivalents_change_nothing", equivalents_change_nothing),
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
    for entry in Fault::all() {
        let models = matrix.kills.iter().filter(|kill| kill.fault == entry.fault).count();
        let least = if entry.family == Family::Every { 2 } else { 1 };
        assert!(models >= least, "{:?} was tried on {models} models", entry.fault);
    }
}

/// One model of each family: of so many layers that a block has others before and after it.
fn one_of_each() -> [Trial; 2] {
    let (mut gpt2, mut llama) = (of_gpt2().expect("models"), of_llama().expect("models"));
    [gpt2.swap_remove(2), llama.swap_remove(1)]
}

fn every_variant_is_named() {
    let [gpt2, llama] = [&of_gpt2().expect("models")[1], &of_llama().expect("models")[0]];
    let mut told = Vec::new();
    for (entry, trial) in Fault::all().filter(|entry| entry.variants.len() > 1).flat_map(|entry| {
        let tried = [gpt2, llama].into_iter().filter(|trial| entry.applies(&trial.model()));
        tried.map(move |trial| (entry, trial))
    }) {
        let trial = trial.revealing(entry.reveal).expect("an input");
        let honest = run(&trial.model(), &trial.request(true), &Honest).expect("the model runs");
        for variant in (1..entry.variants.len()).filter(|variant| changes(entry.fault, *variant, &trial)) {
            let kill = kill(entry, variant, &trial, &honest).expect("the model runs");
            if matches!(kill.outcome, Outcome::Survived | Outcome::Unnamed) || !kill.diagnosis.names(entry.fault) {
                told.push(format!(
                    "{:?} {variant} on {}: {:?} {:?} {}",
                    entry.fault, kill.model, kill.outcome, kill.first, kill.diagnosis
                ));
            }
        }
    }
    assert!(told.is_empty(), "not named:\n{}", told.join("\n"));
}

/// Whether a variant is a mistake in this model, and its text.
fn changes(fault: Fault, variant: usize, trial: &Trial) -> bool {
    match (fault, variant) {
        (Fault::ScaledByWidth, 1) => {
            trial.configuration.head_size() * trial.configuration.n_head() != trial.configuration.n_embd()
        }
        (Fault::RopeBase, 2) => false,         // 1 000 000 is its base
        (Fault::ByteTableMissing, 1) => false, // Ġ and Ċ are all that ASCII needs
        _ => true,
    }
}

/// A fault inside block 1, in captures with every layer and with layer 0 and the blocks' outputs only.
fn in_one_layer_only() {
    let mut told = Vec::new();
    // A fault with a number of its own is recognised where its station is shown, and an earlier chunk of a layer that is
    // not shown is not known.
    let can_be_named =
        |every_layer: bool, entry: &Entry| every_layer || (!entry.parametric && entry.reveal != Reveal::SecondChunk);
    let trials = one_of_each();
    // What is right, for each model, input and extent of a capture
    let mut known = HashMap::new();
    let own = |trial| Fault::of(Trial::model(trial)).map(move |entry| (entry, trial));
    for (entry, trial) in trials.iter().flat_map(own).filter(|(entry, _)| (1..=7).contains(&entry.lives)) {
        let trial = trial.revealing(entry.reveal).expect("an input");
        let model = trial.model();
        let injected = Injected::from(Injection { fault: entry.fault, layer: Some(1), variant: 0 });
        for every_layer in [true, false].into_iter().filter(|every| can_be_named(*every, entry)) {
            let faulty = run(&model, &trial.request(every_layer), &injected).expect("the model runs");
            let honest = known.entry((trial.name.clone(), entry.reveal as u8, every_layer)).or_insert_with(|| {
                run(&model, &trial.request(every_layer), &Honest).expect("the model runs").capture(&model)
            });
            let found = in_f32(faulty.capture(&model));
            let differs = differing(honest, &found);
            let Some(first) = differs.first() else { continue }; // an epsilon, say, that nothing shows but its own station
            let diagnosis = diagnose::diagnose(&model, Some(honest), &found);
            let Some(finding) = diagnosis.findings.first() else {
                told.push(format!(
                    "{:?} every layer {every_layer}: nothing found, first {}",
                    entry.fault,
                    first.name()
                ));
                continue;
            };
            let in_layer_1 = finding.place.layer == 1 || finding.place.name() == "cp03.step1.k";
            if !in_layer_1 || !finding.faults.iter().any(|named| named.fault() == entry.fault) {
                told.push(format!("{:?} every layer {every_layer}: first {} {diagnosis}", entry.fault, first.name()));
            }
        }
    }
    assert!(told.is_empty(), "{} not named:\n{}", told.len(), told.join("\n"));
}

/// Every fault has one row, in the order of the names; the list that the harness promises is all there.
fn the_catalogue_is_whole() {
    for (number, entry) in Fault::all().enumerate() {
        assert_eq!(entry.fault as usize, number, "{:?} is out of order", entry.fault);
        assert_eq!(entry.fault.entry().fault, entry.fault);
    }
    assert_eq!(Fault::all().last().map(|entry| entry.fault), Some(Fault::TiedHead));
    let slugs: BTreeSet<String> = Fault::all().map(|entry| entry.slug()).collect();
    assert_eq!(slugs.len(), Fault::all().count());

    // How many of each checkpoint are promised; a name that is the same function as another counts with it.
    let promised = [(1, 9), (2, 6), (3, 7), (4, 9), (5, 6), (6, 6), (7, 7), (8, 10), (9, 3), (10, 4), (11, 5), (12, 7)];
    for (checkpoint, count) in promised {
        let own = Fault::all().filter(|entry| entry.listed && entry.lives == checkpoint);
        let names: usize = own.map(|entry| 1 + entry.also.len()).sum();
        assert!(names >= count, "checkpoint {checkpoint} has {names} names of {count}");
    }
    assert!(EQUIVALENT.iter().all(|one| !one.reason.is_empty()));
}

fn each_row_says_everything() {
    for entry in CATALOGUE.iter().copied().flatten() {
        let texts = [entry.name, entry.shows, entry.formula, entry.faulty, entry.change];
        assert!(texts.iter().all(|text| !text.is_empty()), "{:?} has an empty field", entry.fault);
        let shows = entry.shows_in(4);
        assert!(shows == "cp12.text" || Place::of_name(&shows).is_some(), "{shows} is no tensor");
        assert!((1..=12).contains(&entry.lives) && !entry.variants.is_empty());
    }
}

/// What is listed as no fault gives the same numbers.
fn equivalents_change_nothing() {
    let scores = Tensor::from_fn([2, 4, 4], |[h, t, s]| (h * 7 + t * 3 + s * 5 % 4) as f64 / 3.0 - 2.0);
    let close = |a: &Tensor, b: &Tensor| a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-12);
    let masked = oracle::causal_mask(&scores, 0);
    let right = oracle::softmax(&masked);
    // the most negative f32 for −∞; a constant on all scores
    assert!(close(&right, &oracle::softmax(&masked.map(|x| x.max(f64::from(f32::MIN))))));
    assert!(close(&right, &oracle::softmax(&masked.map(|x| x + 3.5))));
    // √D on q
    let q = Tensor::from_fn([4, 2, 9], |[t, h, d]| ((t * 5 + h * 3 + d * 7) % 11) as f64 - 5.0);
    assert!(close(&oracle::scores(&q, &q, 4), &oracle::scores(&q.map(|x| x / 3.0), &q, 4).map(|x| x * 3.0)));
    // GELU by the logistic function
    let u = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    assert!(close(&oracle::gelu(&scores), &scores.map(|x| x / (1.0 + (-2.0 * u(x)).exp()))));
    // positions counted from another one; adjacent pairs, with rows in the order of pairs
    let frequencies = [1.0, 0.3, 0.01];
    let q = Tensor::from_fn([4, 2, 6], |[t, h, d]| ((t * 5 + h * 3 + d * 7) % 11) as f64 - 5.0);
    let turned = |start| oracle::rotate(&q, start, &frequencies);
    assert!(close(&oracle::scores(&turned(0), &turned(0), 4), &oracle::scores(&turned(5), &turned(5), 4)));
    let in_pairs = |x: &Tensor| Tensor::from_fn([4, 2, 6], |[t, h, d]| x.at([t, h, d % 2 * 3 + d / 2]));
    let pairs = in_pairs(&q);
    let turned_in_pairs = Tensor::from_fn([4, 2, 6], |[t, h, d]| {
        let (sin, cos) = (t as f64 * frequencies[d / 2]).sin_cos();
        let sin = if d % 2 == 0 { -sin } else { sin };
        pairs.at([t, h, d]) * cos + pairs.at([t, h, d ^ 1]) * sin
    });
    assert!(close(&turned_in_pairs, &in_pairs(&turned(0))));
    assert!(close(&oracle::scores(&turned_in_pairs, &turned_in_pairs, 4), &oracle::scores(&turned(0), &turned(0), 4)));
    // each head of keys copied for the queries that share it
    let shared = Tensor::from_fn([4, 1, 6], |[t, _, d]| q.at([t, 0, d]));
    let copied = Tensor::from_fn([4, 2, 6], |[t, _, d]| q.at([t, 0, d]));
    assert!(close(&oracle::scores(&q, &shared, 4), &oracle::scores(&q, &copied, 4)));
    // argmax of the probabilities
    let row = Tensor::new(&[5], vec![0.5, 3.0, -1.0, 3.0, 2.0]);
    assert_eq!(oracle::argmax(&row), oracle::argmax(&oracle::softmax(&row)));
}
