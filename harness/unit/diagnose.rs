//! From a trace to the mistake: two at once, captures with tensors missing, mistakes that are in no catalogue, and correct
//! engines, of which nothing is said.

use llorch::model::Gpt2Configuration;
use llorch::model::recipe::Size;
use llorch::parity::capture::{Capture, Tensor as Captured};
use llorch::parity::diagnose::{Diagnosis, diagnose};
use llorch::parity::faults::revealing::{Trial, trials};
use llorch::parity::faults::{Fault, Injected, Injection, Reveal, in_f32};
use llorch::parity::oracle::{Honest, run};

pub const TESTS: &[(&str, fn())] = &[
    ("diagnose/correct_runs", correct_runs),
    ("diagnose/two_at_once", two_at_once),
    ("diagnose/any_two_at_once", any_two_at_once),
    ("diagnose/without_what_is_optional", without_what_is_optional),
    ("diagnose/a_changed_weight", a_changed_weight),
    ("diagnose/unknown_mistakes", unknown_mistakes),
    ("diagnose/tokens", tokens),
    ("diagnose/told", told),
];

fn honest(trial: &Trial, every_layer: bool) -> Capture {
    let model = trial.model();
    run(&model, &trial.request(every_layer), &Honest).expect("the model runs").capture(&model)
}

fn faulty(trial: &Trial, faults: &[Fault], every_layer: bool) -> Capture {
    let model = trial.model();
    let injected = Injected { faults: faults.iter().map(|fault| Injection::from(*fault)).collect() };
    in_f32(run(&model, &trial.request(every_layer), &injected).expect("the model runs").capture(&model))
}

fn diagnosed(trial: &Trial, found: &Capture) -> Diagnosis {
    diagnose(&trial.model(), Some(&honest(trial, true)), found)
}

fn correct_runs() {
    for seed in 0..24u64 {
        let pick =
            |number: u64, least: u64, count: u64| (least + (seed * 7 + number * 5 + seed * seed) % count) as usize;
        let (n_layer, n_head, head_size) = (pick(1, 1, 4), pick(2, 1, 5), pick(3, 1, 17));
        let configuration = Gpt2Configuration {
            n_layer,
            n_head,
            n_embd: n_head * head_size,
            n_inner: 4 * n_head * head_size,
            n_ctx: 20,
            vocab_size: pick(4, 257, 90),
            ..Size::Tiny.configuration()
        };
        let mut trial = Trial::recipe("any", configuration, seed, pick(5, 1, 14)).expect("a recipe");
        trial.start = if seed % 3 == 0 { trial.tokens.len() / 2 } else { 0 };
        let reference = honest(&trial, true);
        for found in [reference.clone(), honest(&trial, false)] {
            for found in [found.clone(), in_f32(found)] {
                let diagnosis = diagnose(&trial.model(), Some(&reference), &found);
                assert!(diagnosis.findings.is_empty(), "seed {seed}: {diagnosis}");
            }
        }
    }
}

/// Pairs of faults at different stations: the first does not hide the second.
fn two_at_once() {
    let trial = &trials().expect("models")[0];
    let pairs = [
        [Fault::UnbiasedVariance, Fault::ErfGelu],
        [Fault::ShiftMissing, Fault::ScoreScaleMissing],
        [Fault::ProjectionBiasMissing, Fault::OutputBiasMissing],
        [Fault::KeyValueSwapped, Fault::MaskMissing],
        [Fault::OtherHeadsValues, Fault::Relu],
        [Fault::WrittenLate, Fault::HiddenBiasMissing],
        [Fault::ScaledByHeadSize, Fault::FinalNormSkipped],
        [Fault::PositionOffByOne, Fault::OutputTransposed],
        [Fault::PostNorm, Fault::GeluMissing],
        [Fault::FirstResidualMissing, Fault::LastButOneRow],
        [Fault::RmsNorm, Fault::HeadBias],
        [Fault::SplitPerHead, Fault::FirstNormsWeights],
        [Fault::FutureVisible, Fault::TemperatureMultiplies],
        [Fault::MergedHeadFirst, Fault::Parallel],
        [Fault::LayersReversed, Fault::Argmin],
        [Fault::StartNeverAdvanced, Fault::FeedForwardBiasMissing],
    ];
    let mut told = Vec::new();
    for pair in pairs {
        let diagnosis = diagnosed(trial, &faulty(trial, &pair, true));
        let others: Vec<Fault> = diagnosis.faults().filter(|fault| !pair.contains(fault)).collect();
        if !pair.iter().all(|fault| diagnosis.names(*fault)) || !others.is_empty() {
            told.push(format!("{pair:?}: {:?}\n{diagnosis}", diagnosis.faults().collect::<Vec<_>>()));
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// Pairs drawn from the whole catalogue, of faults that act on different stations: both are named.
fn any_two_at_once() {
    let trial = &trials().expect("models")[1];
    let reference = honest(trial, true);
    let single: Vec<_> = Fault::of(trial.model())
        .filter(|entry| {
            entry.reveal == Reveal::Ordinary && (1..=9).contains(&entry.lives) && entry.shows_in(3) != "cp03.step1.k"
        })
        .collect();
    let mut told = Vec::new();
    for draw in 0..150usize {
        let (first, second) = (single[draw * 31 % single.len()], single[(draw * 17 + 5) % single.len()]);
        let apart = !first.acts.iter().any(|station| second.acts.contains(station));
        // Nothing added twice over is a block skipped, which is the name it then has.
        let is_a_block = [Fault::AttentionSkipped, Fault::FeedForwardSkipped]
            .iter()
            .all(|fault| [first.fault, second.fault].contains(fault));
        if !apart || is_a_block {
            continue;
        }
        let found = faulty(trial, &[first.fault, second.fault], true);
        let diagnosis = diagnose(&trial.model(), Some(&reference), &found);
        // What the first leaves no trace of cannot be found: a mask before a softmax that is not taken, say.
        let shows = |other: Fault| {
            let alone = if other == second.fault { first.fault } else { second.fault };
            faulty(trial, &[alone], true).tensors != found.tensors
        };
        for fault in [first.fault, second.fault] {
            if !diagnosis.names(fault) && shows(fault) {
                told.push(format!(
                    "{:?} and {:?}: {fault:?} is not among {:?}",
                    first.fault,
                    second.fault,
                    diagnosis.faults().collect::<Vec<_>>()
                ));
            }
        }
    }
    assert!(told.is_empty(), "{} not named:\n{}", told.len(), told.join("\n"));
}

/// Captures of others may lack some tensors: the steps are then computed together, and the fault is named all the same.
fn without_what_is_optional() {
    let trial = &trials().expect("models")[1];
    let reference = honest(trial, true);
    let mut told = Vec::new();
    // −1e4 masks as well as −∞ where no score is large: only the masked scores show it.
    let can_be_seen = |fault| fault != Fault::MaskTooSmall;
    for entry in Fault::of(trial.model())
        .filter(|entry| entry.reveal == Reveal::Ordinary && entry.lives <= 8 && can_be_seen(entry.fault))
    {
        let mut found = faulty(trial, &[entry.fault], false);
        let optional =
            ["cp00.embed", "cp05.probs", "cp05.merged", "cp06.ln_2", "cp07.attn_residual", "cp04.scores_masked"];
        optional.iter().for_each(|name| {
            found.tensors.remove(*name);
        });
        let diagnosis = diagnose(&trial.model(), Some(&reference), &found);
        if !diagnosis.names(entry.fault) {
            told.push(format!("{:?}: {diagnosis}", entry.fault));
        }
    }
    assert!(told.is_empty(), "{} not named:\n{}", told.len(), told.join("\n"));
}

/// One bias of one layer zeroed, which is not the same as the fault in all layers.
fn a_changed_weight() {
    let trial = &trials().expect("models")[2];
    let mut changed = trial.clone();
    let weight = trial.weights.get("h.2.mlp.c_fc.bias", &[80]).expect("a bias");
    let none = llorch::model::Weight::from_vec(vec![80], vec![0.0; weight.values().len()]);
    changed.weights = changed.weights.with("h.2.mlp.c_fc.bias", none);
    for every_layer in [true, false] {
        let diagnosis = diagnosed(trial, &in_f32(honest(&changed, every_layer)));
        assert!(diagnosis.names(Fault::HiddenBiasMissing), "{diagnosis}");
        assert_eq!(diagnosis.findings[0].place.layer, 2, "{diagnosis}");
        assert_eq!(diagnosis.findings.len(), 1, "{diagnosis}");
    }
}

fn unknown_mistakes() {
    let trial = &trials().expect("models")[0];
    let change = |name: &str, change: &dyn Fn(usize, f64) -> f64| -> String {
        let mut found = honest(trial, false);
        let tensor = found.tensors.get_mut(name).expect("a station");
        let values = tensor.to_f64().iter().enumerate().map(|(at, x)| change(at, *x)).collect();
        *tensor = Captured::f64(&tensor.shape.clone(), values);
        diagnosed(trial, &found).to_string()
    };
    /// A station, what is done to each of its numbers, and what is said of it.
    type Mistake<'a> = (&'a str, &'a dyn Fn(usize, f64) -> f64, &'a str);
    let cases: &[Mistake<'_>] = &[
        ("cp06.gelu", &|_, x| 2.0 * x, "constant ratio 2.0"),
        ("cp05.attn_out", &|_, x| -x, "the sign is the other way round"),
        ("cp06.c_proj", &|_, x| x + 0.25, "constant offset +0.25"),
        ("cp06.ln_2", &|_, _| 0.0, "all zeros"),
        ("cp05.attn_out", &|at, x| if at / 15 == 3 { x + (at as f64).sin() } else { x }, "only position 3"),
        ("cp02.q", &|at, x| if at / 5 % 3 == 1 { x + (at as f64).sin() } else { x }, "only head 1"),
        ("cp06.c_fc", &|at, x| if at % 4 == 1 { f64::NAN } else { x }, "NaN"),
        ("cp06.c_proj", &|at, x| x + ((at * 7919) as f64).sin(), "nothing simple"),
    ];
    for (name, mistake, expected) in cases {
        let told = change(name, mistake);
        assert!(told.contains("unknown") && told.contains(expected), "{name}, {expected}: {told}");
    }
}

fn tokens() {
    let trial = &trials().expect("models")[0];
    for fault in [Fault::BeginningOfText, Fault::PromptTwice] {
        let mut found = faulty(trial, &[fault], false);
        assert!(diagnosed(trial, &found).names(fault), "by the ids that it reports");
        found.manifest.token_ids = trial.tokens.clone();
        let diagnosis = diagnosed(trial, &found);
        assert!(diagnosis.names(fault), "by the rows that it computed: {diagnosis}");
    }
}

/// What a person reads.
fn told() {
    let trial = &trials().expect("models")[0];
    let told = diagnosed(trial, &faulty(trial, &[Fault::UnbiasedVariance], true)).to_string();
    for part in
        ["cp01.ln_1: unbiased variance (N − 1)", "with it, max difference", "without it", "divide by N, not N − 1"]
    {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}
