//! For programs: one JSON document at the end, or one JSON line for each event as it happens.

use std::io::{self, Write};

use serde::Serialize;

use super::{News, Reporter};
use crate::harness::case::Case;
use crate::harness::runner::{CaseOutcome, RunResult, StepAt, TargetSummary};
use crate::harness::verdict::Verdict;

/// `--format json`: everything, once, at the end.
pub struct Json<W: Write>(pub W);

/// `--format ndjson`: a line for each event.
pub struct Ndjson<W: Write>(pub W);

#[derive(Serialize)]
struct Document<'a> {
    target: &'a TargetSummary,
    counts: Counts,
    seconds: f64,
    interrupted: bool,
    planned: usize,
    cases: &'a [CaseOutcome],
}

/// Every verdict is there, also at zero, so that a reader need not guess.
#[derive(Serialize)]
struct Counts {
    pass: usize,
    fail: usize,
    non_strict: usize,
    unimplemented: usize,
    skipped: usize,
    near_tie: usize,
    flaky: usize,
    error: usize,
}

impl Counts {
    fn of(result: &RunResult) -> Self {
        Counts {
            pass: result.count(Verdict::Pass),
            fail: result.count(Verdict::Fail),
            non_strict: result.count(Verdict::NonStrict),
            unimplemented: result.count(Verdict::Unimplemented),
            skipped: result.count(Verdict::Skipped),
            near_tie: result.count(Verdict::NearTie),
            flaky: result.count(Verdict::Flaky),
            error: result.count(Verdict::Error),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    RunStarted { target: &'a TargetSummary, cases: usize },
    CaseStarted { address: &'a str, name: &'a str },
    StepStarted { address: &'a str, step: &'a StepAt },
    CaseEnded(&'a CaseOutcome),
    RunEnded { target: &'a TargetSummary, counts: Counts, seconds: f64, interrupted: bool, planned: usize },
}

impl<W: Write> Reporter for Json<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let News::RunEnded { result } = news else { return Ok(()) };
        let document = Document {
            target: &result.target,
            counts: Counts::of(result),
            seconds: result.elapsed.as_secs_f64(),
            interrupted: result.interrupted,
            planned: result.planned,
            cases: &result.outcomes,
        };
        serde_json::to_writer_pretty(&mut self.0, &document)?;
        self.0.write_all(b"\n")?;
        self.0.flush()
    }
}

impl<W: Write> Reporter for Ndjson<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let line = match news {
            News::RunStarted { target, cases } => Line::RunStarted { target, cases: cases.len() },
            News::CaseStarted { case: Case { address, name, .. } } => Line::CaseStarted { address, name },
            News::StepStarted { case, step } => Line::StepStarted { address: &case.address, step },
            News::CaseEnded { outcome } => Line::CaseEnded(outcome),
            News::RunEnded { result } => Line::RunEnded {
                target: &result.target,
                counts: Counts::of(result),
                seconds: result.elapsed.as_secs_f64(),
                interrupted: result.interrupted,
                planned: result.planned,
            },
            News::Beat => return Ok(()),
        };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.0.write_all(text.as_bytes())?;
        self.0.flush()
    }
}
