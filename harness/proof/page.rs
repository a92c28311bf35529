//! The two files of a bundle that are made for people.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::checks::{Judgement, Outcome, Part};
use super::record::Record;
use crate::harness::bench::statistics::Samples;
use crate::parity::report::{Case, Cases, Moment, Note, Page, Run};

/// `README.md`: what this folder proves and how to check it.
pub fn read_me(record: &Record, judgement: &Judgement, target: &str) -> String {
    let facts = &record.facts;
    let mut text = String::new();
    let _ = writeln!(text, "# A haiku, and the proof that it was computed\n");
    let _ = writeln!(text, "| | |\n|---|---|");
    let _ = writeln!(text, "| asked | {target}, at {} |", facts.sent_at);
    let _ =
        writeln!(text, "| pipeline | {} |\n| word rule | {} |\n", word(judgement.pipeline), word(judgement.word_rule));
    let _ = writeln!(text, "```text\n{}\n```\n", judgement.text.trim_matches('\n').replace("```", "` ` `"));
    let _ = writeln!(text, "`llorch proof verify DIR` reads this folder, offline, and derives every verdict again.");
    let _ = writeln!(text, "`sha256sum --check MANIFEST.sha256` compares the files alone.\n");
    for (file, content) in FILES {
        let _ = writeln!(text, "- `{file}`: {content}");
    }
    text
}

const FILES: [(&str, &str); 9] = [
    ("request.json", "the request's body, as sent"),
    ("admission.json", "what an orchestrator answered, where one was asked"),
    ("sse_transcript.jsonl", "each frame with the moment of its arrival, in milliseconds since the request"),
    ("logs.jsonl", "the servers' lines of this correlation id"),
    ("metrics_snapshot.json", "the counters before and after, and what changed"),
    ("verification.json", "the facts, the numbers and every check with its evidence"),
    ("environment.json", "worker, model, machine and versions"),
    ("seeds.ndjson, timings.json", "the seeds used; percentiles of the first token and between tokens"),
    ("report.html", "the same to look at"),
];

fn word(outcome: Outcome) -> String {
    json!(outcome).as_str().unwrap_or_default().to_owned()
}

/// `report.html`: the verdicts and the stream, to look at.
pub fn report(record: &Record, judgement: &Judgement, target: &str) -> String {
    let case = |part: Part, name: &str, outcome: Outcome| {
        let checks = judgement.checks.iter().filter(|check| check.part == part && check.outcome != Outcome::Pass);
        Case {
            address: format!("haiku/{}", name.replace(' ', "-")),
            name: format!("The {name} holds"),
            feature: "haiku".into(),
            level: "MUST".into(),
            verdict: word(outcome),
            class: match outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "fail",
                Outcome::NotApplicable | Outcome::NotCompared => "none",
            },
            seconds: record.transcript.ended_at.as_secs_f64(),
            notes: checks
                .map(|check| Note {
                    title: check.name.clone(),
                    text: format!("expected {}, found {}", check.expected, check.found),
                })
                .collect(),
            ..Case::default()
        }
    };
    let frames = record.transcript.frames.iter();
    let events =
        frames.map(|frame| Moment { ms: frame.at.as_secs_f64() * 1e3, kind: frame.name().to_owned() }).collect();
    let page = Page {
        title: "A haiku, and the proof that it was computed".into(),
        subtitle: format!(
            "{target}, asked at {}: {}",
            record.facts.sent_at,
            judgement.text.trim().replace('\n', " / ")
        ),
        cases: Some(Cases {
            target: target.into(),
            warning: None,
            seconds: record.transcript.ended_at.as_secs_f64(),
            list: vec![
                case(Part::Pipeline, "pipeline", judgement.pipeline),
                case(Part::Word, "word rule", judgement.word_rule),
            ],
        }),
        runs: vec![Run { label: "the stream".into(), events }],
        ..Page::default()
    };
    page.html()
}

/// `timings.json`: the first token, and the gaps between tokens, in milliseconds.
pub fn timings(record: &Record) -> Value {
    let at: Vec<f64> = record.transcript.tokens().map(|frame| frame.at.as_secs_f64() * 1e3).collect();
    let gaps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    json!({ "first_token_ms": spread(at.first().copied().into_iter().collect()), "inter_token_ms": spread(gaps) })
}

fn spread(values: Vec<f64>) -> Value {
    let samples = Samples::of(values);
    let at = |share: f64| samples.percentile(share).map(|value| (value * 1e3).round() / 1e3);
    json!({ "p50": at(0.50), "p95": at(0.95), "p99": at(0.99), "count": samples.values().len() })
}
