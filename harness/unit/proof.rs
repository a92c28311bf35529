//! Proof bundles: what is written is what is judged again, a changed byte is named, and no secret gets in.

use std::fs;
use std::path::Path;
use std::time::Duration;

use llorch::harness::http::{Headers, Request};
use llorch::harness::proof::bundle::MANIFEST;
use llorch::harness::proof::checks::{self, Outcome};
use llorch::harness::proof::redact::Redactor;
use llorch::harness::proof::{Bundle, Facts, Form, Record, Source, judge, page, verify};
use llorch::harness::transcript::Transcript;
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn())] = &[
    ("proof/a_right_run_holds", a_right_run_holds),
    ("proof/every_wrong_run_is_told", every_wrong_run_is_told),
    ("proof/a_bundle_verifies_anywhere", a_bundle_verifies_anywhere),
    ("proof/any_changed_byte_is_named", any_changed_byte_is_named),
    ("proof/a_verdict_that_was_bettered_is_found_out", a_verdict_that_was_bettered_is_found_out),
    ("proof/files_that_come_and_go", files_that_come_and_go),
    ("proof/secrets_stay_out", secrets_stay_out),
];

const TEXT: &str = "the fans hum all night\ntwenty-one warm kernels sing\na cursor blinks on";

fn request() -> Value {
    json!({
        "job_id": "haiku-1", "max_tokens": 100, "temperature": 0.7, "top_p": 0.95, "seed": 9,
        "prompt": "Write a haiku about GPU computing that includes the word \"twenty-one\" (nonce: a1b2c3d4)",
    })
}

fn stream(text: &str, tokens_out: usize) -> Vec<u8> {
    let mut bytes = String::new();
    let mut frame = |event: &str, data: Value| bytes += &format!("event: {event}\ndata: {data}\n\n");
    frame("started", json!({ "job_id": "haiku-1", "model": "tiny", "started_at": "2026-01-02T03:21:04Z", "seed": 9 }));
    for (index, word) in text.split_inclusive(' ').enumerate() {
        frame("token", json!({ "t": word, "i": index }));
    }
    frame(
        "end",
        json!({
            "tokens_out": tokens_out, "decode_time_ms": 20, "stop_reason": "EOS", "stop_sequence_matched": null, "seed": 9,
        }),
    );
    bytes.into_bytes()
}

fn record(text: &str, tokens_out: usize) -> Record {
    let headers = Headers(vec![
        ("content-type".into(), "text/event-stream".into()),
        ("x-correlation-id".into(), "0c2f0f0e-6b0c-4c57-9a3a-0d5bb0d3a111".into()),
    ]);
    let mut transcript =
        Transcript::replay(Request::post("/execute").json(&request()), headers, &stream(text, tokens_out));
    transcript.ended_at = Duration::from_millis(40);
    let scrape =
        |count: usize| format!("# TYPE worker_tokens_generated_total counter\nworker_tokens_generated_total {count}\n");
    let facts = Facts {
        source: Source::Worker,
        form: Form::Minute,
        subject: "GPU computing".into(),
        minute: 21,
        minute_at_start: 21,
        nonce: "a1b2c3d4".into(),
        sent_at: "2026-01-02T03:21:04Z".into(),
        retried: false,
        second_text: None,
        word_rule_not_applicable: None,
    };
    Record { facts, transcript, admission: None, metrics: Some((scrape(5), scrape(5 + 14))) }
}

fn right() -> Record {
    record(TEXT, 14)
}

fn a_right_run_holds() {
    let judgement = judge(&right());
    let broken: Vec<_> = judgement.checks.iter().filter(|check| check.outcome != Outcome::Pass).collect();
    assert!(judgement.holds() && broken.is_empty(), "{broken:?}");
}

/// Which check must fall, for each way in which a run can be wrong.
fn every_wrong_run_is_told() {
    let changed = |change: &dyn Fn(&mut Record)| {
        let mut record = right();
        change(&mut record);
        record
    };
    let wrong: Vec<(&str, Record)> = vec![
        ("word-once", record(&TEXT.replace("twenty-one", "twenty one stones and twenty-one"), 14)),
        ("word-once", record(&TEXT.replace("twenty-one", "one"), 14)),
        ("three-lines", record(&TEXT.replacen('\n', " ", 1), 14)),
        ("nonce", record(&format!("{TEXT} A1B2C3D4"), 15)),
        ("tokens-out", record(TEXT, 3)),
        ("limit", record(TEXT, 101)),
        ("metrics", record(TEXT, 15)),
        ("in-time", changed(&|record| record.transcript.ended_at = Duration::from_secs(31))),
        ("minute", changed(&|record| record.facts.minute = 22)),
        ("minute-kept", changed(&|record| record.facts.minute_at_start = 22)),
        ("prompt", changed(&|record| record.facts.subject = "rain".into())),
        ("completed", changed(&|record| drop(record.transcript.frames.pop()))),
        ("status", changed(&|record| record.transcript.status = 500)),
        ("tokens", changed(&|record| record.transcript.frames.retain(|frame| !frame.is("token")))),
    ];
    for (name, record) in wrong {
        let judgement = judge(&record);
        let fell = judgement.checks.iter().any(|check| check.name == name && check.outcome == Outcome::Fail);
        assert!(fell && !judgement.holds(), "{name} holds: {:?}", judgement.checks);
    }
    // What cannot be compared has not passed, and is not held against the worker.
    let blind = judge(&changed(&|record| record.metrics = None));
    let metrics = blind.checks.iter().find(|check| check.name == "metrics").expect("the check");
    assert_eq!(metrics.outcome, Outcome::NotCompared);
}

fn write(record: &Record, folder: &Path) {
    let mut bundle = Bundle::create(folder.to_path_buf(), Redactor::new([])).expect("an empty folder");
    bundle.json("request.json", &record.request()).expect("written");
    bundle.lines("sse_transcript.jsonl", &record.stream_lines()).expect("written");
    bundle.lines("logs.jsonl", &[]).expect("written");
    let (before, after) = record.metrics.clone().unzip();
    bundle.json("metrics_snapshot.json", &json!({ "before": before, "after": after, "delta": [] })).expect("written");
    bundle.json("environment.json", &json!({})).expect("written");
    bundle.lines("seeds.ndjson", &[]).expect("written");
    bundle.json("timings.json", &page::timings(record)).expect("written");
    let judgement = judge(record);
    bundle.json("verification.json", &checks::document(record, &judgement)).expect("written");
    bundle.text("README.md", "read").expect("written");
    bundle.text("report.html", "<p>seen").expect("written");
    bundle.seal().expect("sealed");
}

fn a_bundle_verifies_anywhere() {
    let root = tempfile::tempdir().expect("a folder");
    let (first, moved) = (root.path().join("bundle"), root.path().join("elsewhere"));
    write(&right(), &first);
    assert!(verify::verify(&first).expect("it verifies").holds());
    fs::rename(&first, &moved).expect("moved");
    assert!(verify::verify(&moved).expect("it verifies").holds());
    let again = Bundle::create(moved, Redactor::new([]));
    assert!(again.is_err(), "a folder with a run in it took another");
}

fn any_changed_byte_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("bundle");
    write(&right(), &folder);
    let files: Vec<_> = fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.path()).collect();
    for path in files.iter().filter(|path| path.file_name().is_some_and(|name| name != MANIFEST)) {
        let bytes = fs::read(path).expect("readable");
        if bytes.is_empty() {
            continue;
        }
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(path, &changed).expect("written");
            let flaws = verify::verify(&folder).expect_err("a changed byte");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(flaws.iter().any(|flaw| flaw.file == name), "{name}: {flaws:?}");
        }
        fs::write(path, &bytes).expect("written");
    }
    assert!(verify::verify(&folder).is_ok());
}

/// Who makes a FAIL a PASS and hashes everything anew is found out by the evidence.
fn a_verdict_that_was_bettered_is_found_out() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("bundle");
    write(&record(TEXT, 15), &folder);
    let path = folder.join("verification.json");
    let text = fs::read_to_string(&path).expect("readable").replace("\"FAIL\"", "\"PASS\"");
    fs::write(&path, &text).expect("written");
    let manifest = fs::read_to_string(folder.join(MANIFEST)).expect("readable");
    let lines = manifest.lines().map(|line| match line.split_once("  ") {
        Some((_, "verification.json")) => {
            format!("{}  verification.json\n", llorch::model::digest::sha256_hex(text.as_bytes()))
        }
        _ => format!("{line}\n"),
    });
    let lines: String = lines.collect();
    fs::write(folder.join(MANIFEST), lines).expect("written");
    let flaws = verify::verify(&folder).expect_err("verdicts that the evidence does not give");
    assert!(flaws.iter().all(|flaw| flaw.file == "verification.json") && !flaws.is_empty(), "{flaws:?}");
}

fn files_that_come_and_go() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("bundle");
    write(&right(), &folder);
    fs::write(folder.join("more.txt"), "more").expect("written");
    let flaws = verify::verify(&folder).expect_err("a file too many");
    assert_eq!(flaws[0].file, "more.txt");
    fs::remove_file(folder.join("more.txt")).expect("removed");
    fs::remove_file(folder.join("seeds.ndjson")).expect("removed");
    let flaws = verify::verify(&folder).expect_err("a file too few");
    assert_eq!(flaws[0].file, "seeds.ndjson");
    fs::write(folder.join(MANIFEST), "").expect("written");
    assert!(verify::verify(&folder).is_err(), "an empty manifest verified");
    fs::remove_file(folder.join(MANIFEST)).expect("removed");
    assert!(verify::verify(&folder).is_err(), "no manifest verified");
}

fn secrets_stay_out() {
    let redactor = Redactor::new(["a-very-secret-token".to_owned()]);
    let secrets = [
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("{\"api_key\":\"k-12345678\"}", "k-12345678"),
        ("{\"LLORCH_API_TOKEN\":\"hushhush\"}", "hushhush"),
        ("http://me:passw0rd@host/x", "passw0rd"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJzdWIiOiIxIn0"),
        ("the token is a-very-secret-token.", "a-very-secret-token"),
        ("hf_abcdefghijklmnop", "hf_abcdefghijklmnop"),
    ];
    for (text, secret) in secrets {
        let clean = redactor.clean(text);
        assert!(!clean.contains(secret) && clean.contains("[REDACTED]"), "{clean}");
    }
    // What only looks like one stays: numbers of tokens, and the event of that name.
    for text in [
        "{\"event\":\"token\",\"data\":{\"t\":\"a\",\"i\":0}}",
        "{\"tokens_out\":21,\"tokens_in\":27}",
        "max_tokens 100",
    ] {
        assert_eq!(redactor.clean(text), text);
    }
}
