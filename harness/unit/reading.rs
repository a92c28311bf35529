//! Logs and Prometheus text, read.

use std::time::Duration;

use llorch::harness::exposition::Scrape;
use llorch::harness::log::Log;
use llorch::harness::process::{Line, Output};

pub const TESTS: &[(&str, fn())] = &[
    ("log/events_and_keys", events_and_keys),
    ("log/order_of_messages", order_of_messages),
    ("log/leaks", leaks),
    ("exposition/samples", samples),
    ("exposition/wrong_text", wrong_text),
    ("exposition/changes", changes),
];

fn log(lines: &[&str]) -> Log {
    let line = |text: &&str| Line { text: text.to_string(), from: Output::Stdout, at: Duration::ZERO };
    Log::read(&lines.iter().map(line).collect::<Vec<_>>())
}

fn events_and_keys() {
    let log =
        log(&[r#"{"event":"startup","message":"a","worker_id":"w"}"#, "plain", r#"{"event":"ready","message":"b"}"#]);
    assert_eq!(log.event("ready").unwrap().text("message"), Some("b"));
    assert!(log.event("shutdown").is_err());
    assert_eq!(log.requires("startup", &["worker_id", "message"]), Ok(()));
    assert!(log.requires("ready", &["worker_id"]).unwrap_err().expected.contains("worker_id"));
    assert!(log.requires("shutdown", &[]).is_err(), "an event that is not there has no keys");
    assert_eq!(log.with("worker_id", "w").count(), 1);
    assert_eq!(log.is_json().unwrap_err().found, "plain");
}

fn order_of_messages() {
    let log = log(&[r#"{"message":"one"}"#, r#"{"message":"two"}"#, "three"]);
    assert_eq!(log.messages_in_order(&["one", "three"]), Ok(()));
    assert!(log.messages_in_order(&["two", "one"]).unwrap_err().found.contains("it stands before"));
    assert!(log.messages_in_order(&["four"]).unwrap_err().found.contains("nowhere"));
}

fn leaks() {
    let secret = "Tell \"me\"\nübermorgen";
    let table = [
        r#"{"message":"prompt: Tell \"me\"\nübermorgen"}"#,
        r#"{"prompt":"Tell \"me\"\n\u00fcbermorgen"}"#,
        r#"{"span":{"args":["Tell \"me\"\nübermorgen"]}}"#,
        r#"plain Tell \"me\"\nübermorgen"#,
    ];
    for line in table {
        assert!(log(&["{}", line]).is_free_of("prompt", secret).is_err(), "{line}");
    }
    assert_eq!(log(&[r#"{"prompt_chars":20}"#]).is_free_of("prompt", secret), Ok(()));
    assert!(log(&["{}"]).is_free_of("prompt", "a").is_err(), "too short to tell");
}

const TEXT: &str = "# HELP worker_requests_total all\n# TYPE worker_requests_total counter\n\
    worker_requests_total{outcome=\"success\"} 3\nworker_requests_total{outcome=\"er\\\"r\\n\\\\\",} 1 1700000000\n\
    worker_memory_bytes 1.5e3\nworker_first_token_ms_bucket{le=\"+Inf\"} +Inf\nodd NaN\n\n";

fn samples() {
    let scrape = Scrape::parse(TEXT).unwrap();
    assert_eq!(scrape.value("worker_requests_total", &[("outcome", "success")]), Ok(3.0));
    assert_eq!(scrape.value("worker_requests_total", &[("outcome", "er\"r\n\\")]), Ok(1.0));
    assert_eq!(scrape.sum("worker_requests_total"), 4.0);
    assert_eq!(scrape.value("worker_memory_bytes", &[]), Ok(1500.0));
    assert_eq!(scrape.value("worker_first_token_ms_bucket", &[]), Ok(f64::INFINITY));
    assert!(scrape.value("worker_requests_total", &[]).unwrap_err().found.contains("2 samples"));
    assert!(scrape.value("worker_requests_total", &[("outcome", "x")]).unwrap_err().found.contains("only"));
    assert!(scrape.value("nothing", &[]).is_err());
    assert_eq!(scrape.types["worker_requests_total"], "counter");
    assert!(scrape.has("odd") && !scrape.has("even"));
}

fn wrong_text() {
    for wrong in [
        "name",
        "name x",
        "1name 1",
        "name{a=1} 1",
        "name{a=\"1} 1",
        "name{a=\"\\q\"} 1",
        "name 1 2 3",
        "<html>",
        "{\"a\":1}",
    ] {
        assert!(Scrape::parse(wrong).is_err(), "{wrong}");
    }
}

fn changes() {
    let before = Scrape::parse(TEXT).unwrap();
    assert_eq!(before.changes(&before, &[]), []);
    let after = Scrape::parse(&TEXT.replace("} 3\n", "} 4\n").replace("odd NaN", "new 1")).unwrap();
    let told: Vec<String> = before.changes(&after, &[]).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["new: absent → 1", "odd: NaN → absent", "worker_requests_total{outcome=\"success\"}: 3 → 4"]);
    assert_eq!(before.changes(&after, &["odd", "new"]).len(), 1);
}
