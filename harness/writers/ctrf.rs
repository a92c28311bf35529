//! `--ctrf FILE`: the Common Test Report Format, one JSON document when the run ends.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::human::block;
use super::{News, Reporter};
use crate::harness::runner::{CaseOutcome, RunResult};
use crate::harness::verdict::Verdict;

pub struct Ctrf<W: Write>(pub W);

impl<W: Write> Reporter for Ctrf<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let News::RunEnded { result } = news else { return Ok(()) };
        writeln!(self.0, "{:#}", document(result, Timestamp::now().as_millisecond()))?;
        self.0.flush()
    }
}

/// `stop` is when the run ended, in milliseconds of Unix time.
pub fn document(result: &RunResult, stop: i64) -> Value {
    let count = |wanted: &str| result.outcomes.iter().filter(|outcome| status(outcome.verdict) == wanted).count();
    let start = stop - i64::try_from(result.elapsed.as_millis()).unwrap_or_default();
    json!({
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "generatedBy": "llorch",
        "results": {
            "tool": { "name": "llorch", "version": env!("CARGO_PKG_VERSION") },
            "summary": {
                "tests": result.outcomes.len(), "passed": count("passed"), "failed": count("failed"),
                "pending": count("pending"), "skipped": count("skipped"), "other": count("other"),
                "start": start, "stop": stop,
            },
            "tests": result.outcomes.iter().map(test).collect::<Vec<_>>(),
            "environment": { "appName": result.target.sentence },
            "extra": {
                "warning": result.target.warning, "interrupted": result.interrupted, "planned": result.planned,
            },
        },
    })
}

/// CTRF knows five; the verdict itself is the `rawStatus`.
fn status(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passed",
        Verdict::Fail | Verdict::Error | Verdict::NearTie | Verdict::Flaky => "failed",
        Verdict::Unimplemented | Verdict::Skipped => "skipped",
        // a broken SHOULD is neither
        Verdict::NonStrict => "other",
    }
}

fn test(outcome: &CaseOutcome) -> Value {
    let case = &outcome.case;
    let mut test = json!({
        "name": format!("{} {}", case.address, case.name).trim_end(),
        "status": status(outcome.verdict),
        "duration": u64::try_from(outcome.duration.as_millis()).unwrap_or_default(),
        "suite": [case.feature],
        "rawStatus": outcome.verdict.word(),
        "tags": case.requirements,
        "type": "e2e",
        "filePath": case.place.file,
        "flaky": outcome.verdict == Verdict::Flaky,
        "extra": { "address": case.address, "feature": case.feature, "level": case.level.word(), "line": case.place.line },
    });
    if let Some(finding) = &outcome.finding {
        test["message"] = format!("expected {}; found {}", finding.expected, finding.found).into();
        let told = anstream::adapter::strip_str(&block(outcome)).to_string();
        if !told.is_empty() {
            test["trace"] = told.into();
        }
    }
    test
}
