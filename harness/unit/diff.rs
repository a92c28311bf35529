//! The diff of two captures: each outcome, each verdict of a row, what is said of the first divergence, and the story.

use std::fmt;

use llorch::layers::Station;
use llorch::parity::capture::Summary;
use llorch::parity::capture::{Capture, Manifest, Sizes, Tensor, Values};
use llorch::parity::compare::Verdict;
use llorch::parity::diff::pattern::Kind;
use llorch::parity::diff::{Diff, Insight, Options, Outcome, Standing, Steps, diff, diff_logs, story};
use llorch::parity::log::{Meta, Record, Run, checkpoint};
use llorch::parity::{Log, Place, Profile};

pub const TESTS: &[(&str, fn())] = &[
    ("diff/parity", parity),
    ("diff/first_divergence", first_divergence),
    ("diff/not_comparable", not_comparable),
    ("diff/token_ids", token_ids),
    ("diff/missing", missing),
    ("diff/shape_count_nan", shape_count_and_nan),
    ("diff/independent", what_does_not_follow_is_no_consequence),
    ("diff/near_tie", near_tie),
    ("diff/generated_ids", generated_ids),
    ("diff/patterns", patterns),
    ("diff/location", location),
    ("diff/insight", insight),
    ("diff/logs", logs),
    ("diff/different_weights", different_weights),
    ("diff/json", json),
    ("diff/stories", stories),
];

const TOKENS: usize = 5;
const HEADS: usize = 2;
const HEAD_SIZE: usize = 4;
const WIDTH: usize = HEADS * HEAD_SIZE;
const VOCABULARY: usize = 24;

/// A capture of nothing in particular: noise of the right shapes, a causal mask, softmaxes and their choice.
pub fn toy() -> Capture {
    let mut state = 7_u64;
    let mut noise = |shape: &[usize]| {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        Tensor::f32(shape, (0..shape.iter().product()).map(|_| next()).collect())
    };
    let mut capture = Capture { manifest: manifest(), ..Capture::default() };
    for station in Station::ALL {
        let layers = if station.is_of_a_layer() { 2 } else { 1 };
        for layer in 0..layers {
            let steps = if matches!(station, Station::CachedKeys | Station::CachedValues) { 2 } else { 1 };
            for step in 0..steps {
                let tensor = match station {
                    Station::QueryRotated | Station::KeyRotated => continue,
                    Station::Gate | Station::Up | Station::GatedProduct => continue,
                    Station::Query | Station::Key | Station::Value => noise(&[TOKENS, HEADS, HEAD_SIZE]),
                    Station::CachedKeys | Station::CachedValues => noise(&[TOKENS + step, HEADS, HEAD_SIZE]),
                    Station::Scores | Station::Probabilities => noise(&[HEADS, TOKENS, TOKENS]),
                    Station::ScoresMasked => {
                        let mut scores = noise(&[HEADS, TOKENS, TOKENS]);
                        edit(&mut scores, |at, score| {
                            let (query, attended) = (at / TOKENS % TOKENS, at % TOKENS);
                            if attended > query { f32::NEG_INFINITY } else { score }
                        });
                        scores
                    }
                    Station::FeedForwardHidden | Station::Gelu => noise(&[TOKENS, 4 * WIDTH]),
                    Station::Logits => noise(&[TOKENS, VOCABULARY]),
                    Station::SelectedLogits => {
                        let logits = &capture.tensors["cp08.logits"].to_f64()[(TOKENS - 1) * VOCABULARY..];
                        Tensor::f32(&[VOCABULARY], logits.iter().map(|logit| *logit as f32).collect())
                    }
                    Station::Argmax => Tensor::i64(&[1], vec![best(&capture.tensors["cp09.logits"]) as i64]),
                    Station::SoftmaxHalf => softmax(&capture.tensors["cp09.logits"], 0.5),
                    Station::SoftmaxOne => softmax(&capture.tensors["cp09.logits"], 1.0),
                    Station::SoftmaxTwo => softmax(&capture.tensors["cp09.logits"], 2.0),
                    Station::GeneratedIds => {
                        Tensor::i64(&[4], vec![best(&capture.tensors["cp09.logits"]) as i64, 3, 1, 4])
                    }
                    _ => noise(&[TOKENS, WIDTH]),
                };
                capture.tensors.insert(station.name(layer, step), tensor);
            }
        }
    }
    capture
}

fn manifest() -> Manifest {
    Manifest {
        engine: "toy".to_owned(),
        engine_version: "1.0".to_owned(),
        model: "toy.safetensors".to_owned(),
        sizes: Sizes { n_layer: 2, n_head: HEADS, n_embd: WIDTH, n_ctx: 32, vocab_size: VOCABULARY },
        model_digest: "aa11".to_owned(),
        weights_dtype: "F32".to_owned(),
        compute_dtype: "F32".to_owned(),
        prompt_sha256: "cc33".to_owned(),
        token_ids: vec![1, 2, 3, 5, 8],
        steps: 1,
        ..Manifest::default()
    }
}

fn softmax(logits: &Tensor, temperature: f64) -> Tensor {
    let powers: Vec<f64> = logits.to_f64().iter().map(|logit| (logit / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    Tensor::f32(&[VOCABULARY], powers.iter().map(|power| (power / sum) as f32).collect())
}

fn best(logits: &Tensor) -> usize {
    let logits = logits.to_f64();
    (0..logits.len()).reduce(|best, at| if logits[at] > logits[best] { at } else { best }).expect("logits")
}

fn edit(tensor: &mut Tensor, value: impl Fn(usize, f32) -> f32) {
    let Values::F32(values) = &mut tensor.values else { panic!("a tensor of f32") };
    values.iter_mut().enumerate().for_each(|(at, old)| *old = value(at, *old));
}

/// The toy with one tensor changed, element by element.
pub fn with(name: &str, value: impl Fn(usize, f32) -> f32) -> Capture {
    let mut capture = toy();
    edit(capture.tensors.get_mut(name).expect(name), value);
    capture
}

fn against_toy(found: &Capture) -> Diff {
    diff(&toy(), found, Options::default())
}

fn verdict(diff: &Diff, name: &str) -> (Verdict, Standing) {
    let row = diff.rows.iter().find(|row| row.name == name).expect(name);
    (row.comparison.verdict, row.standing())
}

fn first(diff: &Diff) -> String {
    diff.first.as_ref().map(|first| first.place.name()).unwrap_or_default()
}

fn parity() {
    let same = against_toy(&toy());
    assert_eq!((same.outcome, same.outcome.exit_code(), same.first.is_none()), (Outcome::Parity, 0, true));
    assert!(same.rows.iter().all(|row| row.comparison.verdict == Verdict::Pass));
    assert_eq!(same.rows.len(), toy().tensors.len());
    let noisy = with("cp02.q", |_, value| value + 5e-5);
    assert_eq!(against_toy(&noisy).outcome, Outcome::Parity, "inside the tolerance");
    let mut more = toy();
    more.tensors.insert("cp02.own_idea".to_owned(), Tensor::f32(&[1], vec![1.0]));
    let more = against_toy(&more);
    assert_eq!((more.outcome, verdict(&more, "cp02.own_idea").0), (Outcome::Parity, Verdict::NotCompared));
    assert_eq!(more.rows.last().map(|row| row.name.as_str()), Some("cp02.own_idea"), "unknown names come last");
    let nothing = Capture { manifest: manifest(), ..Capture::default() };
    assert_eq!(
        diff(&nothing, &nothing, Options::default()).outcome,
        Outcome::Divergence,
        "nothing compared is not passed"
    );
}

/// Whatever station is wrong, it is named, and none other.
fn first_divergence() {
    for (name, tensor) in &toy().tensors {
        let mut found = toy();
        match &tensor.values {
            Values::I64(values) => {
                let wrong = values.iter().map(|id| id ^ 1).collect();
                found.tensors.insert(name.clone(), Tensor::i64(&tensor.shape, wrong));
            }
            _ => edit(found.tensors.get_mut(name).expect(name), |_, value| value * 1.1 + 0.01),
        }
        let result = against_toy(&found);
        assert_eq!((result.outcome, first(&result)), (Outcome::Divergence, name.clone()));
        assert_eq!(verdict(&result, name), (Verdict::Differs, Standing::Diverges));
        assert_eq!(result.count(Standing::Agrees), tensor_count() - 1, "{name}");
    }
    // Everything after it follows from it.
    let mut found = toy();
    for name in ["cp01.ln_1", "cp02.q", "cp07.block", "cp08.ln_f", "cp03.step1.v.L01"] {
        edit(found.tensors.get_mut(name).expect(name), |_, value| value + 1.0);
    }
    let result = against_toy(&found);
    assert_eq!(
        (first(&result), result.count(Standing::Diverges), result.count(Standing::Downstream)),
        ("cp01.ln_1".into(), 1, 4)
    );
}

fn tensor_count() -> usize {
    toy().tensors.len()
}

type Change = fn(&mut Manifest);

fn not_comparable() {
    let changes: [(&str, Change); 9] = [
        ("model_digest", |it| it.model_digest = "bb22".to_owned()),
        ("architecture", |it| it.architecture = "llama".to_owned()),
        ("sizes.n_layer", |it| it.sizes.n_layer = 3),
        ("sizes.n_head", |it| it.sizes.n_head = 4),
        ("sizes.n_embd", |it| it.sizes.n_embd = 16),
        ("sizes.n_ctx", |it| it.sizes.n_ctx = 64),
        ("sizes.vocab_size", |it| it.sizes.vocab_size = 25),
        ("prompt_sha256", |it| it.prompt_sha256 = "dd44".to_owned()),
        ("start_pos", |it| it.start_pos = 1),
    ];
    for (field, change) in changes {
        let mut found = toy();
        change(&mut found.manifest);
        let result = against_toy(&found);
        assert_eq!((result.outcome, result.outcome.exit_code()), (Outcome::NotComparable, 3), "{field}");
        let fields: Vec<&str> = result.mismatches.iter().map(|mismatch| mismatch.field).collect();
        assert_eq!(fields, [field]);
        assert!(result.rows.is_empty(), "nothing is compared");
        assert!(story::tell(&result).contains(field));
    }
    let mut nameless = toy();
    nameless.manifest.model_digest.clear();
    let result = against_toy(&nameless);
    assert_eq!((result.outcome, result.unknown.as_slice()), (Outcome::Parity, &["model_digest"][..]));
    assert!(story::tell(&result).contains("not known  model_digest"));
    // Without the prompt's digest its tokens are the prompt.
    nameless.manifest.prompt_sha256.clear();
    nameless.manifest.token_ids = vec![9];
    assert_eq!(against_toy(&nameless).mismatches[0].field, "token_ids");
}

fn token_ids() {
    for (ids, words) in [
        (vec![0, 1, 2, 3, 5, 8], "a BOS was prepended"),
        (vec![1, 2, 3, 5, 8, 0], "was appended"),
        (vec![1, 2, 3, 5, 8, 1, 2, 3, 5, 8], "fed twice"),
        (vec![2, 3, 5, 8], "the first 1 of the prompt's tokens are missing"),
        (vec![1, 2, 3], "the last 2 of the prompt's tokens are missing"),
        (vec![1, 2, 4, 5, 8], "token 2 is 4, expected 3"),
    ] {
        let mut found = toy();
        found.manifest.token_ids = ids;
        let result = against_toy(&found);
        assert_eq!((result.outcome, result.first.is_none()), (Outcome::Divergence, true), "{words}");
        let told = plain(&result);
        assert!(told.contains(words) && told.starts_with("DIVERGES  at the token ids"), "{told}");
    }
}

fn missing() {
    let without = |names: &[&str]| {
        let mut found = toy();
        found.tensors.retain(|name, _| !names.contains(&name.as_str()));
        against_toy(&found)
    };
    for name in
        ["cp01.ln_1", "cp03.step1.k", "cp07.block.L01", "cp08.block.01", "cp09.logits", "cp10.argmax", "cp12.ids"]
    {
        let result = without(&[name]);
        assert_eq!((verdict(&result, name).0, result.outcome), (Verdict::Missing, Outcome::Divergence), "{name}");
        assert!(plain(&result).contains(&format!("missing from the found capture: {name}")), "{}", plain(&result));
    }
    for name in ["cp00.embed", "cp05.probs", "cp05.merged", "cp06.ln_2", "cp07.attn_residual"] {
        let result = without(&[name]);
        assert_eq!((verdict(&result, name).0, result.outcome), (Verdict::NotCompared, Outcome::Parity), "{name}");
        assert!(plain(&result).contains("1 tensor was not compared"));
    }
    // Captured with layer 0 only, and without a decode step: told, and no failure.
    let names: Vec<String> = toy().tensors.keys().filter(|name| name.ends_with(".L01")).cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(without(&names).outcome, Outcome::Parity);
    assert_eq!(
        without(&["cp03.step1.k", "cp03.step1.v", "cp03.step1.k.L01", "cp03.step1.v.L01"]).outcome,
        Outcome::Parity
    );
    // A divergence after something missing may have begun there.
    let mut found = with("cp04.scores", |_, value| value * 8.0);
    found.tensors.remove("cp02.q");
    assert!(plain(&against_toy(&found)).contains("cp02.q is missing: it may begin there"));
}

fn shape_count_and_nan() {
    let mut found = toy();
    found.tensors.get_mut("cp05.attn_out").expect("a tensor").shape = vec![WIDTH, TOKENS];
    let result = against_toy(&found);
    assert_eq!((verdict(&result, "cp05.attn_out").0, first(&result)), (Verdict::Shape, "cp05.attn_out".to_owned()));
    assert!(plain(&result).contains("shape [8, 5], expected [5, 8]"), "{}", plain(&result));
    let mut found = toy();
    let Values::F32(values) = &mut found.tensors.get_mut("cp05.attn_out").expect("a tensor").values else { panic!() };
    values.pop();
    assert_eq!(verdict(&against_toy(&found), "cp05.attn_out").0, Verdict::Count);
    let found = with("cp06.gelu", |at, value| if at == 77 { f32::NAN } else { value });
    let result = against_toy(&found);
    assert_eq!((verdict(&result, "cp06.gelu").0, first(&result)), (Verdict::NotFinite, "cp06.gelu".to_owned()));
    let location = result.first.and_then(|first| first.location).expect("a place");
    assert_eq!(location.told_index(), "position 2, channel 13");
}

fn what_does_not_follow_is_no_consequence() {
    let mut found = with("cp02.q", |_, value| value * 2.0);
    edit(found.tensors.get_mut("cp02.v").expect("values"), |_, value| -value);
    edit(found.tensors.get_mut("cp04.scores").expect("scores"), |_, value| value * 2.0);
    let result = against_toy(&found);
    assert_eq!(verdict(&result, "cp02.v").1, Standing::Diverges, "values are not made of queries");
    assert_eq!(verdict(&result, "cp04.scores").1, Standing::Downstream);
    assert!(plain(&result).contains("cp02.v, which cp02.q does not go into"));
}

/// Logits with two candidates 1e-4 apart.
fn tied() -> Capture {
    let mut capture = with("cp09.logits", |at, _| [2.0, 1.9999, 1.0][at.min(2)]);
    let set = |capture: &mut Capture, name: &str, tensor: Tensor| capture.tensors.insert(name.to_owned(), tensor);
    set(&mut capture, "cp10.argmax", Tensor::i64(&[1], vec![0]));
    set(&mut capture, "cp12.ids", Tensor::i64(&[4], vec![0, 3, 1, 4]));
    for (name, temperature) in [("cp11.probs.t0.5", 0.5), ("cp11.probs.t1.0", 1.0), ("cp11.probs.t2.0", 2.0)] {
        let probabilities = softmax(&capture.tensors["cp09.logits"], temperature);
        set(&mut capture, name, probabilities);
    }
    capture
}

fn near_tie() {
    let choose = |own: [f32; 2], id: i64| {
        let mut found = tied();
        edit(found.tensors.get_mut("cp09.logits").expect("logits"), |at, value| *own.get(at).unwrap_or(&value));
        found.tensors.insert("cp10.argmax".to_owned(), Tensor::i64(&[1], vec![id]));
        let result = diff(&tied(), &found, Options::default());
        (verdict(&result, "cp10.argmax").0, result.outcome)
    };
    assert_eq!(choose([2.0, 1.9999], 0), (Verdict::Pass, Outcome::Parity));
    assert_eq!(choose([1.9999, 2.0], 1), (Verdict::NearTie, Outcome::Divergence), "neither pass nor plain failure");
    assert_eq!(choose([2.0, 1.9999], 1), (Verdict::Differs, Outcome::Divergence), "its own logits say 0");
    assert_eq!(choose([1.0, 2.0], 1).0, Verdict::Differs, "the logits differ for good");
    // An exact tie goes to the lowest id: choosing another is wrong, not near.
    let mut exact = tied();
    edit(exact.tensors.get_mut("cp09.logits").expect("logits"), |at, value| if at == 1 { 2.0 } else { value });
    let mut highest = exact.clone();
    highest.tensors.insert("cp10.argmax".to_owned(), Tensor::i64(&[1], vec![1]));
    assert_eq!(verdict(&diff(&exact, &highest, Options::default()), "cp10.argmax").0, Verdict::Differs);
}

fn generated_ids() {
    let of = |ids: &[i64]| {
        let mut found = toy();
        found.tensors.insert("cp12.ids".to_owned(), Tensor::i64(&[ids.len()], ids.to_vec()));
        let result = against_toy(&found);
        let row = result.rows.iter().find(|row| row.name == "cp12.ids").expect("a row");
        (row.comparison.verdict, row.comparison.remark.clone().unwrap_or_default())
    };
    let start = best(&toy().tensors["cp09.logits"]) as i64;
    assert_eq!(of(&[start, 3, 1, 4]).0, Verdict::Pass);
    assert_eq!(of(&[start, 3, 2, 4]).0, Verdict::Differs);
    let (short, told) = of(&[start, 3, 1]);
    assert_eq!((short, told.as_str()), (Verdict::Count, "3 tokens, expected 4; as far as they go they agree"));
    let (other, told) = of(&[start, 9]);
    assert!(other == Verdict::Differs && told.starts_with("token 1 is 9, expected 3"), "{told}");
}

fn patterns() {
    let toy = toy();
    let values = |name: &str| toy.tensors[name].to_f64().iter().map(|value| *value as f32).collect::<Vec<f32>>();
    let kinds = |found: &Capture| {
        let result = against_toy(found);
        let first = result.first.expect("a divergence");
        first.patterns.iter().map(|pattern| pattern.kind).collect::<Vec<_>>()
    };
    let bias: Vec<f32> = (0..WIDTH).map(|c| c as f32 * 0.1 - 0.3).collect();
    let (q, ln, probs) = (values("cp02.q"), values("cp01.ln_1"), values("cp05.probs"));
    assert_eq!(kinds(&with("cp04.scores", |_, value| value * 2.0)), [Kind::Ratio]);
    assert_eq!(kinds(&with("cp02.q", |_, value| -value)), [Kind::Sign]);
    assert_eq!(kinds(&with("cp02.q", |_, value| value + 0.25)), [Kind::Offset]);
    assert_eq!(kinds(&with("cp02.q", |_, _| 0.0)), [Kind::Zero]);
    assert_eq!(kinds(&with("cp01.ln_1", |at, value| value - bias[at % WIDTH])), [Kind::OffsetByChannel]);
    assert_eq!(kinds(&with("cp01.ln_1", |at, value| value * (1.0 + bias[at % WIDTH]))), [Kind::RatioByChannel]);
    assert_eq!(
        kinds(&with("cp01.ln_1", |at, value| value * [0.9, 1.2, 0.7, 1.1, 0.8][at / WIDTH])),
        [Kind::RatioByRow]
    );
    let shifted = with("cp01.ln_1", |at, value| value * [0.9, 1.2, 0.7, 1.1, 0.8][at / WIDTH] + 0.3);
    assert_eq!(kinds(&shifted), [Kind::AffineByRow]);
    let heads_swapped = with("cp02.q", |at, _| q[at / WIDTH * WIDTH + (at + HEAD_SIZE) % WIDTH]);
    assert_eq!(kinds(&heads_swapped), [Kind::Permutation]);
    let reversed = with("cp01.ln_1", |at, _| ln[(TOKENS - 1 - at / WIDTH) * WIDTH + at % WIDTH]);
    assert_eq!(kinds(&reversed), [Kind::Permutation]);
    let square = |at: usize| (at / (TOKENS * TOKENS), at / TOKENS % TOKENS, at % TOKENS);
    let transposed = with("cp05.probs", |at, _| {
        let (head, row, column) = square(at);
        probs[(head * TOKENS + column) * TOKENS + row]
    });
    assert_eq!(kinds(&transposed), [Kind::Transposition]);
    let k = values("cp02.k");
    assert_eq!(kinds(&with("cp02.q", |at, _| k[at])), [Kind::OtherTensor]);
    assert_eq!(kinds(&with("cp01.ln_1", |at, _| ln[(at * 7 + 3) % ln.len()])), [Kind::Rearranged]);
    let unmasked = with("cp04.scores_masked", |_, value| if value.is_finite() { value } else { 0.0 });
    assert_eq!(kinds(&unmasked)[0], Kind::Mask);
    let noise = |at: usize| ((at * 2654435761) % 1000) as f32 / 1000.0 - 0.5;
    assert_eq!(kinds(&with("cp01.ln_1", |at, value| value + noise(at))), [Kind::Unknown]);
    let growing = with("cp01.ln_1", |at, value| value + noise(at) * 0.01 * 4_f32.powi((at / WIDTH) as i32));
    assert_eq!(kinds(&growing), [Kind::Growth]);
}

fn location() {
    // Head 1, positions 2 to 4.
    let touched = |at: usize| at / HEAD_SIZE % HEADS == 1 && at / WIDTH >= 2;
    let found = with("cp02.k", |at, value| if touched(at) { value + 0.5 + at as f32 / 100.0 } else { value });
    let first = against_toy(&found).first.expect("a divergence");
    let location = first.location.expect("a place");
    assert_eq!((location.beyond, location.count), (3 * HEAD_SIZE, TOKENS * WIDTH));
    assert_eq!(location.told_extent(), "positions 2 to 4 of 5, head 1 only");
    assert_eq!(location.told_index(), "position 4, head 1, channel 3");
    let difference = location.found - location.expected;
    assert!((difference - 0.89).abs() < 1e-6, "{difference}");
    assert_eq!((location.window.axis, location.window.from, location.window.at), ("channel", 0, 3));
    assert_eq!(location.window.found.len(), HEAD_SIZE);
}

/// Knows the right attention output, and a name.
struct Knows;

impl Insight for Knows {
    fn steps<'a>(&'a self, _: &'a Capture) -> Steps<'a> {
        let knows = |place: Place| place.station == Station::AttentionOutput && place.layer == 0;
        Box::new(move |place| knows(place).then(|| toy().tensors["cp05.attn_out"].clone()))
    }

    fn diagnose(&self, _: &Capture, _: &Capture) -> Option<Box<dyn fmt::Display>> {
        Some(Box::new("a mistake"))
    }
}

fn insight() {
    let mut found = with("cp02.q", |_, value| value * 2.0);
    edit(found.tensors.get_mut("cp05.attn_out").expect("a tensor"), |_, value| value + 0.5);
    let result = diff(&toy(), &found, Options { insight: Some(&Knows), ..Options::default() });
    assert_eq!(result.first.as_ref().and_then(|first| first.diagnosis.as_deref()), Some("a mistake"));
    let row = result.rows.iter().find(|row| row.name == "cp05.attn_out").expect("a row");
    assert_eq!(row.local.map(|local| local.verdict), Some(Verdict::Differs));
    let told = plain(&result);
    assert!(told.contains("Cause       a mistake") && told.contains("by itself"), "{told}");
    assert!(told.contains("cp05.attn_out is wrong on its own inputs too"), "{told}");
}

/// The toy as a parity log: the first four numbers of each tensor.
fn log_of(capture: &Capture) -> Log {
    let mut run = Run { meta: Meta { engine: "toy".to_owned(), ..Meta::default() }, ..Run::default() };
    for (name, tensor) in &capture.tensors {
        let place = Place::of_name(name).expect("a station");
        let summary = Summary::of(name, tensor);
        let record = Record {
            ts: String::new(),
            team: "test".to_owned(),
            checkpoint: checkpoint(place.station),
            token_idx: if place.step == 0 { 0 } else { TOKENS + place.step - 1 },
            layer: place.layer,
            dtype: summary.dtype,
            shape: summary.shape,
            values: summary.head,
            digest: summary.sha256,
            count: summary.count,
            statistics: summary.statistics,
            source: "toy".to_owned(),
        };
        run.records.insert(record.key(), record);
    }
    Log { runs: vec![run], dropped: 0 }
}

fn logs() {
    let of = |found: &Log| diff_logs(&log_of(&toy()), found);
    let same = of(&log_of(&toy()));
    assert_eq!((same.outcome, same.rows.len()), (Outcome::Parity, tensor_count()));
    assert!(same.rows.iter().any(|row| row.name == "cp03.step1.k.L01 at token 5"));
    let early = of(&log_of(&with("cp04.scores", |_, value| value * 2.0)));
    assert_eq!((early.outcome, first(&early)), (Outcome::Divergence, "cp04.scores".to_owned()));
    // Beyond the first numbers only statistics see it.
    let late = of(&log_of(&with("cp06.gelu", |at, value| if at > 100 { value + 2.0 } else { value })));
    assert_eq!(first(&late), "cp06.gelu");
    assert!(plain(&late).contains("its first 4 numbers agree"), "{}", plain(&late));
    let nan = of(&log_of(&with("cp06.gelu", |at, value| if at == 100 { f32::NAN } else { value })));
    assert_eq!(verdict(&nan, "cp06.gelu").0, Verdict::NotFinite);
    let mut gap = log_of(&toy());
    gap.runs[0].records.retain(|key, _| key.checkpoint != "cp02.q");
    assert_eq!((verdict(&of(&gap), "cp02.q").0, of(&gap).outcome), (Verdict::Missing, Outcome::Divergence));
    let mut other = log_of(&toy());
    other.runs[0].meta.model_digest = "bb".to_owned();
    let mut known = log_of(&toy());
    known.runs[0].meta.model_digest = "aa".to_owned();
    assert_eq!(diff_logs(&known, &other).outcome, Outcome::NotComparable);
    assert_eq!(of(&Log { dropped: 3, ..log_of(&toy()) }).outcome, Outcome::Divergence, "records were dropped");
}

fn different_weights() {
    let options = Options { allow_different_weights: true, ..Options::default() };
    let quantised = |noise: f32, dtype: &str| {
        let mut found = with("cp02.q", |at, value| value + noise * if at % 2 == 0 { 1.0 } else { -1.0 });
        found.manifest.model_digest = "q8".to_owned();
        found.manifest.weights_dtype = dtype.to_owned();
        found
    };
    assert_eq!(against_toy(&quantised(0.01, "Q8_0")).outcome, Outcome::NotComparable, "unless it is asked for");
    let result = diff(&toy(), &quantised(0.01, "Q8_0"), options);
    assert_eq!(result.outcome, Outcome::Parity);
    assert!(plain(&result).contains(" dB"));
    assert_eq!(diff(&toy(), &quantised(0.2, "Q8_0"), options).outcome, Outcome::Divergence);
    assert_eq!(diff(&toy(), &quantised(0.2, "Q4_0"), options).outcome, Outcome::Parity);
}

fn json() {
    let found = with("cp06.gelu", |at, value| if at == 3 { f32::INFINITY } else { value });
    let value = serde_json::to_value(against_toy(&found)).expect("JSON has words for it");
    assert_eq!((&value["outcome"], &value["first"]["place"]), (&"divergence".into(), &"cp06.gelu".into()));
    assert_eq!(value["first"]["location"]["found"], "inf");
    assert_eq!(value["rows"][0]["name"], "cp00.embed");
    assert_eq!(value["rows"][0]["comparison"]["verdict"], "PASS");
    assert_eq!(value["profile"], "exact");
    let mut ggml = toy();
    ggml.manifest.tolerance_profile = "ggml".to_owned();
    let result = against_toy(&ggml);
    assert_eq!(result.profile, Profile::Ggml);
    assert!(plain(&result).contains("profile    ggml: "), "a profile that was used is named");
}

fn plain(diff: &Diff) -> String {
    anstream::adapter::strip_str(&story::tell(diff)).to_string()
}

fn stories() {
    insta::assert_snapshot!("diff_parity", plain(&against_toy(&toy())));
    let scale = with("cp04.scores", |_, value| value * 2.0);
    insta::assert_snapshot!("diff_scale_missing", plain(&against_toy(&scale)));
    let one_head = with("cp02.k", |at, value| if at / HEAD_SIZE % HEADS == 1 { value + 0.125 } else { value });
    insta::assert_snapshot!("diff_one_head", plain(&against_toy(&one_head)));
    let mut other = toy();
    other.manifest.model_digest = "bb22".to_owned();
    insta::assert_snapshot!("diff_not_comparable", plain(&against_toy(&other)));
    let mut bos = toy();
    bos.manifest.token_ids.insert(0, 0);
    insta::assert_snapshot!("diff_bos", plain(&against_toy(&bos)));
    assert!(story::tell(&against_toy(&scale)).contains('\x1b'), "colours, which a stream may strip");
}
