//! Comparing two tensors: every number against a plain computation, every verdict from an input that deserves it.

use llorch::layers::Station;
use llorch::parity::capture::Tensor;
use llorch::parity::compare::{Comparison, Pair, Verdict, compare, compare_all};
use llorch::parity::station::Place;
use llorch::parity::tolerance::{LogitScale, Profile, Rule, Tolerance, tolerance};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

pub const TESTS: &[(&str, fn())] = &[
    ("compare/against_naive", against_naive),
    ("compare/verdicts", verdicts),
    ("compare/masked", masked),
    ("compare/not_a_number", not_a_number),
    ("compare/relative_part", relative_part),
    ("compare/exact_is_bits", exact_is_bits),
    ("compare/probability", probability),
    ("compare/threads", threads_change_nothing),
    ("compare/names", names_are_read_back),
    ("compare/order", places_sort_as_they_are_computed),
    ("compare/tolerances", tolerances_have_reasons),
    ("compare/ggml", ggml_is_looser_only_after_gelu),
];

const WITHIN: Tolerance = Tolerance { rule: Rule::Within(1e-3), reason: "a test" };
const EXACT: Tolerance = Tolerance { rule: Rule::Exact, reason: "a test" };

fn judge(reference: &Tensor, found: &Tensor, tolerance: Tolerance) -> Comparison {
    compare(Pair { reference, found, tolerance, masked: false })
}

fn flat(values: Vec<f32>) -> Tensor {
    Tensor::f32(&[values.len()], values)
}

/// Everything at once, as slowly as it can be said.
fn against_naive() {
    let lengths = prop_oneof![0_usize..40, 4090_usize..4110, 8190_usize..9000];
    let numbers = (lengths, 0_u64..u64::MAX, prop_oneof![Just(0.0), Just(1e-7), Just(1e-3), Just(10.0)]);
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let check = |(count, seed, noise): (usize, u64, f64)| {
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1_u64 << 24) as f64 - 0.5
        };
        let reference: Vec<f64> = (0..count).map(|i| if i % 11 == 3 { 0.0 } else { next() * 6.0 }).collect();
        let found: Vec<f64> = reference.iter().map(|r| r + next() * noise).collect();
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let (a, b) = (narrow(&reference), narrow(&found));
        let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
        let tensors = [
            (flat(a.clone()), flat(b.clone()), wide(&a), wide(&b)),
            (Tensor::f64(&[count], reference.clone()), flat(b.clone()), reference.clone(), wide(&b)),
            (Tensor::f64(&[count], reference.clone()), Tensor::f64(&[count], found.clone()), reference, found),
        ];
        for (reference, found, r, f) in tensors {
            let comparison = judge(&reference, &found, WITHIN);
            let numbers = comparison.numbers.expect("the same shape");
            let d: Vec<f64> = r.iter().zip(&f).map(|(r, f)| f - r).collect();
            let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0_f64, f64::max);
            let need = |i: usize| d[i].abs() / r[i].abs().max(1.0);
            prop_assert_eq!(numbers.max_abs.value, largest(&mut d.iter().map(|d| d.abs())));
            prop_assert_eq!(numbers.needed, largest(&mut (0..count).map(need)));
            let relative = |i: usize| if r[i] == 0.0 { 0.0 } else { (d[i] / r[i]).abs() };
            let expected = largest(&mut (0..count).map(relative));
            prop_assert!((numbers.max_rel.value - expected).abs() <= 1e-12 * expected);
            let beyond = (0..count).filter(|i| need(*i) > 1e-3).count();
            prop_assert_eq!(numbers.beyond, beyond);
            prop_assert_eq!(comparison.verdict, if beyond > 0 { Verdict::Differs } else { Verdict::Pass });
            if count == 0 {
                continue;
            }
            prop_assert_eq!(d[numbers.max_abs.at].abs(), numbers.max_abs.value);
            prop_assert_eq!(need(numbers.needed_at), numbers.needed);
            let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 + 1e-9 * b.abs();
            let squares = sum(&mut d.iter().map(|d| d * d));
            let energy = sum(&mut r.iter().map(|r| r * r));
            prop_assert!(close(numbers.mean_difference, sum(&mut d.iter().copied()) / count as f64));
            prop_assert!(close(numbers.rmse, (squares / count as f64).sqrt()));
            if energy > 0.0 {
                prop_assert!(close(numbers.nmse, squares / energy));
                let dot = sum(&mut r.iter().zip(&f).map(|(r, f)| r * f));
                let found_energy = sum(&mut f.iter().map(|f| f * f));
                prop_assert!(close(numbers.cosine, dot / (energy * found_energy).sqrt()), "{}", numbers.cosine);
            }
        }
        Ok(())
    };
    runner.run(&numbers, check).expect("the fast comparison is the naive one");
}

fn verdicts() {
    let reference = Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let of = |found: Tensor| judge(&reference, &found, WITHIN).verdict;
    assert_eq!(of(reference.clone()), Verdict::Pass);
    assert_eq!(of(Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0039])), Verdict::Pass, "4e-3 at a reference of 4");
    assert_eq!(of(Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0041])), Verdict::Differs);
    assert_eq!(of(Tensor::f32(&[4], vec![1.0, 2.0, 3.0, 4.0])), Verdict::Shape);
    assert_eq!(of(Tensor::f32(&[3, 2], vec![1.0; 6])), Verdict::Shape);
    assert_eq!(of(Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0])), Verdict::Count);
    assert_eq!(of(Tensor::f32(&[2, 2], vec![1.0, 2.0, f32::NAN, 4.0])), Verdict::NotFinite);
    assert_eq!(of(Tensor::f32(&[2, 2], vec![1.0, 2.0, f32::INFINITY, 4.0])), Verdict::NotFinite);
    assert_eq!(judge(&flat(vec![]), &flat(vec![]), WITHIN).verdict, Verdict::Pass);
    let numbers = judge(&flat(vec![1.0]), &flat(vec![1.0 + f32::EPSILON]), WITHIN).numbers.expect("a pair");
    assert_eq!(numbers.ulp_at_worst, Some(1));
    let numbers = judge(&flat(vec![1e-45]), &flat(vec![-1e-45]), WITHIN).numbers.expect("a pair");
    assert_eq!(numbers.ulp_at_worst, Some(2), "across zero");
}

fn masked() {
    let reference = Tensor::f64(&[2, 2], vec![0.5, f64::NEG_INFINITY, 0.25, 0.75]);
    let of = |values: Vec<f32>, masked| {
        let found = Tensor::f32(&[2, 2], values);
        compare(Pair { reference: &reference, found: &found, tolerance: WITHIN, masked })
    };
    for mask in [f32::NEG_INFINITY, -2e30, f32::MIN] {
        assert_eq!(of(vec![0.5, mask, 0.25, 0.75], true).verdict, Verdict::Pass, "{mask}");
    }
    for (wrong, why) in [(-1e4, "−1e4 is no mask"), (0.0, "nothing is masked"), (-0.99e30, "not below −1e30")] {
        let comparison = of(vec![0.5, wrong, 0.25, 0.75], true);
        assert_eq!(
            (comparison.verdict, comparison.numbers.map(|n| n.mask_differs)),
            (Verdict::Differs, Some(1)),
            "{why}"
        );
    }
    assert_eq!(of(vec![0.5, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.75], true).verdict, Verdict::Differs, "too much");
    assert_eq!(of(vec![0.5, f32::NAN, 0.25, 0.75], true).verdict, Verdict::Differs, "NaN is no mask");
    assert_eq!(of(vec![f32::NAN, f32::NEG_INFINITY, 0.25, 0.75], true).verdict, Verdict::NotFinite);
    assert_eq!(of(vec![0.5, f32::MIN, 0.25, 0.75], false).verdict, Verdict::Differs, "elsewhere −∞ is −∞");
}

fn not_a_number() {
    let reference = flat(vec![f32::NAN, f32::INFINITY, 1.0]);
    assert_eq!(judge(&reference, &reference, WITHIN).verdict, Verdict::Pass, "what the reference has too");
    assert_eq!(judge(&reference, &flat(vec![1.0, f32::INFINITY, 1.0]), WITHIN).verdict, Verdict::Differs);
    assert_eq!(judge(&reference, &flat(vec![f32::NAN, f32::NEG_INFINITY, 1.0]), WITHIN).verdict, Verdict::Differs);
    // In the middle of a long tensor, and at its end, where the quick look must see it.
    for at in [0, 5000, 9999] {
        let mut values = vec![0.25; 10_000];
        values[at] = f32::NAN;
        let comparison = judge(&flat(vec![0.25; 10_000]), &flat(values), WITHIN);
        let numbers = comparison.numbers.expect("a pair");
        assert_eq!((comparison.verdict, numbers.not_finite, numbers.needed_at), (Verdict::NotFinite, 1, at));
    }
}

fn relative_part() {
    let of = |reference: f32, found: f32| judge(&flat(vec![reference]), &flat(vec![found]), WITHIN).verdict;
    assert_eq!(of(0.5, 0.5009), Verdict::Pass);
    assert_eq!(of(0.5, 0.5011), Verdict::Differs, "absolute below 1");
    assert_eq!(of(-1000.0, -1000.9), Verdict::Pass);
    assert_eq!(of(-1000.0, -1001.1), Verdict::Differs, "relative above 1");
}

fn exact_is_bits() {
    let of = |reference: Tensor, found: Tensor| judge(&reference, &found, EXACT).verdict;
    assert_eq!(of(flat(vec![0.1, -2.0]), flat(vec![0.1, -2.0])), Verdict::Pass);
    assert_eq!(of(flat(vec![0.1]), flat(vec![0.1 + f32::EPSILON])), Verdict::Differs);
    assert_eq!(of(flat(vec![0.0]), flat(vec![-0.0])), Verdict::Differs);
    assert_eq!(of(Tensor::i64(&[2], vec![7, 8]), Tensor::i64(&[2], vec![7, 8])), Verdict::Pass);
    assert_eq!(of(Tensor::i64(&[2], vec![7, 8]), Tensor::i64(&[2], vec![7, 9])), Verdict::Differs);
}

/// Probabilities of logits that are inside their tolerance pass; those of another temperature don't.
fn probability() {
    let logits: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 50) / 9.0).collect();
    let softmax = |logits: &[f64], temperature: f64| {
        let powers: Vec<f64> = logits.iter().map(|logit| (logit / temperature).exp()).collect();
        let sum: f64 = powers.iter().sum();
        Tensor::f64(&[50], powers.iter().map(|power| power / sum).collect())
    };
    let scale = LogitScale { largest: logits.iter().fold(0.0, |largest, logit| logit.abs().max(largest)) };
    let stations = [(Station::SoftmaxHalf, 0.5), (Station::SoftmaxOne, 1.0), (Station::SoftmaxTwo, 2.0)];
    for (station, temperature) in stations {
        let terms = tolerance(Place::new(station, 0, 0), Profile::Exact, scale);
        let reference = softmax(&logits, temperature);
        let off: Vec<f64> = logits.iter().enumerate().map(|(i, x)| x + if i % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
        assert_eq!(judge(&reference, &softmax(&off, temperature), terms).verdict, Verdict::Pass, "at {temperature}");
        for wrong in [1.0 / temperature, temperature * 1.05] {
            if wrong != temperature {
                assert_eq!(judge(&reference, &softmax(&logits, wrong), terms).verdict, Verdict::Differs, "{wrong}");
            }
        }
    }
}

fn threads_change_nothing() {
    let noise =
        |seed: u32| (0..700_000_u32).map(|i| (i.wrapping_mul(2654435761).wrapping_add(seed) >> 8) as f32).collect();
    let tensors: Vec<Tensor> = (0..3).map(|seed| flat(noise(seed))).collect();
    let pair =
        |a: usize, b: usize| Pair { reference: &tensors[a], found: &tensors[b], tolerance: WITHIN, masked: false };
    let pairs = [pair(0, 1), pair(1, 2), pair(2, 2)];
    let one = compare_all(&pairs, 1);
    assert_eq!(one, compare_all(&pairs, 3));
    assert_eq!(one[2].verdict, Verdict::Pass);
    assert_eq!(compare_all(&[], 2), []);
}

fn names_are_read_back() {
    for station in Station::ALL {
        for (layer, step) in [(0, 0), (7, 0), (11, 0), (123, 0), (0, 3), (7, 12)] {
            let layer = if station.is_of_a_layer() { layer } else { 0 };
            let cached = matches!(station, Station::CachedKeys | Station::CachedValues);
            let place = Place::new(station, layer, if cached { step } else { 0 });
            assert_eq!(Place::of_name(&place.name()), Some(place), "{place}");
        }
    }
    assert_eq!(Place::of_name("cp01.ln_1.L00"), Some(Place::new(Station::LayerNorm1, 0, 0)));
    for unknown in [
        "",
        "cp01",
        "cp01.ln_2",
        "cp03.k",
        "cp03.step.k",
        "cp03.step+1.k",
        "cp03.step1.q",
        "cp08.block.",
        "cp08.block.x",
        "cp08.logits.L01",
        "cp01.ln_1.L",
        "cp01.ln_1.L-1",
        "cp01.ln_1.L99999999999999999999",
        "CP01.ln_1",
        "cp02.q ",
    ] {
        assert_eq!(Place::of_name(unknown), None, "{unknown:?}");
    }
}

fn places_sort_as_they_are_computed() {
    let order = [
        "cp00.embed",
        "cp01.ln_1",
        "cp02.q",
        "cp02.k",
        "cp02.v",
        "cp03.step0.k",
        "cp03.step0.v",
        "cp04.scores",
        "cp04.scores_masked",
        "cp05.probs",
        "cp05.merged",
        "cp05.attn_out",
        "cp07.attn_residual",
        "cp06.ln_2",
        "cp06.c_fc",
        "cp06.gelu",
        "cp06.c_proj",
        "cp07.block",
        "cp08.block.00",
        "cp01.ln_1.L01",
        "cp07.block.L01",
        "cp08.block.01",
        "cp01.ln_1.L10",
        "cp08.ln_f",
        "cp08.logits",
        "cp09.logits",
        "cp10.argmax",
        "cp11.probs.t0.5",
        "cp11.probs.t1.0",
        "cp11.probs.t2.0",
        "cp03.step1.k",
        "cp03.step1.v",
        "cp03.step1.k.L01",
        "cp03.step2.k",
        "cp03.step10.k",
        "cp12.ids",
    ];
    let places: Vec<Place> = order.iter().map(|name| Place::of_name(name).expect(name)).collect();
    assert!(places.is_sorted(), "{places:?}");
    let feeds = |a: &str, b: &str| Place::of_name(a).expect(a).feeds(Place::of_name(b).expect(b));
    for (a, b) in [
        ("cp01.ln_1", "cp02.v"),
        ("cp02.v", "cp05.merged"),
        ("cp02.k", "cp03.step0.k"),
        ("cp09.logits", "cp12.ids"),
        ("cp10.argmax", "cp03.step1.k"),
        ("cp02.q", "cp02.k.L01"),
    ] {
        assert!(feeds(a, b) && !feeds(b, a), "{a} goes into {b}");
    }
    for (a, b) in [
        ("cp02.q", "cp02.k"),
        ("cp02.v", "cp04.scores"),
        ("cp02.k", "cp03.step0.v"),
        ("cp10.argmax", "cp11.probs.t1.0"),
        ("cp11.probs.t0.5", "cp12.ids"),
        ("cp02.q", "cp02.q"),
    ] {
        assert!(!feeds(a, b), "{a} does not go into {b}");
    }
}

fn tolerances_have_reasons() {
    for station in Station::ALL {
        for profile in Profile::ALL {
            for layer in [0, 3] {
                let tolerance = tolerance(Place::new(station, layer, 0), profile, LogitScale::default());
                assert!(tolerance.reason.len() > 10, "{station:?}");
            }
        }
    }
    let of = |name: &str| {
        let place = Place::of_name(name).expect(name);
        tolerance(place, Profile::Exact, LogitScale::default()).rule.base()
    };
    let table = [
        ("cp01.ln_1", 1e-5),
        ("cp02.q", 1e-4),
        ("cp03.step1.k", 1e-4),
        ("cp04.scores_masked", 1e-4),
        ("cp05.attn_out", 1e-4),
        ("cp06.gelu", 1e-4),
        ("cp07.block", 1e-4),
        ("cp08.block.00", 1e-3),
        ("cp08.logits", 1e-3),
        ("cp09.logits", 1e-3),
        ("cp10.argmax", 0.0),
        ("cp11.probs.t1.0", 1e-6),
        ("cp12.ids", 0.0),
    ];
    for (name, expected) in table {
        assert_eq!(of(name), expected, "{name}");
    }
}

fn ggml_is_looser_only_after_gelu() {
    for station in Station::ALL {
        let of = |profile| tolerance(Place::new(station, 0, 0), profile, LogitScale::default()).rule;
        let looser = of(Profile::Exact) != of(Profile::Ggml);
        let is_id = matches!(station, Station::Argmax | Station::GeneratedIds);
        assert_eq!(looser, station >= Station::Gelu && !is_id, "{station:?}");
    }
}
