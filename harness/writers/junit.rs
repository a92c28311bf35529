//! `--junit FILE`: one suite for each feature, written when the run ends.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::human::block;
use super::{News, Reporter};
use crate::harness::runner::{CaseOutcome, RunResult};
use crate::harness::verdict::Verdict;

pub struct Junit<W: Write>(pub W);

impl<W: Write> Reporter for Junit<W> {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let News::RunEnded { result } = news else { return Ok(()) };
        report(result).serialize(&mut self.0).map_err(io::Error::other)?;
        self.0.flush()
    }
}

fn report(result: &RunResult) -> Report {
    let mut suites: Vec<TestSuite> = Vec::new();
    for outcome in &result.outcomes {
        let feature = outcome.case.feature.as_str();
        let position = suites.iter().position(|suite| suite.name.as_str() == feature).unwrap_or_else(|| {
            suites.push(TestSuite::new(feature));
            suites.len() - 1
        });
        suites[position].add_test_case(test_case(outcome));
    }
    let mut report = Report::new("llorch");
    report.set_time(result.elapsed);
    report.add_test_suites(suites);
    report
}

fn test_case(outcome: &CaseOutcome) -> TestCase {
    let case = &outcome.case;
    let mut status = match outcome.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Unimplemented | Verdict::Skipped => TestCaseStatus::skipped(),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        // A broken SHOULD fails a run only with --strict, and a reader of JUnit knows no third colour: it is shown as
        // skipped, with its finding.
        Verdict::NonStrict => TestCaseStatus::skipped(),
        Verdict::Fail | Verdict::NearTie | Verdict::Flaky => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if let Some(finding) = &outcome.finding {
        status.set_type(outcome.verdict.word());
        status.set_message(format!(
            "{}: expected {}; found {}",
            outcome.verdict.word(),
            finding.expected,
            finding.found
        ));
        let described = anstream::adapter::strip_str(&block(outcome)).to_string();
        if !described.is_empty() {
            status.set_description(described);
        }
    }
    let mut test_case = TestCase::new(&*case.address, status);
    test_case.set_classname(&*case.feature);
    test_case.set_time(outcome.duration);
    test_case.add_property(Property::new("scenario", &*case.name));
    test_case.add_property(Property::new("verdict", outcome.verdict.word()));
    test_case.add_property(Property::new("level", case.level.word()));
    for requirement in &case.requirements {
        test_case.add_property(Property::new("requirement", &**requirement));
    }
    test_case
}
