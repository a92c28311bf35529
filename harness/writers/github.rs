//! Where GitHub runs it: an annotation at the feature's line for each failure, and a summary of the job.

use std::io::{self, Write};

use super::human::{time, untested};
use super::{News, Reporter};
use crate::harness::ladder::rungs::{self, RUNGS};
use crate::harness::runner::{CaseOutcome, RunResult};
use crate::harness::verdict::Verdict;
use crate::parity::report::Standing;

/// `::error file=…`, for the log of the job.
pub struct Annotations<W: Write>(pub W);

/// Markdown, for `$GITHUB_STEP_SUMMARY`.
pub struct StepSummary<W: Write>(pub W);

impl<W: Write> Reporter for Annotations<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let News::CaseEnded { outcome } = news else { return Ok(()) };
        let Some(line) = annotation(outcome) else { return Ok(()) };
        self.0.write_all(line.as_bytes())?;
        self.0.flush()
    }
}

impl<W: Write> Reporter for StepSummary<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let News::RunEnded { result } = news else { return Ok(()) };
        self.0.write_all(markdown(result).as_bytes())?;
        self.0.flush()
    }
}

fn annotation(outcome: &CaseOutcome) -> Option<String> {
    let kind = match outcome.verdict {
        Verdict::Pass | Verdict::Unimplemented | Verdict::Skipped => return None,
        Verdict::NonStrict => "warning",
        Verdict::Fail | Verdict::Error | Verdict::Flaky | Verdict::NearTie => "error",
    };
    let finding = outcome.finding.as_ref()?;
    let place = outcome.step.as_ref().map_or(&outcome.case.place, |step| &step.place);
    let title = format!("{} {}", outcome.verdict.word(), outcome.case.address);
    let message = format!("{}\nexpected: {}\nfound: {}", outcome.case.name, finding.expected, finding.found);
    let (file, title, message) = (escape_property(&place.file), escape_property(&title), escape(&message));
    Some(format!("::{kind} file={file},line={},title={title}::{message}\n", place.line))
}

/// A workflow command is one line; these are its escapes.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape(text).replace(':', "%3A").replace(',', "%2C")
}

fn markdown(result: &RunResult) -> String {
    let green = result.count(Verdict::Pass);
    let mut text = format!("## llorch: {green} of {} cases green\n\n", result.outcomes.len());
    text.push_str(&format!("{} ({})\n\n", cell(&result.target.sentence), time(result.elapsed)));
    if let Some(warning) = &result.target.warning {
        text.push_str(&format!("> **{}**\n\n", cell(warning)));
    }
    text.push_str(&ladder(result));
    let mut failed = result
        .outcomes
        .iter()
        .filter(|outcome| !matches!(outcome.verdict, Verdict::Pass | Verdict::Unimplemented | Verdict::Skipped))
        .peekable();
    if failed.peek().is_some() {
        text.push_str("| Verdict | Case | Requirement | Expected | Found |\n|---|---|---|---|---|\n");
    }
    for outcome in failed {
        let (expected, found) =
            outcome.finding.as_ref().map_or(("", ""), |finding| (finding.expected.as_str(), finding.found.as_str()));
        let requirements = outcome.case.requirements.join(", ");
        text.push_str(&format!(
            "| {} | `{}` {} | {} | {} | {} |\n",
            outcome.verdict.word(),
            outcome.case.address,
            cell(&outcome.case.name),
            cell(&requirements),
            cell(expected),
            cell(found)
        ));
    }
    let reasons = untested(result);
    if !reasons.is_empty() {
        text.push_str("\n| Not tested | Cases | Reason |\n|---|---|---|\n");
    }
    for ((verdict, reason), addresses) in reasons {
        text.push_str(&format!("| {} | {} | {} |\n", verdict.word(), addresses.len(), cell(&reason)));
    }
    text.push('\n');
    text
}

/// How far the worker climbed, where it was asked to.
fn ladder(result: &RunResult) -> String {
    let mut text = String::new();
    for (number, name) in (1..).zip(RUNGS) {
        let verdicts = rungs::verdicts(&result.outcomes, number);
        let Some(standing) = rungs::standing(&verdicts) else { continue };
        let (sign, word) = match standing {
            Standing::Passes => ("✅", "climbed"),
            Standing::Caught => ("❌", "fallen from"),
            Standing::NotApplicable => ("➖", "not tested"),
            Standing::Unknown => ("❗", "open"),
        };
        text.push_str(&format!("| {number} | {name} | {sign} {word} | {} |\n", verdicts.len()));
    }
    if text.is_empty() {
        return text;
    }
    format!("| Rung | | | Cases |\n|---|---|---|---|\n{text}\n")
}

/// What a table's cell can hold.
fn cell(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|").replace('\n', "<br>")
}
