//! Every verdict of a haiku run, derived from its record alone: at the end of the run, and again by whoever doubts it.
//!
//! Two verdicts, never mixed: the *pipeline* (each event, count and metric is right) and the *word rule* (what the model
//! can do).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Form, Record, Source};
use crate::harness::Finding;
use crate::harness::haiku::{self, Asked, Violation};
use crate::harness::transcript::{RULES, Scope};

/// A haiku has this long, all told.
pub const WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Pipeline,
    Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Outcome {
    Pass,
    Fail,
    NotApplicable,
    /// What it would be judged by is not there: neither passed nor failed.
    NotCompared,
}

/// One thing that had to hold, and the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub part: Part,
    pub outcome: Outcome,
    pub expected: String,
    pub found: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub pipeline: Outcome,
    pub word_rule: Outcome,
    pub text: String,
    pub checks: Vec<Check>,
}

impl Judgement {
    pub fn holds(&self) -> bool {
        self.pipeline == Outcome::Pass && self.word_rule != Outcome::Fail
    }
}

pub fn judge(record: &Record) -> Judgement {
    let mut checks = pipeline(record);
    checks.extend(word(record));
    let of = |part: Part| {
        let mut outcomes = checks.iter().filter(|check| check.part == part).map(|check| check.outcome);
        match () {
            () if outcomes.clone().any(|outcome| outcome == Outcome::Fail) => Outcome::Fail,
            () if outcomes.clone().all(|outcome| outcome == Outcome::NotApplicable) => Outcome::NotApplicable,
            () if outcomes.any(|outcome| outcome == Outcome::Pass) => Outcome::Pass,
            () => Outcome::NotCompared,
        }
    };
    Judgement { pipeline: of(Part::Pipeline), word_rule: of(Part::Word), text: record.transcript.text(), checks }
}

fn check(part: Part, name: &str, holds: bool, expected: impl Into<String>, found: impl Into<String>) -> Check {
    let outcome = if holds { Outcome::Pass } else { Outcome::Fail };
    Check { name: name.into(), part, outcome, expected: expected.into(), found: found.into() }
}

fn pipeline(record: &Record) -> Vec<Check> {
    let transcript = &record.transcript;
    let mut checks = Vec::new();
    let mut add = |name: &str, holds: bool, expected: String, found: String| {
        checks.push(check(Part::Pipeline, name, holds, expected, found));
    };
    add("status", transcript.status == 200, "status 200".into(), transcript.status.to_string());
    let ended = transcript.terminal().is_some_and(|frame| frame.is("end"));
    add("completed", ended, "a stream that runs to its end event".into(), transcript.summary());
    let tokens = transcript.tokens().count();
    add("tokens", tokens > 0, "at least one token event".into(), tokens.to_string());
    let out = transcript.tokens_out();
    let enough = out.is_some_and(|out| out >= tokens as u64 && out > 0);
    add("tokens-out", enough, format!("end.tokens_out of at least {tokens}"), told(out));
    let asked = record.request()["max_tokens"].as_u64();
    let limited = out.zip(asked).is_some_and(|(out, asked)| out <= asked);
    add("limit", limited, format!("end.tokens_out of at most {}", told(asked)), told(out));
    add(
        "in-time",
        transcript.ended_at <= WITHIN,
        format!("an end within {WITHIN:.0?}"),
        format!("{:.3?}", transcript.ended_at),
    );
    let seed = record.request()["seed"].as_u64();
    let reported = transcript.field("end", "seed").and_then(|seed| seed.as_u64());
    add("seed", seed == reported, format!("the seed {}", told(seed)), told(reported));

    // The rules of a worker's stream; an orchestrator's events have fields of their own.
    let rules = RULES.iter().filter(|rule| rule.scope != Scope::OnRequest);
    let of_any_stream = |name: &str| ORDER_RULES.contains(&name);
    for rule in rules.filter(|rule| record.facts.source == Source::Worker || of_any_stream(rule.name)) {
        let judged: Result<(), Finding> = transcript.judge(rule.name);
        let found = judged.as_ref().err().map_or_else(|| "it holds".to_owned(), |finding| finding.found.clone());
        add(rule.name, judged.is_ok(), rule.holds.to_owned(), found);
    }
    if record.facts.form == Form::Plain {
        let (first, second) = (transcript.text(), record.facts.second_text.clone().unwrap_or_default());
        add("two-equal-runs", first == second, format!("{first:?} once more"), format!("{second:?}"));
    }
    checks.push(metrics(record, out));
    checks
}

/// The rules that any stream of events obeys.
const ORDER_RULES: &[&str] = &[
    "content-type",
    "utf8",
    "event-line",
    "one-line-data",
    "json-data",
    "frame-complete",
    "clean-end",
    "started-first",
    "started-once",
    "no-token-after-terminal",
    "terminal-last",
    "terminal-once",
    "token-index",
];

/// The metric that counts tokens.
pub fn tokens_counter(source: Source) -> &'static str {
    match source {
        Source::Worker => "worker_tokens_generated_total",
        Source::Orchestrator => "tokens_out_total",
    }
}

/// The counter of tokens rose by exactly what the stream's end says.
fn metrics(record: &Record, out: Option<u64>) -> Check {
    let name = tokens_counter(record.facts.source);
    let expected = format!("{name} risen by {}", told(out));
    let Some((before, after)) = record.scrapes() else {
        let found = "the metrics could not be read".to_owned();
        return Check { name: "metrics".into(), part: Part::Pipeline, outcome: Outcome::NotCompared, expected, found };
    };
    if !after.has(name) {
        return check(Part::Pipeline, "metrics", false, expected, "no such metric");
    }
    let risen = after.sum(name) - before.sum(name);
    check(Part::Pipeline, "metrics", out.is_some_and(|out| out as f64 == risen), expected, format!("by {risen}"))
}

fn word(record: &Record) -> Vec<Check> {
    let facts = &record.facts;
    let text = record.transcript.text();
    if let Some(reason) = &facts.word_rule_not_applicable {
        let (name, expected) = ("word-rule".into(), "a model that follows instructions".into());
        return vec![Check {
            name,
            part: Part::Word,
            outcome: Outcome::NotApplicable,
            expected,
            found: reason.clone(),
        }];
    }
    let lines = haiku::lines(&text);
    let mut checks = vec![check(Part::Word, "three-lines", lines == 3, "three lines", lines.to_string())];
    if facts.form == Form::Plain {
        return checks;
    }
    let asked = Asked { subject: facts.subject.clone(), minute: facts.minute, nonce: facts.nonce.clone() };
    let mut add = |name: &str, holds: bool, expected: String, found: String| {
        checks.push(check(Part::Word, name, holds, expected, found));
    };
    let violations = asked.judge(&text);
    let times = violations.iter().find_map(|violation| match violation {
        Violation::Word { times, .. } => Some(*times),
        _ => None,
    });
    let word = haiku::spell(facts.minute);
    add("word-once", times.is_none(), format!("{word:?} exactly once"), format!("{} times", times.unwrap_or(1)));
    let echoed = violations.contains(&Violation::Nonce);
    let found = if echoed { "it is echoed" } else { "it is not echoed" };
    add("nonce", !echoed, format!("a text without the nonce {}", facts.nonce), found.into());
    // What was asked is what is judged.
    let prompt = record.request()["prompt"].as_str().unwrap_or_default().to_owned();
    add("prompt", prompt == asked.prompt(), asked.prompt(), prompt);
    let clock = facts.sent_at.get(14..16).and_then(|minute| minute.parse::<u8>().ok());
    add("minute", clock == Some(facts.minute), format!("the minute of {}", facts.sent_at), facts.minute.to_string());
    let same = facts.minute == facts.minute_at_start;
    add(
        "minute-kept",
        same,
        format!("a stream that starts in minute {}", facts.minute),
        facts.minute_at_start.to_string(),
    );
    checks
}

fn told(number: Option<u64>) -> String {
    number.map_or_else(|| "nothing".to_owned(), |number| number.to_string())
}

/// `verification.json`: the facts, the numbers, and every check with its evidence.
pub fn document(record: &Record, judgement: &Judgement) -> Value {
    let transcript = &record.transcript;
    let mut document = serde_json::to_value(&record.facts).unwrap_or_default();
    if let Value::Object(fields) = &mut document {
        fields.insert("word".into(), haiku::spell(record.facts.minute).into());
        fields.insert("prompt".into(), record.request()["prompt"].clone());
        fields.insert("token_events".into(), transcript.tokens().count().into());
        fields.insert("tokens_out".into(), transcript.tokens_out().into());
        fields.insert("elapsed_ms".into(), (transcript.ended_at.as_micros() as f64 / 1e3).into());
        if let Ok(Value::Object(judged)) = serde_json::to_value(judgement) {
            fields.extend(judged);
        }
    }
    document
}
