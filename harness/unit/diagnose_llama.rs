//! The mistakes of Llama and Qwen2 in a trace: the three that once hid each other, alone, in pairs and all at once, made by
//! our own reference and by hand in transformers; others in pairs; captures without what is optional; and correct engines.

use std::collections::BTreeSet;

use llorch::harness::tiny_model;
use llorch::model::configuration::{LlamaArchitecture, RopeScaling};
use llorch::model::recipe::{LlamaSize, Recipe, Size};
use llorch::model::{LlamaConfiguration, tokenizer};
use llorch::parity::capture::{self, Capture};
use llorch::parity::diagnose::diagnose;
use llorch::parity::diff::{Known, Options, Outcome, diff, story};
use llorch::parity::faults::revealing::{Trial, of_llama};
use llorch::parity::faults::{Fault, Injected, Injection, Reveal, in_f32};
use llorch::parity::oracle::{Honest, Model, run};

pub const TESTS: &[(&str, fn())] = &[
    ("diagnose_llama/correct_runs", correct_runs),
    ("diagnose_llama/the_three_in_any_company", the_three_in_any_company),
    ("diagnose_llama/the_three_by_hand", the_three_by_hand),
    ("diagnose_llama/two_at_once", two_at_once),
    ("diagnose_llama/without_what_is_optional", without_what_is_optional),
    ("diagnose_llama/any_base", any_base),
    ("diagnose_llama/the_text_alone", the_text_alone),
];

const THREE: [Fault; 3] = [Fault::QkvBiasesZeroed, Fault::RotaryAdjacentPairs, Fault::ByteTableMissing];

/// What captures of others may be without, and what a trace is then harder to read without.
const OPTIONAL: [&str; 11] = [
    "cp00.embed",
    "cp02.q_rope",
    "cp02.k_rope",
    "cp04.scores_masked",
    "cp05.probs",
    "cp05.merged",
    "cp06.ln_2",
    "cp06.gate",
    "cp06.up",
    "cp06.swiglu",
    "cp07.attn_residual",
];

/// Any model of the family.
fn any(seed: u64) -> Trial {
    let pick = |number: u64, least: u64, count: u64| (least + (seed * 7 + number * 5 + seed * seed) % count) as usize;
    let n_kv_head = pick(1, 1, 3);
    let architecture = if seed.is_multiple_of(2) { LlamaArchitecture::Qwen2 } else { LlamaArchitecture::Llama };
    let configuration = LlamaConfiguration {
        architecture,
        n_layer: pick(2, 1, 4),
        n_head: n_kv_head * pick(3, 1, 3),
        n_kv_head,
        head_size: 2 * pick(4, 2, 6),
        n_embd: pick(5, 9, 40),
        n_inner: pick(6, 11, 60),
        n_ctx: 20,
        vocab_size: pick(7, 258, 90),
        rms_norm_epsilon: [1e-6, 1e-5][pick(8, 0, 2)],
        rope_theta: [10_000.0, 500_000.0, 1_000_000.0][pick(9, 0, 3)],
        rope_scaling: if seed.is_multiple_of(3) { RopeScaling::Linear { factor: 2.0 } } else { RopeScaling::None },
        qkv_bias: architecture == LlamaArchitecture::Qwen2 || seed % 3 == 1,
        output_bias: seed % 5 == 1,
        eos_token_id: Some(256),
        bos_token_id: Some(256),
    };
    let size = LlamaSize { configuration, tied: seed % 4 < 2 };
    Trial::of("any", &Recipe::llama(size, seed).expect("a recipe"), pick(10, 2, 9)).expect("a model")
}

fn honest(trial: &Trial, every_layer: bool) -> Capture {
    let model = trial.model();
    run(&model, &trial.request(every_layer), &Honest).expect("the model runs").capture(&model)
}

fn with(faults: &[Fault]) -> Injected {
    Injected { faults: faults.iter().map(|fault| Injection::from(*fault)).collect() }
}

fn faulty(trial: &Trial, faults: &[Fault], every_layer: bool) -> Capture {
    let model = trial.model();
    in_f32(run(&model, &trial.request(every_layer), &with(faults)).expect("the model runs").capture(&model))
}

/// Every choice of some of the three.
fn choices(of: &[Fault]) -> Vec<Vec<Fault>> {
    let chosen =
        |bits: usize| of.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, fault)| *fault);
    (1..1 << of.len()).map(|bits| chosen(bits).collect()).collect()
}

fn without(mut capture: Capture, names: &[&str]) -> Capture {
    capture.tensors.retain(|name, _| !names.contains(&name.split(".L").next().unwrap_or(name)));
    capture
}

fn correct_runs() {
    for seed in 0..16 {
        let mut trial = any(seed);
        trial.start = if seed.is_multiple_of(3) { trial.tokens.len() / 2 } else { 0 };
        let reference = honest(&trial, true);
        for found in [reference.clone(), honest(&trial, false)].map(in_f32) {
            for found in [without(found.clone(), &OPTIONAL), found] {
                let diagnosis = diagnose(&trial.model(), Some(&reference), &found);
                assert!(diagnosis.findings.is_empty(), "seed {seed}: {diagnosis}");
            }
        }
    }
}

/// Each alone, each two and all three, in random models: all are named, and nothing else is.
fn the_three_in_any_company() {
    let mut told = Vec::new();
    for seed in 0..6 {
        let model = any(seed);
        let made = |fault: &Fault| fault.entry().applies(&model.model());
        let three: Vec<Fault> = THREE.into_iter().filter(made).collect();
        for faults in choices(&three) {
            // whatever is generated with the others, there is a blank in it
            let trial = model.with_a_blank(&with(&faults)).expect("the model runs");
            let reference = honest(&trial, true);
            for every_layer in [true, false] {
                let found = faulty(&trial, &faults, every_layer);
                for found in [without(found.clone(), &OPTIONAL), found] {
                    let diagnosis = diagnose(&trial.model(), Some(&reference), &found);
                    if diagnosis.faults().collect::<Vec<_>>() != faults {
                        told.push(format!("seed {seed}, {faults:?}, every layer {every_layer}: {diagnosis}"));
                    }
                }
            }
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

/// The same, of captures of transformers, as `llorch diff` tells it.
fn the_three_by_hand() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mistakes/qwen2");
    let size = LlamaSize::of(LlamaArchitecture::Qwen2, Size::Tiny).expect("a size");
    let recipe = Recipe::llama(size, 1).expect("a recipe");
    let weights = recipe.weights();
    let tiny = tiny_model::open().expect("the tiny model");
    let tokenizer = tokenizer::open(&tiny.tokenizer_source, None).expect("its tokenizer");
    let model = Model { configuration: recipe.configuration(), weights: &weights, tokenizer: Some(&*tokenizer) };
    let known = Known(model);
    let read = |name: &str| capture::open(&folder.join(name)).expect("a capture").capture;
    let right = read("honest");
    let options = Options { insight: Some(&known), ..Options::default() };
    assert_eq!(diff(&right, &read("honest"), options).outcome, Outcome::Parity);
    for faults in choices(&THREE) {
        let name = faults.iter().map(|fault| format!("{fault:?}")).collect::<Vec<_>>().join("+");
        let found = read(&name);
        for found in [without(found.clone(), &OPTIONAL), found] {
            let diff = diff(&right, &found, options);
            let told = anstream::adapter::strip_str(&story::tell(&diff)).to_string();
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let told = words(&told);
            let named: BTreeSet<Fault> = THREE.into_iter().filter(|fault| told.contains(fault.entry().name)).collect();
            assert_eq!(diff.outcome, Outcome::Divergence, "{name}");
            assert_eq!(named, faults.iter().copied().collect(), "{name}: {told}");
        }
    }
}

/// Pairs of faults at different stations: the first does not hide the second.
fn two_at_once() {
    let trial = &of_llama().expect("models")[0];
    let pairs = [
        [Fault::MeanSubtracted, Fault::GeluGate],
        [Fault::QkvBiasesZeroed, Fault::HeadGroup],
        [Fault::RopeBase, Fault::GateUpSwapped],
        [Fault::RotaryMissing, Fault::ScoreScaleMissing],
        [Fault::RotaryRowsPermuted, Fault::MaskMissing],
        [Fault::KeyValueSwapped, Fault::RotaryReversed],
        [Fault::KeysCachedUnturned, Fault::UpActivated],
        [Fault::RopePositionOffByOne, Fault::MergedHeadFirst],
        [Fault::PostNorm, Fault::SiluMissing],
        [Fault::NormWeightMissing, Fault::UntiedHead],
        [Fault::LayersReversed, Fault::Argmin],
        [Fault::OneBiasMissing, Fault::RotaryKeysUnturned],
    ];
    let (reference, mut told) = (honest(trial, true), Vec::new());
    for pair in pairs {
        let diagnosis = diagnose(&trial.model(), Some(&reference), &faulty(trial, &pair, true));
        let others = diagnosis.faults().any(|fault| !pair.contains(&fault));
        if others || !pair.iter().all(|fault| diagnosis.names(*fault)) {
            told.push(format!("{pair:?}: {diagnosis}"));
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

/// The steps are then computed together, and the fault is named all the same.
fn without_what_is_optional() {
    let mut told = Vec::new();
    for trial in of_llama().expect("models") {
        let reference = honest(&trial, true);
        // −1e4 masks as well as −∞ where no score is large: only the masked scores show it.
        let can_be_seen = |fault| fault != Fault::MaskTooSmall;
        for entry in Fault::of(trial.model())
            .filter(|entry| entry.reveal == Reveal::Ordinary && entry.lives <= 8 && can_be_seen(entry.fault))
        {
            let found = without(faulty(&trial, &[entry.fault], false), &OPTIONAL);
            let diagnosis = diagnose(&trial.model(), Some(&reference), &found);
            if !diagnosis.names(entry.fault) {
                told.push(format!("{:?} on {}: {diagnosis}", entry.fault, trial.name));
            }
        }
    }
    assert!(told.is_empty(), "{} not named:\n{}", told.len(), told.join("\n"));
}

/// A base that no table has is measured.
fn any_base() {
    for (trial, base) in of_llama().expect("models").iter().zip([1234.0, 30_000.0]) {
        let model = trial.model();
        let injected = Injected::from(Injection::of_base(base));
        for every_layer in [true, false] {
            let found = in_f32(run(&model, &trial.request(every_layer), &injected).expect("it runs").capture(&model));
            for found in [without(found.clone(), &OPTIONAL), found] {
                let diagnosis = diagnose(&model, Some(&honest(trial, true)), &found);
                assert_eq!(diagnosis.faults().collect::<Vec<_>>(), [Fault::RopeBase], "{diagnosis}");
                assert!(diagnosis.to_string().contains(&format!("with a base of {base}")), "{diagnosis}");
            }
        }
    }
}

/// Every tensor is right, and the words are not: in characters, in bytes or in both, with ids and without.
fn the_text_alone() {
    let trial = of_llama().expect("models")[0].revealing(Reveal::Blank).expect("an input");
    let (right, wrong) = (in_f32(honest(&trial, true)), faulty(&trial, &[Fault::ByteTableMissing], true));
    let (no_model, known) = (Options::default(), Known(trial.model()));
    let options = Options { insight: Some(&known), ..no_model };
    let mut in_text = wrong.clone();
    in_text.manifest.generated_bytes.clone_from(&right.manifest.generated_bytes);
    let mut in_bytes = wrong.clone();
    in_bytes.manifest.generated_text.clone_from(&right.manifest.generated_text);
    for found in [in_text, in_bytes, without(wrong.clone(), &["cp12.ids"]), wrong.clone()] {
        assert_eq!(diff(&right, &found, no_model).outcome, Outcome::Divergence);
        let told = diff(&right, &found, options).text.expect("the text diverges");
        assert!(told.diagnosis.as_deref().is_some_and(|told| told.contains("without the byte table")), "{told:?}");
    }
    // what is not said is not wrong, and the end of a text may be left out of it
    let mut silent = wrong;
    silent.manifest.generated_text.clear();
    silent.manifest.generated_bytes.clear();
    let mut ended = right.clone();
    ended.manifest.generated_text += "<|endoftext|>";
    ended.manifest.generated_bytes.clear();
    for found in [silent, ended, right.clone()] {
        assert_eq!(diff(&right, &found, options).outcome, Outcome::Parity);
    }
}
