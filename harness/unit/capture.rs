//! Captures on disk: what is written is read again to the bit, and what is not a capture is an error that says why.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use llorch::parity::capture::summary::{Place, Statistics};
use llorch::parity::capture::{Capture, npy, open};
use llorch::parity::capture::{
    CaptureError, MANIFEST, MANIFEST_KEY, Manifest, Problem, Sizes, TENSORS, Tensor, Values,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("capture/what_is_written_is_read", what_is_written_is_read),
    ("capture/any_shapes", any_shapes),
    ("capture/manifest_fields", manifest_fields),
    ("capture/names_and_places", names_and_places),
    ("capture/statistics", statistics),
    ("capture/never_over_another", never_over_another),
    ("capture/nothing_half_written", nothing_half_written),
    ("capture/cut_anywhere", cut_anywhere),
    ("capture/changed_anywhere", changed_anywhere),
    ("capture/hostile_manifests", hostile_manifests),
    ("capture/hostile_places", hostile_places),
    ("capture/disagreements_are_all_listed", disagreements_are_all_listed),
    ("capture/refuses_to_write", refuses_to_write),
    ("capture/half_precision", half_precision),
    ("capture/numpy_wrote", numpy_wrote),
    ("capture/hostile_npy", hostile_npy),
    ("capture/hostile_npz", hostile_npz),
];

fn sample() -> Capture {
    let tensors = [
        ("cp01.ln_1", Tensor::f32(&[2, 3], vec![0.1, -2.0, f32::NAN, f32::INFINITY, -0.0, 1e-40])),
        ("cp03.step1.k.L07", Tensor::f64(&[1, 2], vec![f64::NEG_INFINITY, 1.0 / 3.0])),
        ("cp10.argmax", Tensor::i64(&[1], vec![i64::MIN])),
        ("cp12.ids", Tensor::i64(&[0], vec![])),
        ("scalar", Tensor::f32(&[], vec![7.0])),
    ];
    Capture {
        manifest: Manifest {
            engine: "a test".to_owned(),
            engine_version: "1".to_owned(),
            model: "tiny \"quoted\"\n".to_owned(),
            sizes: Sizes { n_layer: 8, n_head: 2, n_embd: 4, n_ctx: 16, vocab_size: 99 },
            model_digest: "ab".repeat(32),
            token_ids: vec![15496, 13],
            steps: 1,
            generated_text: "é".to_owned(),
            generated_bytes: "c3a9".to_owned(),
            ..Manifest::default()
        },
        tensors: tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect(),
    }
}

/// Equal to the bit, NaN and the sign of zero included.
fn assert_same(one: &Capture, other: &Capture) {
    assert_eq!(one.manifest, other.manifest);
    assert_eq!(one.tensors.keys().collect::<Vec<_>>(), other.tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &one.tensors {
        let found = &other.tensors[name];
        assert_eq!(tensor.shape, found.shape, "{name}");
        assert_eq!(bits(&tensor.values), bits(&found.values), "{name}");
    }
}

fn bits(values: &Values) -> (&'static str, Vec<u64>) {
    let bits = match values {
        Values::F32(values) => values.iter().map(|value| value.to_bits().into()).collect(),
        Values::F64(values) => values.iter().map(|value| value.to_bits()).collect(),
        Values::I64(values) => values.iter().map(|value| *value as u64).collect(),
    };
    (values.dtype(), bits)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The sample as a folder and as one file.
fn written() -> (TempDir, PathBuf, PathBuf) {
    written_as(&sample())
}

fn written_as(capture: &Capture) -> (TempDir, PathBuf, PathBuf) {
    let scratch = folder();
    let (directory, file) = (scratch.path().join("capture"), scratch.path().join("capture.safetensors"));
    capture.write(&directory).expect("written");
    capture.write_file(&file).expect("written");
    (scratch, directory, file)
}

fn problem(path: &Path) -> Problem {
    let CaptureError { file, problem } = Capture::read(path).expect_err("refused");
    assert!(file.starts_with(path) || path.starts_with(&file), "the message names {file:?}, of {path:?}");
    problem
}

fn what_is_written_is_read() {
    let (_scratch, directory, file) = written();
    for path in [&directory, &file, &directory.join(MANIFEST)] {
        assert_same(&sample(), &Capture::read(path).expect("reads"));
    }
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let again = directory.with_file_name("again");
    Capture::read(&file).unwrap().write(&again).expect("written");
    for name in [MANIFEST, TENSORS] {
        assert_eq!(fs::read(directory.join(name)).unwrap(), fs::read(again.join(name)).unwrap(), "{name}");
    }
}

fn any_shapes() {
    let sizes = proptest::collection::vec(0usize..5, 0..5);
    let tensor = (sizes, 0u8..3, any::<u64>()).prop_map(|(shape, kind, seed)| {
        let count = shape.iter().product::<usize>();
        // every bit pattern: NaN with a payload, subnormal numbers
        let bits = (0..count as u64).map(|index| (seed ^ index).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let values = match kind {
            0 => Values::F32(bits.map(|bits| f32::from_bits(bits as u32)).collect()),
            1 => Values::F64(bits.map(f64::from_bits).collect()),
            _ => Values::I64(bits.map(|bits| bits as i64).collect()),
        };
        Tensor { shape, values }
    });
    let tensors = proptest::collection::btree_map("[a-zA-Z0-9._ é\"\\\\-]{1,20}", tensor, 0..6);
    TestRunner::new(Config { failure_persistence: None, cases: 64, ..Config::default() })
        .run(&tensors, |tensors| {
            let capture = Capture { manifest: sample().manifest, tensors };
            let scratch = folder();
            let (directory, file) = (scratch.path().join("capture"), scratch.path().join("capture.safetensors"));
            capture.write(&directory).expect("written");
            capture.write_file(&file).expect("written");
            assert_same(&capture, &Capture::read(&directory).expect("reads"));
            assert_same(&capture, &Capture::read(&file).expect("reads"));
            Ok(())
        })
        .expect("any shapes");
}

fn manifest_fields() {
    let (_scratch, directory, _) = written();
    let text = fs::read_to_string(directory.join(MANIFEST)).unwrap();
    let manifest: Value = serde_json::from_str(&text).expect("JSON");
    let fields: Vec<&str> = manifest.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "schema_version engine engine_version model architecture sizes model_digest weights_dtype compute_dtype \
                    prompt_sha256 token_ids start_pos steps taps generated_text generated_bytes tolerance_profile tensors";
    assert_eq!(fields, expected.split_whitespace().collect::<Vec<_>>());
    let tensor = &manifest["tensors"][0];
    let fields: Vec<&str> = tensor.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "name station layer step shape dtype sha256 count min max mean l2 nan inf head tail";
    assert_eq!(fields, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(tensor["head"], json!([0.1, -2.0, "nan", "inf"]));
    assert_eq!(tensor["tail"], json!(["nan", "inf", -0.0, 1e-40]));
    assert_eq!((&tensor["min"], &tensor["max"]), (&json!(-2.0), &json!(0.1)));
    assert_eq!((&tensor["nan"], &tensor["inf"], &tensor["count"]), (&json!(1), &json!(1), &json!(6)));
    assert_eq!(manifest["tensors"][1]["head"], json!(["-inf", 1.0 / 3.0]));
    assert_eq!((&manifest["tensors"][1]["layer"], &manifest["tensors"][1]["step"]), (&json!(7), &json!(1)));
    // printf '\0\0\0\0\0\0\0\200' | sha256sum: i64::MIN, little end first
    let known = "e6ad6c9a3a3b7658c35bacf6553fcb8ffe34387534a648fe18f875b8f7a86ddb";
    assert_eq!(manifest["tensors"][2]["sha256"], json!(known));
    assert!(text.lines().any(|line| line.trim() == "\"token_ids\": [15496, 13],"), "lists on one line:\n{text}");
}

fn names_and_places() {
    for (name, station, layer, step) in [
        ("cp00.embed", "cp00", 0, 0),
        ("cp03.step12.v", "cp03", 0, 12),
        ("cp03.step1.k.L07", "cp03", 7, 1),
        ("cp08.block.11", "cp08", 11, 0),
        ("cp11.probs.t0.5", "cp11", 0, 0),
        ("cp06.c_fc.L100", "cp06", 100, 0),
        ("", "", 0, 0),
        ("..", "", 0, 0),
        ("a.L99999999999999999999", "a", 0, 0),
    ] {
        assert_eq!(Place::of(name), Place { station, layer, step }, "{name}");
    }
}

fn statistics() {
    let of = |tensor: &Tensor| {
        let Statistics { min, max, mean, l2, nan, inf } = Statistics::of(tensor);
        ([min, max, mean, l2].map(|number| number.as_f64()), nan, inf)
    };
    assert_eq!(of(&Tensor::f32(&[2], vec![3.0, -4.0])), ([-4.0, 3.0, -0.5, 5.0], 0, 0));
    let odd = Tensor::f64(&[5], vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, 3.0]);
    assert_eq!(of(&odd), ([1.0, 3.0, 2.0, 10f64.sqrt()], 1, 2));
    let (numbers, nan, inf) = of(&Tensor::i64(&[0], vec![]));
    assert!(numbers.iter().all(|number| number.is_nan()) && nan == 0 && inf == 0);
}

fn never_over_another() {
    let (_scratch, directory, file) = written();
    let other = Capture::default();
    assert!(matches!(other.write(&directory).unwrap_err().problem, Problem::Exists));
    assert!(matches!(other.write_file(&file).unwrap_err().problem, Problem::Exists));
    assert!(matches!(other.write(&file).unwrap_err().problem, Problem::Exists), "a folder over a file");
    assert_same(&sample(), &Capture::read(&directory).unwrap());
    assert_same(&sample(), &Capture::read(&file).unwrap());
    let empty = directory.with_file_name("empty");
    fs::create_dir(&empty).unwrap();
    sample().write(&empty).expect("an empty folder is no capture");
    sample().write(&directory.with_file_name("a/b/c")).expect("folders above are made");
}

/// Whoever looks at any moment sees no capture or a whole one, and no other folder is left.
fn nothing_half_written() {
    let scratch = folder();
    let directory = scratch.path().join("capture");
    let numbers: Vec<f32> = (0..300_000).map(|index| index as f32).collect();
    let mut capture = sample();
    capture.tensors.insert("large".to_owned(), Tensor::f32(&[300_000], numbers));
    let writer = {
        let (capture, directory) = (capture.clone(), directory.clone());
        std::thread::spawn(move || capture.write(&directory).expect("written"))
    };
    while !writer.is_finished() {
        if directory.exists() {
            assert_same(&capture, &Capture::read(&directory).expect("whole as soon as it is there"));
        }
    }
    writer.join().unwrap();
    assert_same(&capture, &Capture::read(&directory).unwrap());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    // what fails leaves nothing either: a file stands where a folder must be
    fs::write(scratch.path().join("file"), "").unwrap();
    assert!(capture.write(&scratch.path().join("file/capture")).is_err());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

/// A small capture cut at every byte, each of its files in turn: always an error, never a panic.
fn cut_anywhere() {
    let mut small = sample();
    small.tensors.retain(|name, _| name == "cp01.ln_1");
    let (scratch, directory, file) = written_as(&small);
    let single = fs::read(&file).unwrap();
    let cut = scratch.path().join("cut.safetensors");
    for length in 0..single.len() {
        fs::write(&cut, &single[..length]).unwrap();
        assert!(matches!(problem(&cut), Problem::Container(_)), "at byte {length}");
    }
    for name in [TENSORS, MANIFEST] {
        let whole = fs::read(directory.join(name)).unwrap();
        let end = whole.trim_ascii_end().len(); // the manifest's last new line is no part of it
        for length in 0..end {
            fs::write(directory.join(name), &whole[..length]).unwrap();
            let problem = problem(&directory);
            let is_cut = match &problem {
                Problem::Container(_) => name == TENSORS,
                Problem::ManifestJson(_) => name == MANIFEST,
                Problem::ManifestField(why) => why.contains("UTF-8"), // inside the é
                _ => false,
            };
            assert!(is_cut, "{name} at {length}: {problem}");
        }
        fs::write(directory.join(name), &whole).unwrap();
        Capture::read(&directory).expect("whole again");
    }
}

/// One bit changed at every byte of the tensors' file: an error, but where the header's padding is meant.
fn changed_anywhere() {
    let (_scratch, directory, _) = written();
    let whole = fs::read(directory.join(TENSORS)).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(directory.join(TENSORS), &changed).unwrap();
        let found = Capture::read(&directory);
        assert!(found.is_err(), "byte {at} of {} changed, and nobody noticed", whole.len());
    }
}

/// The sample's manifest, changed.
fn with_manifest(change: impl FnOnce(&mut Value)) -> Problem {
    let (_scratch, directory, _) = written();
    let path = directory.join(MANIFEST);
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).unwrap();
    problem(&directory)
}

fn hostile_manifests() {
    let tensor = |index: usize, field: &'static str, value: Value| {
        with_manifest(move |manifest| manifest["tensors"][index][field] = value)
    };
    let remove =
        |field: &'static str| with_manifest(move |manifest| drop(manifest.as_object_mut().unwrap().remove(field)));
    let set = |field: &'static str, value: Value| with_manifest(move |manifest| manifest[field] = value);

    for needed in ["schema_version", "engine", "token_ids", "tensors"] {
        assert!(matches!(remove(needed), Problem::ManifestLacks { field } if field == needed));
    }
    assert!(matches!(set("schema_version", json!(2)), Problem::SchemaVersion { expected: 1, found: 2 }));
    for (field, value) in [
        ("schema_version", json!("1")),
        ("schema_version", json!(-1)),
        ("token_ids", json!([-1])),
        ("token_ids", json!([1.5])),
        ("token_ids", json!("15496")),
        ("sizes", json!([1])),
        ("engine", json!(null)),
        ("tensors", json!({})),
        ("tensors", json!([1])),
        ("tensors", json!([{"name": "a", "shape": [18446744073709551616.0], "dtype": "F32"}])),
    ] {
        let found = set(field, value.clone());
        assert!(matches!(found, Problem::ManifestField(_)), "{field} {value}: {found}");
    }
    let missing = with_manifest(|manifest| {
        let listed = json!({"name": "cp02.q", "shape": [1], "dtype": "F32"});
        manifest["tensors"].as_array_mut().unwrap().push(listed);
    });
    assert!(matches!(&missing, Problem::Missing { tensor } if tensor == "cp02.q"), "{missing}");
    let unlisted = with_manifest(|manifest| drop(manifest["tensors"].as_array_mut().unwrap().remove(0)));
    assert!(matches!(&unlisted, Problem::Unlisted { tensor } if tensor == "cp01.ln_1"), "{unlisted}");
    let twice = with_manifest(|manifest| {
        let first = manifest["tensors"][0].clone();
        manifest["tensors"].as_array_mut().unwrap().push(first);
    });
    assert!(matches!(twice, Problem::ListedTwice { .. }), "{twice}");
    assert!(matches!(tensor(0, "shape", json!([3, 2])), Problem::Shape { .. }));
    assert!(matches!(tensor(0, "dtype", json!("F16")), Problem::Dtype { .. }));
    assert!(matches!(tensor(0, "count", json!(7)), Problem::Count { expected: 7, found: 6, .. }));
    let digest = tensor(0, "sha256", json!("00"));
    let text = digest.to_string();
    assert!(matches!(digest, Problem::Digest { .. }) && text.contains("cp01.ln_1") && text.contains("00"), "{text}");

    let (_scratch, directory, _) = written();
    let path = directory.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"engine\"", "\"engine\": \"another\",\n\"engine\"", 1)).unwrap();
    assert!(problem(&directory).to_string().contains("`engine` is there twice"));
    fs::write(&path, "[".repeat(100_000)).unwrap();
    assert!(matches!(problem(&directory), Problem::ManifestJson(_)));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(problem(&directory), Problem::ManifestField(_)));
    // what this version does not know is passed over
    fs::write(&path, text.replacen("{", "{\"a_later_field\": {\"x\": 1},", 1)).unwrap();
    assert_same(&sample(), &Capture::read(&directory).unwrap());
}

fn hostile_places() {
    let (scratch, directory, _) = written();
    let nowhere = scratch.path().join("nowhere");
    assert!(matches!(problem(&nowhere), Problem::Read(_)));
    let text = problem(scratch.path()).to_string();
    assert!(text.contains("there are in") && text.contains("capture"), "names the folder that is one: {text}");
    let other = scratch.path().join("file.bin");
    fs::write(&other, "").unwrap();
    assert!(matches!(problem(&other), Problem::NotACapture(_)));

    let plain = scratch.path().join("plain.safetensors");
    fs::copy(directory.join(TENSORS), &plain).unwrap();
    assert!(matches!(problem(&plain), Problem::NoManifest { .. }), "tensors without a manifest in their metadata");
    fs::rename(directory.join(MANIFEST), directory.join("elsewhere")).unwrap();
    assert!(matches!(problem(&directory), Problem::NoManifest { .. }));
    fs::create_dir(directory.join(MANIFEST)).unwrap();
    assert!(matches!(problem(&directory), Problem::NotACapture(_)), "a folder for a manifest");
    fs::remove_dir(directory.join(MANIFEST)).unwrap();
    fs::rename(directory.join("elsewhere"), directory.join(MANIFEST)).unwrap();
    fs::remove_file(directory.join(TENSORS)).unwrap();
    assert!(problem(&directory).to_string().contains("no tensors.safetensors"));
    fs::create_dir(directory.join(TENSORS)).unwrap();
    assert!(matches!(problem(&directory), Problem::Container(_)));
}

fn disagreements_are_all_listed() {
    let (_scratch, directory, _) = written();
    let path = directory.join(MANIFEST);
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    manifest["tensors"][0]["sha256"] = json!("00");
    manifest["tensors"][1]["name"] = json!("renamed");
    fs::write(&path, manifest.to_string()).unwrap();
    let opened = open(&directory).expect("its files are sound");
    let said: Vec<String> = opened.disagreements.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(opened.capture.tensors.len(), 5, "what is there is there");
}

fn refuses_to_write() {
    let scratch = folder();
    let with = |name: &str, shape: &[usize], values: Vec<f32>| {
        let tensors = BTreeMap::from([(name.to_owned(), Tensor::f32(shape, values))]);
        let capture = Capture { manifest: Manifest::default(), tensors };
        capture.write(&scratch.path().join("capture")).expect_err("refused").problem
    };
    assert!(matches!(with("a", &[2, 2], vec![0.0; 3]), Problem::Inconsistent { found: 3, .. }));
    assert!(matches!(with("a", &[usize::MAX, 2], vec![0.0; 3]), Problem::Inconsistent { .. }));
    assert!(matches!(with("", &[1], vec![0.0]), Problem::Name { .. }));
    assert!(matches!(with("__metadata__", &[1], vec![0.0]), Problem::Name { .. }));
    assert!(matches!(with(&"a".repeat(257), &[1], vec![0.0]), Problem::Name { .. }));
    assert!(matches!(with("a", &[1; 9], vec![0.0]), Problem::Name { .. }));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

/// One file by hand, with a manifest that lists one tensor.
fn single(element: &str, shape: &[usize], data: &[u8], path: &Path) {
    let manifest = json!({"schema_version": 1, "engine": "x", "token_ids": [1],
        "tensors": [{"name": "a", "shape": shape, "dtype": element}]});
    let header = json!({"__metadata__": {MANIFEST_KEY: manifest.to_string()},
        "a": {"dtype": element, "shape": shape, "data_offsets": [0, data.len()]}});
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    fs::write(path, bytes).unwrap();
}

fn half_precision() {
    let scratch = folder();
    let path = scratch.path().join("a.safetensors");
    let read = |element: &str, shape: &[usize], data: &[u8]| {
        single(element, shape, data, &path);
        Capture::read(&path).map(|capture| capture.tensors["a"].values.clone())
    };
    assert_eq!(read("F16", &[2], &[0x00, 0x3c, 0x00, 0xc0]).unwrap(), Values::F32(vec![1.0, -2.0]));
    assert_eq!(read("BF16", &[2], &[0x80, 0x3f, 0x00, 0xc0]).unwrap(), Values::F32(vec![1.0, -2.0]));
    assert_eq!(read("I32", &[1], &[0xff; 4]).unwrap(), Values::I64(vec![-1]));
    assert_eq!(read("U8", &[1], &[0xff]).unwrap(), Values::I64(vec![255]));
    assert_eq!(read("U64", &[1], &[1, 0, 0, 0, 0, 0, 0, 0]).unwrap(), Values::I64(vec![1]));
    let large = read("U64", &[1], &[0xff; 8]).unwrap_err().problem;
    assert!(matches!(large, Problem::TooLarge { index: 0, value: u64::MAX, .. }), "{large}");
    let complex = read("C64", &[1], &[0; 8]).unwrap_err().problem;
    assert!(matches!(&complex, Problem::Element { element, .. } if element == "C64"), "{complex}");
    let lying = read("F32", &[3], &[0; 8]).unwrap_err().problem;
    assert!(matches!(lying, Problem::Container(_)), "{lying}");
}

const NUMPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/numpy");

/// Files that numpy itself wrote, by `fixtures/numpy/make.py`: 0 to 23 as [2, 3, 4] in every type and order.
fn numpy_wrote() {
    let counted: Vec<f64> = (0..24).map(f64::from).collect();
    let check = |name: &str, tensor: &Tensor| {
        assert_eq!(tensor.shape, [2, 3, 4], "{name}");
        assert_eq!(*tensor.to_f64(), *counted, "{name}");
    };
    let folder = Path::new(NUMPY).join("arrays");
    let arrays = Capture::read(&folder).expect("a folder of arrays");
    assert_eq!(arrays.tensors.len(), 11, "{:?}", arrays.tensors.keys());
    for (name, tensor) in &arrays.tensors {
        check(name, tensor);
        let alone = Capture::read(&folder.join(format!("{name}.npy"))).expect("one array");
        assert_eq!(alone.tensors[name], *tensor);
    }
    assert!(matches!(arrays.tensors["f4-big-fortran"].values, Values::F32(_)));
    assert!(matches!(arrays.tensors["f8-little"].values, Values::F64(_)));
    assert!(matches!(arrays.tensors["i4-big"].values, Values::I64(_)));
    for file in ["stored.npz", "deflated.npz"] {
        let capture = Capture::read(&Path::new(NUMPY).join(file)).expect(file);
        check(file, &capture.tensors["cp01.ln_1"]);
        assert_eq!(capture.tensors["cp10.argmax"], Tensor::i64(&[1], vec![42]));
        assert_eq!(capture.tensors["scalar"], Tensor::f64(&[], vec![0.5]));
        assert_eq!(capture.manifest.engine, "", "numpy says nothing of who computed");
    }
}

fn npy_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn hostile_npy() {
    let whole = npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", &[0; 8]);
    assert_eq!(npy::read("a", &whole).unwrap(), Tensor::f32(&[2], vec![0.0; 2]));
    for length in 0..whole.len() {
        assert!(npy::read("a", &whole[..length]).is_err(), "cut at {length}");
    }
    let refused = |header: &str, data: &[u8]| npy::read("a", &npy_file(header, data)).expect_err(header).to_string();
    for (header, data, said) in [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 9, "need 8 bytes, found 9"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 8, "64 bits"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999,)}", 8, "found 8"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 8, "no size"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 8, "no size"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2)}", 8, "more than 8 dimensions"),
        ("{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}", 8, "neither True nor False"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8, "`|O` is not read"),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", 8, "`<c8` is not read"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", 8, "something else"),
        ("{'fortran_order': False, 'shape': (2,)}", 8, "lacks `descr`"),
        ("{'descr': '<f4', 'fortran_order': False}", 8, "lacks `shape`"),
        ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8, "twice"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': (1,)}", 8, "unknown key `x`"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", 8, "goes on"),
        ("", 8, "no `{`"),
    ] {
        let text = refused(header, &vec![0; data]);
        assert!(text.contains(said) && text.contains("`a`"), "{header}: {text}");
    }
    let mut later = whole.clone();
    later[6] = 4;
    assert!(npy::read("a", &later).unwrap_err().to_string().contains("version 4.0"));
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    assert!(npy::read("a", &long).unwrap_err().to_string().contains("the limit is"));
}

fn hostile_npz() {
    use zip::write::{SimpleFileOptions, ZipWriter};
    let scratch = folder();
    let path = scratch.path().join("a.npz");
    let array = npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 8]);
    let write = |entries: &[(&str, &[u8])]| {
        let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            writer.start_file(*name, stored).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    };
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Capture::read(&path)
    };
    let whole = write(&[("a.npy", &array), ("b.npy", &array)]);
    assert_eq!(read(&whole).unwrap().tensors.len(), 2);
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "cut at {length}");
    }
    // both names equal: `a` for `b`, in the entry and in the directory
    let twice = replace(&whole, b"b.npy", b"a.npy");
    assert!(read(&twice).unwrap_err().to_string().contains("2 files under 1 names"));
    assert!(read(&write(&[("a.txt", &array)])).unwrap_err().to_string().contains("no .npy file"));
    let mut changed = whole.clone();
    let at = changed.windows(6).position(|bytes| bytes == b"\x93NUMPY").unwrap() + array.len() - 1;
    changed[at] ^= 1;
    assert!(read(&changed).unwrap_err().to_string().contains("cannot be unpacked"), "its checksum is wrong");
    assert!(matches!(read(b"PK").unwrap_err().problem, Problem::Zip(_)));
    let listed = json!({"schema_version": 1, "engine": "x", "token_ids": [7],
        "tensors": [{"name": "a", "shape": [2], "dtype": "F32"}]});
    let with = write(&[("a.npy", &array), (MANIFEST, listed.to_string().as_bytes())]);
    assert_eq!(read(&with).unwrap().manifest.token_ids, [7]);
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..=bytes.len() - from.len() {
        if &bytes[at..at + from.len()] == from {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
    bytes
}
