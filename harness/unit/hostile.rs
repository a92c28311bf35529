//! Files that mean harm: each must be refused with the right words, at once, and nothing may ever panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llorch::model::error::ModelError;
use llorch::model::file::{self, ModelFile};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::safetensors::hostile;

pub const TESTS: &[(&str, fn())] = &[
    ("hostile/corpus", corpus),
    ("hostile/corpus_is_listed", corpus_is_listed),
    ("hostile/every_truncation", every_truncation),
    ("hostile/every_byte_changed", every_byte_changed),
    ("hostile/random_mutations", random_mutations),
    ("hostile/pipe", pipe),
];

fn expected() -> BTreeMap<String, Option<String>> {
    serde_json::from_slice(&fs::read(hostile("expected.json")).expect("the table")).expect("a table")
}

/// A configuration is tried on a model that is otherwise right.
fn open_configuration(name: &str) -> Result<ModelFile, ModelError> {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = if name.starts_with("llama/") { "llama/valid.safetensors" } else { "safetensors/valid.safetensors" };
    fs::copy(hostile(weights), folder.path().join("model.safetensors")).expect("copied");
    fs::copy(hostile(name), folder.path().join("config.json")).expect("copied");
    file::open(folder.path(), &mut |_| {})
}

fn corpus() {
    const LONGEST: Duration = Duration::from_secs(1);
    let mut wrong = Vec::new();
    for (name, fragment) in expected() {
        let began = Instant::now();
        let opened = std::panic::catch_unwind(|| match name.ends_with(".json") {
            true => open_configuration(&name),
            false => file::open(&hostile(&name), &mut |_| {}),
        });
        let took = began.elapsed();
        let said = match (opened, fragment) {
            (Err(_), _) => "a panic".to_string(),
            (Ok(Ok(_)), Some(fragment)) => format!("opens, instead of: {fragment}"),
            (Ok(Err(error)), None) => format!("does not open: {error}"),
            (Ok(Err(error)), Some(fragment)) if !error.to_string().contains(&fragment) => {
                format!("says: {error}\n  and not: {fragment}")
            }
            (Ok(Err(error)), _) if !name.ends_with(".json") && !error.to_string().contains(&name) => {
                format!("does not name the file: {error}")
            }
            _ if took > LONGEST => format!("takes {took:?}"),
            _ => continue,
        };
        wrong.push(format!("{name} {said}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every file of the corpus is in the table, or a part of a folder that is; and the table is not trivial.
fn corpus_is_listed() {
    let table = expected();
    assert!(table.len() > 200 && table.values().filter(|fragment| fragment.is_none()).count() > 10);
    assert!(table.values().flatten().all(|fragment| fragment.len() > 5), "a fragment that says nothing");
    let kinds = [("gguf", ".gguf"), ("safetensors", ".safetensors"), ("configuration", ".json"), ("llama", ".json")];
    for (folder, ending) in kinds {
        for entry in fs::read_dir(hostile(folder)).expect("a folder").flatten() {
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            let is_beside = ["safetensors/config.json", "llama/valid.safetensors"].contains(&name.as_str());
            let is_listed = name.ends_with(ending) && table.contains_key(&name);
            assert!(is_listed || is_beside, "{name} is not in expected.json");
        }
    }
}

fn valid(name: &str) -> Vec<u8> {
    fs::read(hostile(name)).expect("the fixture")
}

fn open_safetensors(bytes: Vec<u8>) -> Result<ModelFile, ModelError> {
    file::from_bytes(Arc::<[u8]>::from(bytes), include_str!("../../fixtures/hostile/safetensors/config.json"), "{}")
}

fn open_gguf(bytes: Vec<u8>) -> Result<ModelFile, ModelError> {
    file::from_gguf_bytes(Arc::<[u8]>::from(bytes))
}

/// No beginning of a file is a file, but for a GGUF without its last padding.
fn every_truncation() {
    let file = valid("safetensors/valid.safetensors");
    assert!((0..file.len()).all(|length| open_safetensors(file[..length].to_vec()).is_err()));
    let file = valid("gguf/valid.gguf");
    let padding = 16; // after the last tensor, four f32
    for length in 0..=file.len() {
        let opens = open_gguf(file[..length].to_vec()).is_ok();
        assert_eq!(opens, length >= file.len() - padding, "{length} of {} bytes", file.len());
    }
}

/// Each byte once replaced by the values that break most: no panic. (What opens is a model with another number in it.)
fn every_byte_changed() {
    for (name, open) in EACH {
        let file = valid(name);
        for at in 0..file.len() {
            for byte in [0x00, 0x7f, 0x80, 0xff, file[at] ^ 1] {
                let mut changed = file.clone();
                changed[at] = byte;
                let _either_way = open(changed);
            }
        }
    }
}

type Open = fn(Vec<u8>) -> Result<ModelFile, ModelError>;
const EACH: [(&str, Open); 3] = [
    ("safetensors/valid.safetensors", open_safetensors),
    ("gguf/valid.gguf", open_gguf),
    ("gguf/valid-llama-divisors.gguf", open_gguf),
];

/// Several bytes at once, pieces cut out and pieces repeated.
fn random_mutations() {
    let edits =
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..8);
    for (name, open) in EACH {
        let file = valid(name);
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() });
        let outcome = runner.run(&edits, |edits| {
            let mut bytes = file.clone();
            for (one, other, byte, kind) in edits {
                if bytes.is_empty() {
                    break;
                }
                let (one, other) = (one.index(bytes.len()), other.index(bytes.len()));
                match kind {
                    0 | 1 => bytes[one] = byte,
                    2 => drop(bytes.drain(one.min(other)..one.max(other).min(one.min(other) + 16))),
                    _ => {
                        let piece = bytes[one.min(other)..one.max(other).min(one.min(other) + 16)].to_vec();
                        bytes.splice(one..one, piece);
                    }
                }
            }
            let _either_way = open(bytes);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A pipe under a model's name would block whoever opens it.
fn pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()));
    let error = file::open(Path::new(&path), &mut |_| {}).expect_err("a pipe is no model");
    assert!(error.to_string().contains("is not a regular file"), "{error}");
}
