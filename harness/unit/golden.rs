//! The committed goldens: all there, read strictly, told in a snapshot, and of one mind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use llorch::model::digest::model_digest;
use llorch::model::file;
use llorch::parity::capture::{Capture, Tensor, Values};
use llorch::parity::golden::review::{self, Writing};
use llorch::parity::golden::{Golden, GoldenError, Required, required, unlisted};
use serde_json::Value;
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("golden/every_one_is_there", every_one_is_there),
    ("golden/a_missing_one_is_named", a_missing_one_is_named),
    ("golden/summaries", summaries),
    ("golden/independent_engines_agree", independent_engines_agree),
    ("golden/agreement_can_fail", agreement_can_fail),
    ("golden/of_one_model", of_one_model),
    ("golden/slices", slices),
    ("golden/statistics_of_the_whole", statistics_of_the_whole),
    ("golden/slices_that_lie", slices_that_lie),
    ("golden/accept", accept),
    ("golden/reject", reject),
    ("golden/never_in_ci", never_in_ci),
    ("golden/mistakes_made_by_hand", mistakes_made_by_hand),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn all() -> Vec<Required> {
    required(&folder()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn read(path: &Path) -> Golden {
    Golden::read(path).unwrap_or_else(|problem| panic!("{problem}"))
}

fn every_one_is_there() {
    assert_eq!(
        unlisted(&folder()).expect("a readable folder"),
        Vec::<PathBuf>::new(),
        "the table asks for every golden"
    );
    for one in all() {
        assert_eq!(read(&one.path(&folder())).capture.manifest.model, one.model);
    }
}

fn a_missing_one_is_named() {
    let place = TempDir::new().expect("a folder");
    fs::copy(folder().join("goldens.json"), place.path().join("goldens.json")).expect("a copy");
    let problem = required(place.path()).expect_err("no golden is there");
    assert!(matches!(&problem, GoldenError::Missing { name } if name.starts_with("recipe-gpt2/")), "{problem}");
}

/// A page of text for each, beside it: what a review of a change looks at.
fn summaries() {
    for one in all() {
        let path = one.path(&folder());
        let golden = read(&path);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().expect("a folder above"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(one.prompt.as_str(), golden.to_string()));
    }
}

/// How far two engines may be apart: the tolerances of the stations, and what ggml's GELU table adds to them.
fn allowed(name: &str, is_shipped: bool) -> f64 {
    let station = name.split('.').next().unwrap_or_default();
    match (station, is_shipped) {
        ("cp00" | "cp01", _) => 1e-5,
        ("cp08" | "cp09", false) => 1e-3,
        // Before the first GELU nothing is different.
        ("cp02" | "cp04" | "cp05", _) | ("cp03" | "cp06" | "cp07" | "cp11", false) => 1e-4,
        ("cp03", true) => 1e-4,
        ("cp06" | "cp07" | "cp11", true) => 2e-3,
        ("cp08" | "cp09", true) => 2e-2,
        _ => panic!("{name} has no tolerance"),
    }
}

/// The tensors that are further apart than that.
fn apart(reference: &Capture, found: &Capture, is_shipped: bool) -> Vec<String> {
    let mut apart = Vec::new();
    for (name, expected) in reference.tensors.iter().filter(|(name, _)| !name.starts_with("cp12.margins")) {
        let Some(found) = found.tensors.get(name).filter(|found| found.shape == expected.shape) else {
            apart.push(format!("{name}: not there, or of another shape"));
            continue;
        };
        if let (Values::I64(expected), Values::I64(found)) = (&expected.values, &found.values) {
            if expected != found {
                apart.push(format!("{name}: {found:?}, expected {expected:?}"));
            }
            continue;
        }
        let distance = |(expected, found): (&f64, &f64)| match (*expected, *found) {
            (expected, found) if expected == found => 0.0, // −∞ too
            (expected, found) => (expected - found).abs() / expected.abs().max(1.0),
        };
        let (expected, found) = (expected.to_f64(), found.to_f64());
        let worst = expected
            .iter()
            .zip(found.iter())
            .map(distance)
            .fold(0.0, |worst: f64, one| if one.is_nan() { f64::INFINITY } else { worst.max(one) });
        if worst > allowed(name, is_shipped) {
            apart.push(format!("{name}: {worst:.1e}"));
        }
    }
    apart
}

/// The step at which two engines choose different tokens, where the reference's choice hung on less than they differ by.
fn near_tie(reference: &Capture, found: &Capture) -> Option<usize> {
    let numbers = |capture: &Capture, name: &str| capture.tensors[name].to_f64().into_owned();
    let logits = |capture| numbers(capture, "cp09.logits");
    let error = logits(reference).iter().zip(logits(found)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let ids = |capture| numbers(capture, "cp12.ids");
    let step = ids(reference).iter().zip(ids(found)).position(|(expected, found)| *expected != found)?;
    (numbers(reference, "cp12.margins")[step] < 2.0 * error).then_some(step)
}

/// Transformers and llama.cpp share no code: what both say within the tolerance, the tolerance can ask of a third.
fn independent_engines_agree() {
    let (mut compared, mut near_ties): (usize, Vec<(String, usize)>) = (0, Vec::new());
    for one in all().iter().filter(|one| one.engine != "transformers") {
        let found = read(&one.path(&folder()));
        let reference = read(&Required { engine: "transformers".to_owned(), ..one.clone() }.path(&folder()));
        // Where the reference is whole, it is cut as the other one; else both were.
        let cut = if reference.slices.is_empty() { found.cut(&reference.capture) } else { Ok(reference.capture) };
        let mut cut = cut.expect("of the same shapes");
        if let Some(step) = near_tie(&cut, &found.capture) {
            near_ties.push((one.name(), step));
            // From there on the two write different texts.
            let is_after = |name: &str| match name.strip_prefix("cp03.step") {
                Some(rest) => {
                    rest.chars().next().and_then(|digit| digit.to_digit(10)).is_some_and(|at| at as usize > step)
                }
                None => name.starts_with("cp12") || (step == 0 && name.starts_with("cp10")),
            };
            cut.tensors.retain(|name, _| !is_after(name));
        }
        let differences = apart(&cut, &found.capture, one.engine == "llama.cpp-shipped");
        assert_eq!(differences, Vec::<String>::new(), "{}", one.name());
        compared += found.capture.tensors.len();
    }
    assert!(compared > 1000, "{compared} tensors were compared");
    // One, and known: the best two logits are 2.0e-3 apart, and ggml's GELU moves logits by 4.7e-3.
    assert_eq!(near_ties, [("recipe-gpt2-medium/llama.cpp-shipped/hello-ids".to_owned(), 0)]);
}

fn agreement_can_fail() {
    // Another token, chosen by far, is no near tie.
    let golden = read(&folder().join("tiny/transformers/hello")).capture;
    let mut other = golden.clone();
    other.tensors.insert("cp12.ids".to_owned(), Tensor::i64(&[12], vec![1; 12]));
    assert_eq!(near_tie(&golden, &other), None);
    assert_eq!(apart(&golden, &other, false).len(), 1);

    let change = |name: &str, by: f32| {
        let mut changed = golden.clone();
        let tensor = changed.tensors.get_mut(name).expect("a tensor");
        let Values::F32(values) = &mut tensor.values else { panic!("{name} is stored as f32") };
        values[7] += by;
        apart(&golden, &changed, false)
    };
    assert_eq!(change("cp01.ln_1", 1e-4).len(), 1);
    assert_eq!(change("cp06.gelu", f32::NAN).len(), 1);
    assert_eq!(change("cp06.gelu", 1e-7).len(), 0);
    let mut lacking = golden.clone();
    lacking.tensors.remove("cp08.ln_f");
    assert_eq!(apart(&golden, &lacking, false).len(), 1);
}

/// One digest for the same model, whoever loaded it and from which format; the recipes' as both implementations write them.
fn of_one_model() {
    let known = fs::read_to_string(folder().join("../fixtures/recipe/digests.json")).expect("digests");
    let known: Vec<Value> = serde_json::from_str(&known).expect("JSON");
    let digest = |size: &str| {
        let of = known.iter().find(|entry| entry["size"] == size && entry["seed"] == 1).expect("a digest of the size");
        of["model_digest"].as_str().expect("a text").to_owned()
    };
    let tiny = file::open(&folder().join("../fixtures/tiny"), &mut |_| ()).expect("the tiny model");
    let mut digests = BTreeMap::from([
        ("tiny".to_owned(), model_digest(&tiny.weights)),
        ("recipe-odd".to_owned(), digest("odd")),
        ("recipe-gpt2".to_owned(), digest("gpt2")),
        ("recipe-gpt2-medium".to_owned(), digest("gpt2-medium")),
    ]);
    for one in all() {
        let manifest = read(&one.path(&folder())).capture.manifest;
        let expected = digests.entry(one.model.clone()).or_insert_with(|| manifest.model_digest.clone());
        assert_eq!(*expected, manifest.model_digest, "{}", one.name());
    }
}

/// The same rule in both languages: what the Python scripts cut from a whole is what is cut here.
fn slices() {
    let whole = read(&folder().join("tiny/transformers/life"));
    let golden = read(&folder().join("tiny/llama.cpp/life"));
    assert!(whole.slices.is_empty() && golden.slices.len() > 10);
    let cut = golden.cut(&whole.capture).expect("the same shapes");
    let (name, slices) = golden.slices.iter().find(|(name, _)| *name == "cp08.logits").expect("logits are cut");
    assert_eq!(golden.coverage(name).expect("cut"), "2048 of 26624 elements, and statistics");
    assert_eq!(slices.index(0), [0, 0]);
    assert_eq!(slices.index(slices.kept() - 1), [25, 1023]);
    let (Values::F32(all), Values::F32(kept)) = (&whole.capture.tensors[name].values, &cut.tensors[name].values) else {
        panic!("stored as f32")
    };
    for (at, value) in kept.iter().enumerate() {
        let index = slices.index(at);
        assert_eq!(all[index[0] * 1024 + index[1]], *value);
    }
    assert_eq!(golden.coverage("cp10.argmax"), None);

    let mut other = whole.capture.clone();
    other.tensors.insert("cp08.logits".to_owned(), Tensor::f32(&[1], vec![0.0]));
    assert!(matches!(golden.cut(&other), Err(GoldenError::Shape { .. })));
}

/// A change outside the slices shows in the statistics.
fn statistics_of_the_whole() {
    let whole = read(&folder().join("tiny/transformers/life")).capture;
    let golden = read(&folder().join("tiny/llama.cpp/life"));
    let worst = |capture: &Capture| {
        let of_tensor = |(name, slices): (&String, &llorch::parity::golden::slices::Slices)| {
            let differences = slices.statistics(&capture.tensors[name]);
            differences.iter().map(|one| one.difference).fold(0.0, f64::max)
        };
        golden.slices.iter().map(of_tensor).fold(0.0, f64::max)
    };
    assert!(worst(&whole) < 1e-5, "{}", worst(&whole));
    let slices = &golden.slices["cp06.gelu"];
    let kept: Vec<Vec<usize>> = (0..slices.kept()).map(|at| slices.index(at)).collect();
    let width = slices.of.shape[1];
    let outside =
        (0..slices.of.count).find(|flat| !kept.contains(&vec![flat / width, flat % width])).expect("not kept");
    for value in [100.0, f32::NAN] {
        let mut changed = whole.clone();
        let Values::F32(values) = &mut changed.tensors.get_mut("cp06.gelu").expect("there").values else {
            panic!("f32")
        };
        values[outside] = value;
        assert!(worst(&changed) > 1e-2, "{value}");
        let cut = golden.cut(&changed).expect("the same shapes");
        assert_eq!(cut.tensors["cp06.gelu"], golden.cut(&whole).expect("the same shapes").tensors["cp06.gelu"]);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in ["manifest.json", "tensors.safetensors"] {
        fs::copy(from.join(file), to.join(file)).expect("a copy");
    }
}

fn slices_that_lie() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("golden");
    copy(&folder().join("tiny/llama.cpp/life"), &path);
    let text = fs::read_to_string(path.join("manifest.json")).expect("a manifest");
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(path.join("manifest.json"), text.replacen(from, to, 1)).expect("written");
        Golden::read(&path).expect_err(to).to_string()
    };
    assert!(refused("\"run\": 8", "\"run\": 0").contains("in runs of 0"));
    assert!(refused("\"run\": 8", "\"run\": 7").contains("in runs of 7"));
    assert!(refused("\"run\": 8", "\"run\": \"eight\"").contains("manifest.json"));
    assert!(refused("\"count\": 2496", "\"count\": 2497").contains("which has not 2497 elements"));
    assert!(refused("\"sha256\": \"", "\"sha256\": \"0").contains("SHA-256"));
}

/// A folder of goldens with one of them, another pending beside it, and one that is new.
fn under_review() -> TempDir {
    let place = TempDir::new().expect("a folder");
    let engine = place.path().join("tiny/transformers");
    copy(&folder().join("tiny/transformers/hello"), &engine.join("hello"));
    copy(&folder().join("tiny/transformers/single"), &engine.join("hello.pending"));
    copy(&folder().join("tiny/transformers/life"), &engine.join("new.pending"));
    place
}

fn tokens(place: &TempDir, prompt: &str) -> usize {
    read(&place.path().join("tiny/transformers").join(prompt)).capture.manifest.token_ids.len()
}

fn accept() {
    let place = under_review();
    let pending = review::pending(place.path()).expect("a readable folder");
    let named: Vec<(&str, bool)> = pending.iter().map(|one| (one.name.as_str(), one.is_new)).collect();
    assert_eq!(named, [("tiny/transformers/hello", false), ("tiny/transformers/new", true)]);

    let accept = |filter| review::accept(place.path(), filter, Writing::Allowed);
    assert_eq!(accept(Some("hello")).expect("accepted").len(), 1);
    assert_eq!(tokens(&place, "hello"), 1);
    assert!(matches!(accept(Some("hello")), Err(GoldenError::NothingPending(_))));

    // What cannot be read takes nobody's place.
    let tensors = place.path().join("tiny/transformers/new.pending/tensors.safetensors");
    let bytes = fs::read(&tensors).expect("there");
    fs::write(&tensors, &bytes[..bytes.len() - 1]).expect("written");
    assert!(matches!(accept(None), Err(GoldenError::Capture(_))));
    fs::write(&tensors, &bytes).expect("written");
    assert_eq!(accept(None).expect("accepted").len(), 1);
    assert!(tokens(&place, "new") > 20);
    assert_eq!(review::pending(place.path()).expect("a readable folder"), []);
}

fn reject() {
    let place = under_review();
    assert_eq!(review::reject(place.path(), None, Writing::Allowed).expect("rejected").len(), 2);
    assert_eq!(review::pending(place.path()).expect("a readable folder"), []);
    assert!(tokens(&place, "hello") > 1);
    assert!(!place.path().join("tiny/transformers/new").exists());
}

fn never_in_ci() {
    let place = under_review();
    let golden = place.path().join("tiny/transformers/hello");
    let capture = read(&golden).capture;
    for refused in [
        review::accept(place.path(), None, Writing::Refused).err(),
        review::reject(place.path(), None, Writing::Refused).err(),
        review::propose(&golden, &capture, Writing::Refused).err(),
    ] {
        assert!(matches!(refused, Some(GoldenError::Ci)), "{refused:?}");
    }
    assert_eq!(review::pending(place.path()).expect("a readable folder").len(), 2);
    assert!(tokens(&place, "hello") > 1);

    // Elsewhere one is left beside its golden, in place of the last one.
    review::propose(&golden, &capture, Writing::Allowed).expect("written");
    assert_eq!(tokens(&place, "hello.pending"), capture.manifest.token_ids.len());
}

/// Every mistake that was put into transformers by hand leaves what comes before it alone, and changes its first tensor.
fn mistakes_made_by_hand() {
    for (family, least) in [("", 30), ("qwen2", 17)] {
        let folder = folder().join("../fixtures/mistakes").join(family);
        let table = fs::read_to_string(folder.join("mistakes.json")).expect("the table");
        let table: Value = serde_json::from_str(&table).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let honest = read(&folder.join(text(&table["honest"]))).capture;
        let mistakes = table["mistakes"].as_array().expect("a list");
        assert!(mistakes.len() >= least, "{family}: {}", mistakes.len());
        for mistake in mistakes {
            let found = read(&folder.join(text(&mistake["fault"]))).capture;
            let differences = apart(&honest, &found, false);
            let first = text(&mistake["first"]);
            if first == "the text" {
                assert_eq!(differences, Vec::<String>::new(), "{mistake}");
                assert_ne!(found.manifest.generated_bytes, honest.manifest.generated_bytes, "{mistake}");
            } else {
                assert!(differences.iter().any(|name| name.starts_with(&first)), "{mistake}: {differences:?}");
            }
            assert_eq!(found.manifest.model_digest, honest.manifest.model_digest);
        }
    }
}
