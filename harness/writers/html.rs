//! `--report FILE.html`: the page, written when the run ends.

use std::io::{self, Write};

use super::{News, Reporter};
use crate::harness::ladder::rungs::RUNGS;
use crate::harness::runner::{CaseOutcome, RunResult};
use crate::harness::transcript::album;
use crate::harness::verdict::Verdict;
use crate::parity::report::{Case, Cases, Note, Page, Rung};

pub struct Html<W: Write>(W);

impl<W: Write> Html<W> {
    /// Streams are kept from now on, to be shown.
    pub fn new(out: W) -> Self {
        album::open();
        Html(out)
    }
}

impl<W: Write> Reporter for Html<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let News::RunEnded { result } = news else { return Ok(()) };
        self.0.write_all(page(result).html().as_bytes())?;
        self.0.flush()
    }
}

fn page(result: &RunResult) -> Page {
    let interrupted = format!("interrupted: {} of {} cases were finished", result.outcomes.len(), result.planned);
    Page {
        title: "llorch verify".to_owned(),
        subtitle: if result.interrupted { interrupted } else { String::new() },
        cases: Some(Cases {
            target: result.target.sentence.clone(),
            warning: result.target.warning.clone(),
            seconds: result.elapsed.as_secs_f64(),
            list: result.outcomes.iter().map(case).collect(),
        }),
        engines: result
            .compared
            .iter()
            .map(|one| (format!("{} on {}", one.engine, one.subject), one.diff.clone()))
            .collect(),
        ladder: ladder(result),
        runs: album::take(),
        ..Page::default()
    }
}

/// The rungs, where any of them was climbed.
fn ladder(result: &RunResult) -> Vec<Rung> {
    let of = |number: u8| result.outcomes.iter().filter(move |outcome| outcome.case.rung == Some(number)).map(case);
    if !result.outcomes.iter().any(|outcome| outcome.case.rung.is_some()) {
        return Vec::new();
    }
    let rungs = (1..).zip(RUNGS);
    rungs.map(|(number, name)| Rung { number, name: name.to_owned(), cases: of(number).collect() }).collect()
}

fn case(outcome: &CaseOutcome) -> Case {
    let case = &outcome.case;
    Case {
        address: case.address.clone(),
        name: case.name.clone(),
        feature: case.feature.clone(),
        level: case.level.word().to_owned(),
        requirements: case.requirements.clone(),
        verdict: outcome.verdict.word().to_owned(),
        class: match outcome.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Error | Verdict::Flaky | Verdict::NearTie => "tie",
            Verdict::NonStrict => "warn",
            Verdict::Unimplemented | Verdict::Skipped => "none",
        },
        seconds: outcome.duration.as_secs_f64(),
        notes: notes(outcome),
    }
}

fn notes(outcome: &CaseOutcome) -> Vec<Note> {
    let Some(finding) = &outcome.finding else { return Vec::new() };
    let note = |title: &str, text: &str| Note { title: title.to_owned(), text: text.to_owned() };
    let step = outcome.step.iter().map(|step| note("Step", &format!("{}  ({})", step.text, step.place)));
    let evidence = finding.evidence.iter().map(|evidence| note(&evidence.title, &evidence.text));
    step.chain([note("Expected", &finding.expected), note("Found", &finding.found)]).chain(evidence).collect()
}
