//! The tap helpers for others' engines: their examples run, and what they write is a capture, to the last number.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use llorch::harness::Finding;
use llorch::parity::Log;
use llorch::parity::capture::{Capture, MANIFEST, Tensor, Values};
use llorch::parity::log::Key;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[("taps/c", c), ("taps/c_refuses", c_refuses), ("taps/python", python)];

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tap");

/// A program that this machine may not have: then the test is skipped with the reason, which is no pass.
fn run(command: &mut Command, what: &str) -> Output {
    match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let program = command.get_program().to_string_lossy().into_owned();
            Finding::skipped(what, format!("{program} is not installed")).raise()
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

fn assert_ran(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// The C example, compiled with every warning an error.
fn compiled() -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().expect("a folder");
    let program = scratch.path().join("example");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-D_DEFAULT_SOURCE"]);
    cc.arg(Path::new(FOLDER).join("example.c")).arg("-o").arg(&program).arg("-lm");
    assert_ran(&run(&mut cc, "a C compiler"));
    (scratch, program)
}

fn c() {
    let (scratch, program) = compiled();
    let (directory, log) = (scratch.path().join("capture"), scratch.path().join("log.jsonl"));
    let mut example = Command::new(program);
    example.arg(&directory).env("ORCH_LOG_FILE", &log).env("ORCH_LOG_TEAM", "red").env("ORCH_LOG_VALUES", "2");
    assert_ran(&run(&mut example, "the example"));
    check(&directory, "example.c");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 3, "program, capture and log");

    let capture = Capture::read(&directory).unwrap();
    let log = Log::read(&log).expect("a log");
    assert_eq!((log.runs.len(), log.runs[0].meta.engine.as_str()), (1, "example.c"));
    for summary in capture.summaries().iter().filter(|summary| ["cp00.embed", "cp01.ln_1"].contains(&&*summary.name)) {
        let key = Key { token_idx: 0, checkpoint: summary.name.clone(), layer: 0 };
        let record = &log.runs[0].records[&key];
        assert_eq!((&record.digest, &record.shape, record.count), (&summary.sha256, &summary.shape, summary.count));
        assert_eq!((record.team.as_str(), record.source.as_str(), record.values.len()), ("red", "job-1", 2));
    }
    assert_eq!(log.runs[0].records.len(), 2);
}

fn c_refuses() {
    let (scratch, program) = compiled();
    let directory = scratch.path().join("capture");
    std::fs::create_dir(&directory).unwrap();
    for place in [directory, PathBuf::from("/nowhere/capture"), scratch.path().join("a/b")] {
        let output = run(Command::new(&program).arg(&place).env_remove("ORCH_LOG_FILE"), "the example");
        assert_eq!(output.status.code(), Some(1), "{}", place.display());
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2, "program and folder, and nothing half-written");
}

fn python() {
    let scratch = tempfile::tempdir().expect("a folder");
    let directory = scratch.path().join("capture");
    let mut example = Command::new("python3");
    example.arg("-B").arg(Path::new(FOLDER).join("example.py")).arg(&directory);
    assert_ran(&run(&mut example, "Python 3"));
    check(&directory, "example.py");
    let again = run(&mut example, "Python 3");
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}

/// What both examples compute.
fn check(directory: &Path, engine: &str) {
    let capture = Capture::read(directory).expect("the strict reader takes it");
    let manifest = &capture.manifest;
    assert_eq!((manifest.engine.as_str(), manifest.model.as_str()), (engine, "a \"model\"\n"));
    assert_eq!((&manifest.token_ids[..], manifest.sizes.n_embd), (&[15496, 13][..], 6));
    assert_eq!((manifest.generated_text.as_str(), manifest.generated_bytes.as_str()), ("café", "636166c3a9c3"));
    // printf Hello. | sha256sum
    assert_eq!(manifest.prompt_sha256, "2d8bd7d9bb5f85ba643f0110d50cb506a1fe439e769a22503193ea6046bb87f7");

    let x = [[0.5, -1.25, 2.0, 0.125, -0.75, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0f32]];
    assert_eq!(capture.tensors["cp00.embed"], Tensor::f32(&[2, 6], x.concat()));
    let normed = capture.tensors["cp01.ln_1"].to_f64();
    for (row, normed) in x.iter().zip(normed.chunks_exact(6)) {
        let row = row.map(f64::from);
        let mean = row.iter().sum::<f64>() / 6.0;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 6.0;
        for (x, normed) in row.iter().zip(normed) {
            assert!(((x - mean) / (variance + 1e-5).sqrt() - normed).abs() < 1e-6);
        }
    }
    let Values::F64(extra) = &capture.tensors["extra.step3.L07"].values else { panic!("an f64") };
    assert!(extra[0] == 1.0 / 3.0 && extra[1].is_nan() && extra[4].is_sign_negative());
    assert_eq!(extra[2..4], [f64::INFINITY, f64::NEG_INFINITY]);
    assert_eq!(capture.tensors["cp10.argmax"], Tensor::i64(&[1], vec![314]));

    // their manifest says of each tensor what ours would
    let text = std::fs::read_to_string(directory.join(MANIFEST)).unwrap();
    let listed: Value = serde_json::from_str(&text).unwrap();
    let listed = listed["tensors"].as_array().unwrap();
    assert_eq!(listed.len(), 4);
    for summary in capture.summaries() {
        let theirs = listed.iter().find(|tensor| tensor["name"] == json!(summary.name)).expect("listed");
        let ours = serde_json::to_value(&summary).unwrap();
        for (field, ours) in ours.as_object().unwrap() {
            assert!(same(ours, &theirs[field]), "{} {field}: {ours} and {}", summary.name, theirs[field]);
        }
    }
}

/// Equal, numbers as f32: each language has its own shortest text of one.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().map(|number| number as f32) == other.as_f64().map(|number| number as f32)
        }
        _ => one == other,
    }
}
