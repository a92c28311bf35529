//! `llorch haiku` and `llorch proof verify` as processes: a bundle of every sort that is written, moved and then changed by one
//! byte, one file after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use llorch::harness::http::Base;
use llorch::harness::process::{self, Process};
use llorch::harness::proof::bundle::MANIFEST;
use llorch::harness::proof::verify;
use serde_json::Value;

pub const TESTS: &[(&str, fn())] = &[
    ("proof_command/a_byte_of_any_file_of_a_workers", a_byte_of_any_file_of_a_workers),
    ("proof_command/a_byte_of_any_file_of_an_orchestrators", a_byte_of_any_file_of_an_orchestrators),
];

const LLORCH: &str = env!("CARGO_BIN_EXE_llorch");
const PATIENCE: Duration = Duration::from_secs(60);
/// What `llorch proof verify` ends with where a bundle does not hold.
const FAILED: Option<i32> = Some(104);

fn a_byte_of_any_file_of_a_workers() {
    for words in [&[][..], &["--plain"], &["--word-rule-not-applicable", "it is asked for nothing"]] {
        let root = tempfile::tempdir().expect("a folder");
        every_change_is_named(&bundle(root.path(), words));
    }
}

fn a_byte_of_any_file_of_an_orchestrators() {
    let root = tempfile::tempdir().expect("a folder");
    let temporary = root.path().to_str().expect("a name in UTF-8");
    let serve = process::Command::new(LLORCH).arguments(["serve", "--port", "0"]).variable("TMPDIR", temporary);
    let serve = Process::spawn(serve).expect("llorch runs");
    let ready = serve.wait_for_line("ready", PATIENCE, |line| line.text.starts_with("ready: ")).expect("it starts");
    let url = ready.text.split(' ').nth(2).and_then(|url| Base::parse(url).ok()).expect("a URL").to_string();
    let (_, model) = ready.text.split_once(" · model ").expect("a model");
    for form in [&[][..], &["--plain"]] {
        let root = tempfile::tempdir().expect("a folder");
        let folder = bundle(root.path(), &[&["--orchestrator", &url, "--model-ref", model][..], form].concat());
        assert!(folder.join("admission.json").exists());
        every_change_is_named(&folder);
        any_byte_of_the_manifest(&folder);
    }
}

/// Asks for a haiku and moves the bundle that it leaves.
fn bundle(root: &Path, words: &[&str]) -> PathBuf {
    let run = Command::new(LLORCH)
        .args(["haiku", "--json", "--proof-dir"])
        .arg(root)
        .args(words)
        .env_remove("LLORCH_RUN_ID")
        .output()
        .expect("llorch runs");
    assert!(run.status.success(), "{words:?}: {}", told(&run));
    let document: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let (written, moved) = (PathBuf::from(document["bundle"].as_str().expect("a folder")), root.join("moved"));
    assert_eq!(proof_verify(&written).status.code(), Some(0), "as it was written: {words:?}");
    fs::rename(written, &moved).expect("moved");
    moved
}

fn proof_verify(folder: &Path) -> Output {
    Command::new(LLORCH).args(["proof", "verify"]).arg(folder).output().expect("llorch runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fails_naming(folder: &Path, name: &str) {
    let output = proof_verify(folder);
    let told = told(&output);
    let is_named = told.lines().any(|line| line.starts_with(&format!("llorch: {name}: ")));
    assert!(output.status.code() == FAILED && is_named, "{name}: {}: {told}", output.status);
}

/// One byte of each file, one after the other; then a file more, and each file less.
fn every_change_is_named(folder: &Path) {
    assert_eq!(proof_verify(folder).status.code(), Some(0), "as it was moved");
    let entries = fs::read_dir(folder).expect("there");
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() > 10 && names.iter().any(|name| name == MANIFEST), "{names:?}");
    for name in &names {
        let path = folder.join(name);
        let bytes = fs::read(&path).expect("readable");
        let mut changed = bytes.clone();
        let middle = bytes.len() / 2;
        match changed.get_mut(middle) {
            Some(byte) => *byte ^= 1,
            None => changed.push(b'\n'), // an empty file has no byte to change
        }
        fs::write(&path, &changed).expect("written");
        fails_naming(folder, name);
        fs::remove_file(&path).expect("removed");
        fails_naming(folder, name);
        fs::write(&path, &bytes).expect("written");
    }
    fs::write(folder.join("more.txt"), "more").expect("written");
    fails_naming(folder, "more.txt");
    fs::remove_file(folder.join("more.txt")).expect("removed");
    assert_eq!(proof_verify(folder).status.code(), Some(0), "as it was again");
}

/// Each byte of the manifest: another digit or letter, the same in capitals, none of any text.
fn any_byte_of_the_manifest(folder: &Path) {
    let path = folder.join(MANIFEST);
    let bytes = fs::read(&path).expect("readable");
    for at in 0..bytes.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            fs::write(&path, &changed).expect("written");
            let flaws = verify::verify(folder).expect_err("a changed byte");
            assert!(flaws.iter().any(|flaw| flaw.file == MANIFEST), "byte {at} ^ {bit:#x}: {flaws:?}");
        }
    }
    fs::write(&path, &bytes).expect("written");
}
