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

fn hashes(folder: &Path) -> Vec<Flaw> {
    let manifest = match fs::read_to_string(folder.join(MANIFEST)) {
        Ok(manifest) => manifest,
        Err(problem) => return vec![flaw(MANIFEST, "the list of hashes", problem.to_string())],
    };
    let (mut flaws, mut listed) = (Vec::new(), BTreeSet::new());
    for (number, line) in manifest.lines().enumerate() {
        let entry = line.split_once("  ").filter(|(hash, name)| {
            let plain = !name.is_empty() && !name.contains(['/', '\\']) && *name != "..";
            hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && plain
        });
        let Some((hash, name)) = entry else {
            flaws.push(flaw(MANIFEST, "`sha256  name` in each line", format!("line {}: {line:?}", number + 1)));
            continue;
        };
        if !listed.insert(name.to_owned()) {
            flaws.push(flaw(MANIFEST, "each file once", format!("{name} again in line {}", number + 1)));
        }
        match fs::read(folder.join(name)) {
            Ok(bytes) => {
                let found = sha256_hex(&bytes);
                if !found.eq_ignore_ascii_case(hash) {
                    flaws.push(flaw(name, format!("sha256 {hash}"), format!("sha256 {found}: the file was changed")));
                }
            }
            Err(problem) => flaws.push(flaw(name, "a file that the manifest lists", problem.to_string())),
        }
    }
    for name in NEEDED.iter().filter(|name| !listed.contains(**name)) {
        flaws.push(flaw(MANIFEST, format!("an entry for {name}"), "none"));
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for name in entries.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        if name != MANIFEST && !listed.contains(&name) {
            flaws.push(flaw(&name, "only files that the manifest lists", "one that it does not"));
        }
    }
    flaws
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
