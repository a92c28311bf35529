//! A bundle on trial: every file is what the manifest says, and every verdict is derived once more from the evidence.
//! Needs the folder and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::bundle::MANIFEST;
use super::checks::{self, Judgement};
use super::record::{Facts, Record};
use crate::model::digest::sha256_hex;

/// One thing that does not hold, and the file that it is about.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{file}: expected {expected}, found {found}")]
pub struct Flaw {
    pub file: String,
    pub expected: String,
    pub found: String,
}

fn flaw(file: &str, expected: impl Into<String>, found: impl Into<String>) -> Flaw {
    Flaw { file: file.into(), expected: expected.into(), found: found.into() }
}

/// What every haiku bundle has.
const NEEDED: [&str; 10] = [
    "request.json",
    "sse_transcript.jsonl",
    "logs.jsonl",
    "metrics_snapshot.json",
    "verification.json",
    "environment.json",
    "seeds.ndjson",
    "timings.json",
    "report.html",
    "README.md",
];

/// The judgement that the evidence gives, or everything that is wrong with the bundle.
pub fn verify(folder: &Path) -> Result<Judgement, Vec<Flaw>> {
    let flaws = hashes(folder);
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let record = read(folder).map_err(|flaw| vec![flaw])?;
    let judgement = checks::judge(&record);
    let stored = json(folder, "verification.json").map_err(|flaw| vec![flaw])?;
    let derived = checks::document(&record, &judgement);
    let differ = differences(&stored, &derived);
    if differ.is_empty() { Ok(judgement) } else { Err(differ) }
}

/// Every file is what the manifest says, and the manifest is in the one form that a bundle is sealed with, so that no byte of
/// it can be another one either.
fn hashes(folder: &Path) -> Vec<Flaw> {
    let manifest = match fs::read_to_string(folder.join(MANIFEST)) {
        Ok(manifest) => manifest,
        Err(problem) => return vec![flaw(MANIFEST, "the list of hashes", problem.to_string())],
    };
    let Some(lines) = manifest.strip_suffix('\n') else {
        return vec![flaw(MANIFEST, "an entry for each file, each in a line of its own", "no end of the last line")];
    };
    let (mut flaws, mut listed, mut missing) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (number, line) in lines.split('\n').enumerate() {
        let number = number + 1;
        let Some((hash, name)) = entry(line) else {
            flaws.push(flaw(MANIFEST, "`sha256  name` in each line", format!("line {number}: {line:?}")));
            continue;
        };
        if !listed.insert(name.to_owned()) {
            flaws.push(flaw(MANIFEST, "each file once", format!("{name} again in line {number}")));
        }
        match fs::read(folder.join(name)) {
            Ok(bytes) => flaws.extend(changed(name, number, hash, &sha256_hex(&bytes))),
            Err(problem) => {
                missing.push((hash, name, number));
                flaws.push(flaw(name, "a file that the manifest lists", problem.to_string()));
            }
        }
    }
    for name in NEEDED.iter().filter(|name| !listed.contains(**name)) {
        flaws.push(flaw(MANIFEST, format!("an entry for {name}"), "none"));
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for name in entries.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        if name == MANIFEST || listed.contains(&name) {
            continue;
        }
        flaws.push(flaw(&name, "only files that the manifest lists", "one that it does not"));
        // the same content under another name: which of the two was changed cannot be told
        let hash = fs::read(folder.join(&name)).map(|bytes| sha256_hex(&bytes)).unwrap_or_default();
        let same = missing.iter().find(|(listed, ..)| *listed == hash);
        flaws.extend(
            same.map(|(_, other, number)| flaw(MANIFEST, format!("{hash}  {name}"), format!("line {number}: {other}"))),
        );
    }
    flaws
}

/// The hash and the name of a line.
fn entry(line: &str) -> Option<(&str, &str)> {
    line.split_once("  ").filter(|(hash, name)| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_odd = |letter: char| matches!(letter, '/' | '\\') || letter.is_control();
        hash.len() == 64 && hash.bytes().all(is_digit) && !["", ".", ".."].contains(name) && !name.contains(is_odd)
    })
}

/// A file with another hash than the manifest's: somebody changed the one or the other. The hashes of two contents have some
/// four of their 64 digits in common; where most are, it is the manifest that was changed.
fn changed(name: &str, number: usize, listed: &str, found: &str) -> Option<Flaw> {
    let common = listed.bytes().zip(found.bytes()).filter(|(listed, found)| listed == found).count();
    match common {
        64 => None,
        33.. => Some(flaw(MANIFEST, format!("{found}  {name}"), format!("line {number}: {listed}"))),
        _ => Some(flaw(name, format!("sha256 {listed}"), format!("sha256 {found}: the file was changed"))),
    }
}

fn text(folder: &Path, name: &str) -> Result<String, Flaw> {
    fs::read_to_string(folder.join(name)).map_err(|problem| flaw(name, "a text that can be read", problem.to_string()))
}

fn json(folder: &Path, name: &str) -> Result<Value, Flaw> {
    serde_json::from_str(&text(folder, name)?).map_err(|problem| flaw(name, "JSON", problem.to_string()))
}

/// The record that the files of a bundle tell.
pub fn read(folder: &Path) -> Result<Record, Flaw> {
    let request = json(folder, "request.json")?;
    let stream = "sse_transcript.jsonl";
    let lines = text(folder, stream)?.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let lines = lines.map_err(|problem| flaw(stream, "JSON in each line", problem.to_string()))?;
    let transcript = Record::read_stream(&request, &lines)
        .map_err(|what| flaw(stream, "a recorded stream", format!("a mistake in {what}")))?;
    let facts: Facts = serde_json::from_value(json(folder, "verification.json")?)
        .map_err(|problem| flaw("verification.json", "the facts of the run", problem.to_string()))?;
    let metrics = json(folder, "metrics_snapshot.json")?;
    let scrape = |moment: &str| metrics[moment].as_str().map(str::to_owned);
    let admission = if folder.join("admission.json").exists() { Some(json(folder, "admission.json")?) } else { None };
    Ok(Record { facts, transcript, admission, metrics: scrape("before").zip(scrape("after")) })
}

/// Where the stored document says something that the evidence does not.
fn differences(stored: &Value, derived: &Value) -> Vec<Flaw> {
    let (Some(old), Some(new)) = (stored.as_object(), derived.as_object()) else {
        return vec![flaw("verification.json", "an object", stored.to_string())];
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let mut flaws = Vec::new();
    for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
        match (old.get(key).and_then(Value::as_array), new.get(key).and_then(Value::as_array)) {
            (Some(said), Some(found)) if said.len() == found.len() => {
                for (said, found) in said.iter().zip(found).filter(|(said, found)| said != found) {
                    flaws.push(flaw(
                        "verification.json",
                        format!("the check {found}, which the evidence gives"),
                        said.to_string(),
                    ));
                }
            }
            (said, found) => {
                let count = |list: Option<&Vec<Value>>, value| {
                    list.map_or_else(|| shown(value), |list| format!("{} entries", list.len()))
                };
                let expected = format!("{key} {}, which the evidence gives", count(found, new.get(key)));
                flaws.push(flaw("verification.json", expected, count(said, old.get(key))));
            }
        }
    }
    flaws
}
