//! `llorch capture` and a worker with `--checkpoint-dir`, as processes: the engine in this process and the same engine behind
//! HTTP write the same bytes, and what cannot be captured is said.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use llorch::harness::selection::ModelFormat;
use llorch::harness::target::{Start, Target};
use llorch::harness::tiny_model;
use llorch::parity::Log;
use llorch::parity::capture::{Capture, MANIFEST, TENSORS};
use serde_json::json;
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("capture_command/the_same_behind_http", the_same_behind_http),
    ("capture_command/one_file_of_ids", one_file_of_ids),
    ("capture_command/refusals", refusals),
    ("capture_command/a_worker_without_captures", a_worker_without_captures),
    ("capture_command/the_first_sixteen_jobs", the_first_sixteen_jobs),
    ("capture_command/the_stub_leaves_nothing", the_stub_leaves_nothing),
];

const LLORCH: &str = env!("CARGO_BIN_EXE_llorch");
const PATIENCE: Duration = Duration::from_secs(60);

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn capture(output: &Path, words: &[&str]) -> Output {
    Command::new(LLORCH).arg("capture").arg("--output").arg(output).args(words).output().expect("llorch runs")
}

fn assert_ran(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

fn the_same_behind_http() {
    let scratch = scratch();
    let (inside, behind) = (scratch.path().join("inside"), scratch.path().join("behind"));
    let common = ["--checkpoint-layers", "all", "--steps", "3", "--max-tokens", "6"];
    assert_ran(&capture(&inside, &common));
    let worker = format!("{LLORCH} llorch-cpud --threads 2");
    assert_ran(&capture(&behind, &[&common[..], &["--spawn", &worker]].concat()));
    for name in [MANIFEST, TENSORS] {
        assert!(fs::read(inside.join(name)).unwrap() == fs::read(behind.join(name)).unwrap(), "{name}");
    }
    let capture = Capture::read(&inside).unwrap();
    assert_eq!((capture.manifest.steps, capture.tensors["cp12.ids"].count()), (3, 6));
    assert!(capture.tensors.contains_key("cp03.step3.v.L02") && capture.tensors.contains_key("cp06.gelu.L01"));
}

fn one_file_of_ids() {
    let scratch = scratch();
    let file = scratch.path().join("capture.safetensors");
    assert_ran(&capture(&file, &["--single-file", "--tokens", "40,41"]));
    assert_eq!(Capture::read(&file).expect("a capture").manifest.token_ids, [40, 41]);
}

fn refusals() {
    let scratch = scratch();
    let there = scratch.path().join("there");
    assert_ran(&capture(&there, &[]));
    let before = fs::read(there.join(MANIFEST)).unwrap();
    let new = scratch.path().join("new");
    let script = scratch.path().join("script.py");
    fs::write(&script, "").unwrap();
    let script = script.to_str().unwrap();
    for (place, words, code, said) in [
        (&there, &[][..], 2, "is there already"),
        (&new, &["--single-file"], 2, ".safetensors"),
        (&new, &["--model", "/nowhere/model"], 2, "/nowhere/model"),
        (&new, &["--tokens", "1,x"], 2, "x"),
        (&new, &["--tokens", "999999"], 2, "999999"),
        (&new, &["--steps", "2049"], 2, "2048"),
        // Where it is built in, it reads GGUF.
        (&new, &["--engine", "llama.cpp"], 2, if cfg!(feature = "llama-cpp") { "GGUF" } else { "llama-cpp" }),
        (&new, &["--engine", "transformers", "--script", "/nowhere/script.py"], 2, "--script"),
        (&new, &["--engine", "transformers", "--script", script, "--python", "/nowhere/python"], 2, "--python"),
        (&new, &["--engine", "transformers", "--script", script, "--python", "false"], 1, "ended with"),
        (&new, &["--spawn", "'"], 2, "quote"),
        (&new, &["--spawn", "/nowhere/worker"], 96, "/nowhere/worker"),
    ] {
        let output = capture(place, words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(said), "{words:?}: {text}");
    }
    assert!(!new.exists() && fs::read(there.join(MANIFEST)).unwrap() == before);
}

fn a_worker_without_captures() {
    let scratch = scratch();
    let place = scratch.path().join("capture");
    let output = capture(&place, &["--timeout-sec", "1", "--spawn", &format!("{LLORCH} scripted-worker")]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("wrote no capture within 1 s"), "{text}");
    assert!(!place.exists());
}

/// One worker with captures and the parity log, one without: the same texts, sixteen captures, and a log with all of it.
fn the_first_sixteen_jobs() {
    let scratch = scratch();
    let model = tiny_model::write(scratch.path(), ModelFormat::Safetensors).unwrap();
    let (captures, log) = (scratch.path().join("captures"), scratch.path().join("log.jsonl"));
    let target = Target::built_in(LLORCH);
    let watched = Start { checkpoint_dir: Some(captures.clone()), ..Start::model(&model) }
        .variable("ORCH_LOG_FILE", log.to_str().unwrap())
        .variable("ORCH_LOG_VALUES", "1");
    let texts = [watched, Start::model(&model)].map(|start| {
        let worker = target.start(&start).expect("starts");
        let texts: Vec<String> = (0..17)
            .map(|number| {
                let body = json!({"job_id": format!("job:{number}"), "prompt": format!("Hello {number}."),
                    "max_tokens": 4, "temperature": 1.0, "seed": number});
                worker.run(&body, PATIENCE).expect("runs").text()
            })
            .collect();
        worker.terminate(PATIENCE).expect("ends");
        texts
    });
    assert_eq!(texts[0], texts[1]);
    assert_eq!(fs::read_dir(&captures).unwrap().count(), 16);
    for (number, text) in texts[0][..16].iter().enumerate() {
        let capture = Capture::read(&captures.join(format!("job:{number}"))).expect("a capture");
        assert!(capture.manifest.generated_text.starts_with(text.as_str()));
    }
    let log = Log::read(&log).expect("flushed at exit");
    assert_eq!((log.runs.len(), log.dropped), (17, 0));
}

fn the_stub_leaves_nothing() {
    let scratch = scratch();
    let place = scratch.path().join("captures");
    let mut stub = Command::new(LLORCH);
    stub.args(["llorch-cpud", "--backend", "stub", "--checkpoint-dir"]).arg(&place);
    let output = stub.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("the stub backend has no tensors"), "{text}");
    assert!(!place.exists());
    let mut wrong = Command::new(LLORCH);
    wrong.args(["llorch-cpud", "--backend", "stub"]).env("ORCH_LOG_FILE", "l").env("ORCH_LOG_VALUES", "x");
    let output = wrong.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("ORCH_LOG_VALUES"), "{text}");
}
