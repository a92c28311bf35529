//! The fast pass against the f64 oracle, station by station, on shapes that a kernel would rather not have.

use llorch::layers::NoTap;
use llorch::layers::gpt2::{LogitRows, Scratch};
use llorch::model::Gpt2Configuration;
use llorch::parity::capture::{Capture, Manifest, Tensor};
use llorch::parity::diagnose::diagnose;
use llorch::parity::oracle::{Honest, Request};
use llorch::parity::{Recorder, oracle};
use llorch::tensor::Instructions;

use super::models::{Sizes, configuration, model, tokens, weights};

pub const TESTS: &[(&str, fn())] = &[
    ("oracle/every_station_on_many_shapes", every_station_on_many_shapes),
    ("oracle/every_instruction_set", every_instruction_set),
    ("oracle/softmax_of_masked_scores_is_the_probabilities", softmax_of_masked_scores_is_the_probabilities),
    ("oracle/it_can_fail", it_can_fail),
    ("oracle/chunks_and_cache_equal_one_pass", chunks_and_cache_equal_one_pass),
    ("oracle/generation_equals_recomputation", generation_equals_recomputation),
    ("oracle/the_fast_engine_has_nothing_to_diagnose", the_fast_engine_has_nothing_to_diagnose),
    ("oracle/bad_tokens_are_refused", bad_tokens_are_refused),
];

/// Sizes of a model, and tokens.
const SHAPES: [(Sizes, usize); 9] = [
    ((2, 3, 5, 20, 50), 7),      // odd heads, a head smaller than a vector
    ((1, 1, 16, 32, 64), 16),    // T = D: a transposed k has the right shape
    ((2, 4, 8, 16, 50), 1),      // one token
    ((1, 2, 1, 8, 3), 8),        // heads of one number
    ((3, 3, 32, 80, 100), 80),   // the whole context, over a block of the cache
    ((2, 2, 64, 200, 130), 150), // three blocks of the cache
    ((1, 5, 17, 70, 33), 66),    // nothing is a multiple of anything
    ((4, 7, 3, 13, 19), 13),
    ((1, 12, 64, 64, 257), 20), // a base-sized block
];

/// The largest difference of every station, with the station's name.
fn differences(sizes: &Gpt2Configuration, count: usize, instructions: Instructions) -> Vec<(String, f64)> {
    let model = model(sizes, 7);
    let tokens = tokens(sizes, 11, count);
    let trace = oracle::trace(&sizes.clone().into(), &weights(sizes, 7), &tokens).expect("the oracle runs");
    let mut recorder = Recorder::new(true);
    let (mut cache, mut scratch) = (model.cache(), Scratch::new(sizes, 1, instructions));
    model.forward(&tokens, &mut cache, &mut scratch, LogitRows::All, &mut recorder, &|| false).expect("the pass runs");
    assert_eq!(
        recorder.tensors.keys().collect::<Vec<_>>(),
        trace.tensors.keys().collect::<Vec<_>>(),
        "both show the same stations"
    );
    let compare = |(name, found): (&String, &llorch::parity::tap::Recorded)| {
        let expected = trace.get(name).expect("the same names");
        assert_eq!(found.shape, expected.shape, "{name}");
        let difference = |(found, expected): (&f32, &f64)| match (f64::from(*found), *expected) {
            (found, expected) if found == expected => 0.0, // −∞ too
            (found, expected) => (found - expected).abs() / expected.abs().max(1.0),
        };
        let worst = found.values.iter().zip(&expected.values).map(difference).fold(0.0, f64::max);
        assert!(found.values.iter().all(|value| !value.is_nan()), "{name} has a NaN");
        (name.clone(), worst)
    };
    recorder.tensors.iter().map(compare).collect()
}

fn every_station_on_many_shapes() {
    for (shape, count) in SHAPES {
        let sizes = configuration(shape);
        for (name, worst) in differences(&sizes, count, Instructions::detect()) {
            // logits are sums over the width of everything before
            let limit = if name.ends_with("logits") { 5e-5 } else { 1e-5 };
            assert!(worst < limit, "{name} of {shape:?} with {count} tokens: {worst:e}");
        }
    }
}

fn every_instruction_set() {
    for instructions in Instructions::available() {
        let sizes = configuration((2, 3, 5, 20, 50));
        for (name, worst) in differences(&sizes, 9, instructions) {
            assert!(worst < 1e-5, "{name} with {}: {worst:e}", instructions.name());
        }
    }
}

fn softmax_of_masked_scores_is_the_probabilities() {
    let sizes = configuration((1, 2, 8, 16, 30));
    let trace =
        oracle::trace(&sizes.clone().into(), &weights(&sizes, 3), &tokens(&sizes, 3, 6)).expect("the oracle runs");
    let masked = trace.get("cp04.scores_masked").expect("a station");
    let probabilities = oracle::softmax(&oracle::causal_mask(trace.get("cp04.scores").expect("a station"), 0));
    assert_eq!(&probabilities, trace.get("cp05.probs").expect("a station"));
    for row in probabilities.values.chunks_exact(6) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    assert_eq!(masked.at([0, 2, 3]), f64::NEG_INFINITY);
    assert!(masked.at([1, 3, 3]).is_finite());
}

/// Another epsilon, and the comparison above would have seen it.
fn it_can_fail() {
    let sizes = configuration((1, 2, 8, 16, 30));
    let tokens = tokens(&sizes, 3, 6);
    let other = Gpt2Configuration { layer_norm_epsilon: 1e-3, ..sizes.clone() };
    let trace = oracle::trace(&other.into(), &weights(&sizes, 7), &tokens).expect("the oracle runs");
    let model = model(&sizes, 7);
    let mut scratch = Scratch::new(&sizes, 1, Instructions::detect());
    let logits = model
        .forward(&tokens, &mut model.cache(), &mut scratch, LogitRows::Last, &mut NoTap, &|| false)
        .expect("the pass runs");
    let expected = trace.get("cp09.logits").expect("a station");
    let worst = logits.iter().zip(&expected.values).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst > 1e-5, "a wrong epsilon changed the logits by {worst:e} only");
}

/// A prompt in two chunks, and decode steps, give what one pass gives.
fn chunks_and_cache_equal_one_pass() {
    let sizes = configuration((3, 3, 5, 20, 50));
    let weights = weights(&sizes, 7);
    let model = oracle::Model { configuration: &sizes.clone().into(), weights: &weights, tokenizer: None };
    let tokens = tokens(&sizes, 5, 9);
    let whole = oracle::run(&model, &Request { tokens: &tokens, every_layer: true, ..Request::default() }, &Honest)
        .expect("the oracle runs");
    let far = |a: &oracle::Tensor, b: &[f64]| a.values.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    for start in 1..9 {
        let request = Request { tokens: &tokens, start, every_layer: true, ..Request::default() };
        let chunk = oracle::run(&model, &request, &Honest).expect("the oracle runs");
        assert_eq!(chunk.token_ids, tokens[start..]);
        for name in ["cp03.step0.k.L02", "cp03.step0.v", "cp09.logits"] {
            let (a, b) = (chunk.get(name).expect("a station"), whole.get(name).expect("a station"));
            assert!(a.shape == b.shape && far(a, &b.values) < 1e-12, "{name} from {start}");
        }
        let (logits, all) =
            (chunk.get("cp08.logits").expect("a station"), whole.get("cp08.logits").expect("a station"));
        assert!(far(logits, &all.values[start * 50..]) < 1e-12, "logits from {start}");
    }
}

fn generation_equals_recomputation() {
    let sizes = Gpt2Configuration { eos_token_id: None, ..configuration((2, 2, 8, 24, 60)) };
    let weights = weights(&sizes, 9);
    let model = oracle::Model { configuration: &sizes.clone().into(), weights: &weights, tokenizer: None };
    let prompt = tokens(&sizes, 6, 5);
    let run = |tokens: &[u32], generate| {
        let request = Request { tokens, generate, steps: 2, ..Request::default() };
        oracle::run(&model, &request, &Honest).expect("the oracle runs")
    };
    let cached = run(&prompt, 10);
    let mut text = prompt.clone();
    for id in &cached.ids {
        assert_eq!(run(&text, 1).ids, [*id], "after {text:?}");
        text.push(*id);
    }
    assert_eq!((cached.ids.len(), cached.steps), (10, 2));
    assert_eq!(cached.get("cp03.step2.k").expect("a step").shape, [7, 2, 8]);
    // A full context ends it.
    assert_eq!(run(&tokens(&sizes, 6, 24), 10).ids.len(), 1);
}

/// What an f32 engine shows is right in every step on its own inputs.
fn the_fast_engine_has_nothing_to_diagnose() {
    for (shape, count) in SHAPES.into_iter().filter(|(_, count)| *count < 30) {
        let sizes = configuration(shape);
        let (model, weights, tokens) = (model(&sizes, 7), weights(&sizes, 7), tokens(&sizes, 11, count));
        let mut recorder = Recorder::new(true);
        let (mut cache, mut scratch) = (model.cache(), Scratch::new(&sizes, 1, Instructions::detect()));
        model.forward(&tokens, &mut cache, &mut scratch, LogitRows::All, &mut recorder, &|| false).expect("it runs");
        let captured = recorder.tensors.iter();
        let tensors =
            captured.map(|(name, seen)| (name.clone(), Tensor::f32(&seen.shape, seen.values.clone()))).collect();
        let manifest = Manifest { token_ids: tokens.clone(), ..Manifest::default() };
        let oracle = oracle::Model { configuration: &sizes.clone().into(), weights: &weights, tokenizer: None };
        let diagnosis = diagnose(&oracle, None, &Capture { manifest, tensors });
        assert!(diagnosis.findings.is_empty() && diagnosis.not_isolated.is_empty(), "{shape:?}: {diagnosis}");
    }
}

fn bad_tokens_are_refused() {
    let sizes = configuration((1, 1, 4, 6, 10));
    let weights = weights(&sizes, 1);
    let told =
        |tokens: &[u32]| oracle::trace(&sizes.clone().into(), &weights, tokens).expect_err("a refusal").to_string();
    assert_eq!(told(&[]), "there are no tokens to compute");
    assert_eq!(told(&[3, 10]), "token 10 is not in the vocabulary of 10");
    assert_eq!(told(&[1; 7]), "7 positions are needed, and the context has 6");
}
