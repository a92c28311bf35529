//! The parity log: lines as the specification says, read strictly, dropped rather than waited for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llorch::parity::Log;
use llorch::parity::capture::summary::Number;
use llorch::parity::log::{Entry, Key, LogError, Meta, Settings, Writer};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("parity_log/variables", variables),
    ("parity_log/lines", lines),
    ("parity_log/appends", appends),
    ("parity_log/drops_and_says_so", drops_and_says_so),
    ("parity_log/cut_anywhere", cut_anywhere),
    ("parity_log/refuses", refuses),
];

fn scratch() -> (TempDir, Settings) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log.jsonl");
    (folder, Settings { file, team: "blue".to_owned(), values: 2 })
}

fn entry(checkpoint: &str, token_idx: usize, values: Vec<f32>) -> Entry {
    Entry {
        checkpoint: checkpoint.to_owned(),
        layer: 1,
        token_idx,
        shape: vec![values.len()],
        values,
        source: Arc::from("a test"),
    }
}

fn key(checkpoint: &str, token_idx: usize) -> Key {
    Key { token_idx, checkpoint: checkpoint.to_owned(), layer: 1 }
}

fn variables() {
    let of = |pairs: &[(&str, &str)]| {
        let variables: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::from_variables(&variables)
    };
    assert_eq!(of(&[]), Ok(None));
    assert_eq!(of(&[("ORCH_LOG_FILE", ""), ("ORCH_LOG_TEAM", "a")]), Ok(None), "an empty name is none");
    let file = PathBuf::from("l");
    let plain = Settings { file: file.clone(), team: "llorch".to_owned(), values: 10 };
    assert_eq!(of(&[("ORCH_LOG_FILE", "l")]), Ok(Some(plain)));
    let full = of(&[("ORCH_LOG_FILE", "l"), ("ORCH_LOG_TEAM", "blue"), ("ORCH_LOG_VALUES", "0")]);
    assert_eq!(full, Ok(Some(Settings { file, team: "blue".to_owned(), values: 0 })));
    for wrong in ["x", "-1", "1.5", "1000001", "99999999999999999999"] {
        let refused = of(&[("ORCH_LOG_FILE", "l"), ("ORCH_LOG_VALUES", wrong)]).expect_err(wrong);
        assert!(refused.contains("ORCH_LOG_VALUES") && refused.contains(wrong), "{refused}");
    }
}

fn lines() {
    let (_folder, settings) = scratch();
    let writer = Writer::start(&settings, Meta { engine: "x".to_owned(), ..Meta::default() }).expect("starts");
    writer.record(entry("cp01.ln_1", 0, vec![0.1, f32::NAN, f32::NEG_INFINITY]));
    drop(writer);
    let text = fs::read_to_string(&settings.file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["record"], &lines[0]["team"], &lines[0]["engine"]),
        (&json!("meta"), &json!("blue"), &json!("x"))
    );
    let fields: Vec<&str> = lines[1].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "ts team checkpoint token_idx layer dtype shape values digest count min max mean l2 nan inf source";
    assert_eq!(fields, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines[1]["values"], json!([0.1, "nan"]), "the first two");
    assert_eq!((&lines[1]["min"], &lines[1]["max"], &lines[1]["nan"]), (&json!(0.1), &json!(0.1), &json!(1)));
    let log = Log::read(&settings.file).expect("a log");
    let record = &log.runs[0].records[&key("cp01.ln_1", 0)];
    assert_eq!(record.shape, [3]);
    assert_eq!((record.statistics.inf, record.values[1]), (1, Number::F64(f64::NAN)));
}

fn appends() {
    let (_folder, settings) = scratch();
    for engine in ["first", "second"] {
        let meta = Meta { engine: engine.to_owned(), ..Meta::default() };
        let writer = Writer::start(&settings, meta).expect("starts");
        // two generations: a key that comes again begins the next one
        for token_idx in [0, 2, 3, 0, 2] {
            writer.record(entry("cp01.ln_1", token_idx, vec![token_idx as f32]));
            writer.record(entry("cp09.logits", token_idx, vec![]));
        }
    }
    let log = Log::read(&settings.file).expect("a log");
    let runs: Vec<(&str, usize)> = log.runs.iter().map(|run| (run.meta.engine.as_str(), run.records.len())).collect();
    assert_eq!(runs, [("first", 6), ("first", 4), ("second", 6), ("second", 4)]);
}

/// Faster than any thread can digest it: some are dropped, nobody waits, and every one is accounted for.
fn drops_and_says_so() {
    let (_folder, settings) = scratch();
    let writer = Writer::start(&settings, Meta::default()).expect("starts");
    let values = vec![1.0; 1 << 20];
    let count = 200;
    for index in 0..count {
        writer.record(entry("cp08.logits", index, values.clone()));
    }
    assert!(writer.dropped() > 0, "a queue of 256 MiB took {} MiB", 4 * count);
    drop(writer);
    let log = Log::read(&settings.file).expect("a log");
    assert!(log.dropped > 0);
    assert_eq!(log.runs[0].records.len() as u64 + log.dropped, count as u64);
}

fn cut_anywhere() {
    let (_folder, settings) = scratch();
    let writer = Writer::start(&settings, Meta::default()).expect("starts");
    writer.record(entry("cp01.ln_1", 0, vec![1.0]));
    drop(writer);
    let whole = fs::read(&settings.file).unwrap();
    for length in 0..whole.len() {
        fs::write(&settings.file, &whole[..length]).unwrap();
        assert!(Log::read(&settings.file).is_err(), "cut at {length}");
    }
    fs::write(&settings.file, &whole).unwrap();
    Log::read(&settings.file).expect("whole again");
}

fn refuses() {
    let (folder, settings) = scratch();
    let record = json!({"ts": "t", "team": "a", "checkpoint": "cp01.ln_1", "token_idx": 0, "layer": 0, "dtype": "F32",
        "shape": [2], "values": [1.0, "inf"], "digest": "00", "count": 2, "min": 1.0, "max": 1, "mean": "nan", "l2": "-inf",
        "nan": 0, "inf": 1, "source": "s"});
    let read = |text: &str| {
        fs::write(&settings.file, text).unwrap();
        Log::read(&settings.file)
    };
    read(&format!("{record}\n")).expect("a log without a first line");
    read(&format!("\n{record}\n\n")).expect("empty lines mean nothing");
    let mut changed = Vec::new();
    for (field, value) in [
        ("count", json!(3)),
        ("shape", json!([3])),
        ("shape", json!([18446744073709551615u64, 2])),
        ("shape", json!("[2]")),
        ("values", json!([1, 2, 3])),
        ("values", json!(["one"])),
        ("token_idx", json!(-1)),
        ("layer", json!("0")),
        ("min", json!(null)),
        ("record", json!("other")),
    ] {
        let mut record = record.clone();
        record[field] = value;
        changed.push(record.to_string());
    }
    changed.push(record.to_string().replacen("\"team\"", "\"team\":\"b\",\"team\"", 1));
    changed.push("{}".to_owned());
    changed.push("[]".to_owned());
    changed.push(json!({"record": "meta", "schema_version": 9}).to_string());
    changed.push(json!({"record": "dropped"}).to_string());
    for line in changed {
        match read(&format!("{record}\n{line}\n")) {
            Err(LogError::Line { line: 2, file, .. }) => assert_eq!(file, settings.file),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(matches!(read(""), Err(LogError::Empty { .. })));
    assert!(matches!(Log::read(folder.path()), Err(LogError::Io { .. })));
    assert!(matches!(Log::read(Path::new("/nowhere/log")), Err(LogError::Io { .. })));
    let unwritable = Settings { file: folder.path().to_path_buf(), ..settings.clone() };
    assert!(Writer::start(&unwritable, Meta::default()).is_err());
}
