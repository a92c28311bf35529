//! Golden text of every reporter, over one run with every verdict in it.

use std::io::{self, Write};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use llorch::harness::case::Place;
use llorch::harness::exit::Exit;
use llorch::harness::runner::{CaseOutcome, RunResult, StepAt, TargetSummary};
use llorch::harness::selection::Selection;
use llorch::harness::verdict::{Finding, Verdict};
use llorch::harness::writers::ctrf::document;
use llorch::harness::writers::github::{Annotations, StepSummary};
use llorch::harness::writers::human::{Detail, Human};
use llorch::harness::writers::json::{Json, Ndjson};
use llorch::harness::writers::junit::Junit;
use llorch::harness::writers::terminal::Terminal;
use llorch::harness::writers::{Desk, News, Reporter};

use super::puppets::catalogue;

pub const TESTS: &[(&str, fn())] = &[
    ("writers/human", human),
    ("writers/human_colours", human_colours),
    ("writers/dots", dots),
    ("writers/ndjson", ndjson),
    ("writers/json", json),
    ("writers/junit", junit),
    ("writers/ctrf", ctrf),
    ("writers/github", github),
    ("writers/live_table", live_table),
    ("writers/a_closed_pipe_is_no_problem_and_a_full_disk_is", a_closed_pipe_is_no_problem_and_a_full_disk_is),
    ("writers/exit_codes", exit_codes),
];

/// Where a reporter writes, and a test reads.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no writer panicked").clone()).expect("UTF-8")
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells a test, once, of the first case that ends, and asks for the run to be stopped.
pub struct OnCaseEnded(pub Option<(Sender<String>, tokio::sync::oneshot::Sender<()>)>);

impl Reporter for OnCaseEnded {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        if let News::CaseEnded { outcome } = news
            && let Some((ended, stop)) = self.0.take()
        {
            let _ = ended.send(outcome.case.address.clone());
            let _ = stop.send(());
        }
        Ok(())
    }
}

/// One case of each verdict.
fn example() -> RunResult {
    let text = "@LL-T @must @M0-W-1300\nFeature: A worker executes\n@case:worker/execute\nScenario Outline: a job in case <key>\n\
                Then it holds\nExamples:\n|key|\n|pass|\n|fail|\n|non-strict|\n|unimplemented|\n|skipped|\n|near-tie|\n|flaky|\n|error|\n";
    let catalogue = catalogue(text);
    let outcomes = catalogue.cases().iter().zip(Verdict::ALL).map(|(case, verdict)| {
        let finding = (verdict != Verdict::Pass).then(|| {
            Finding::new(verdict, "status 400,\nwith a body", "status 200 <ok>")
                .with("curl", "curl -sS http://127.0.0.1:8080/execute --data '{}'")
                .with("frames", "event: started\ndata: {\"job_id\":\"a\"}")
        });
        CaseOutcome {
            case: Arc::clone(case),
            verdict,
            duration: Duration::from_millis(12),
            step: finding.as_ref().map(|_| StepAt {
                text: "Then the status is 400".to_owned(),
                place: Place { file: "features/toy.feature".to_owned(), line: 5 },
            }),
            finding,
        }
    });
    let target = TargetSummary {
        sentence: "worker: built-in llorch-cpud, backend stub".to_owned(),
        warning: Some("THIS WORKER IS A STUB: it computes nothing".to_owned()),
    };
    RunResult {
        target,
        outcomes: outcomes.collect(),
        elapsed: Duration::from_millis(1500),
        interrupted: false,
        planned: 8,
        compared: Vec::new(),
    }
}

/// Tells a whole run to one reporter.
fn report<R: Reporter + 'static>(make: impl FnOnce(Page) -> R, result: &RunResult) -> String {
    let page = Page::default();
    let mut desk = Desk::default();
    desk.add(make(page.clone()));
    let cases: Vec<_> = result.outcomes.iter().map(|outcome| Arc::clone(&outcome.case)).collect();
    desk.tell(&News::RunStarted { target: &result.target, cases: &cases });
    for outcome in &result.outcomes {
        desk.tell(&News::CaseStarted { case: &outcome.case });
        if let Some(step) = &outcome.step {
            desk.tell(&News::StepStarted { case: &outcome.case, step });
        }
        desk.tell(&News::CaseEnded { outcome });
    }
    desk.tell(&News::RunEnded { result });
    assert!(desk.problems().is_empty());
    page.text()
}

fn plain(page: Page) -> anstream::StripStream<Box<dyn Write>> {
    anstream::StripStream::new(Box::new(page))
}

fn human() {
    insta::assert_snapshot!("human", report(|page| Human::new(plain(page), Detail::Lines), &example()));
    let interrupted = RunResult { interrupted: true, planned: 20, outcomes: Vec::new(), ..example() };
    let text = report(|page| Human::new(plain(page), Detail::Lines), &interrupted);
    assert!(text.contains("interrupted: 20 of 20 cases were not finished"), "{text}");
}

fn human_colours() {
    let text = report(|page| Human::new(page, Detail::Lines), &example());
    assert!(text.contains("\x1b[32mPASS"), "green: {text:?}");
    let text = report(|page| Human::new(plain(page), Detail::Lines), &example());
    assert!(!text.contains('\x1b'), "no escape without colours");
}

fn dots() {
    let mut result = example();
    result.outcomes.truncate(1);
    insta::assert_snapshot!("dots", report(|page| Human::new(plain(page), Detail::Dots), &result));
}

fn ndjson() {
    let text = report(Ndjson, &example());
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("every line is JSON");
        assert!(value["event"].is_string(), "{line}");
    }
    insta::assert_snapshot!("ndjson", text);
}

fn json() {
    let value: serde_json::Value = serde_json::from_str(&report(Json, &example())).expect("one document");
    assert_eq!(value["cases"].as_array().map(Vec::len), Some(8));
    assert_eq!((&value["counts"]["pass"], &value["counts"]["near_tie"]), (&1.into(), &1.into()));
    assert_eq!(value["cases"][1]["finding"]["evidence"][0]["title"], "curl");
    assert_eq!(value["cases"][1]["verdict"], "FAIL");
    assert_eq!(value["cases"][0]["seconds"], 0.012);
}

fn junit() {
    insta::assert_snapshot!("junit", report(Junit, &example()));
}

fn ctrf() {
    let document = document(&example(), 1_700_000_001_500);
    let summary = &document["results"]["summary"];
    let counts: Vec<u64> =
        ["passed", "failed", "skipped", "pending", "other"].map(|name| summary[name].as_u64().unwrap()).into();
    assert_eq!(counts.iter().sum::<u64>(), summary["tests"].as_u64().unwrap(), "every test is counted once");
    let (mut compiler, mut schemas) = (boon::Compiler::new(), boon::Schemas::new());
    let (place, text) = ("schema:ctrf", include_str!("ctrf.schema.json"));
    compiler.add_resource(place, serde_json::from_str(text).expect("JSON")).expect("a schema");
    let schema = compiler.compile(place, &mut schemas).expect("a schema");
    schemas.validate(&document, schema).expect("a report in the format");
    // What the format has no word for is seen, and what it needs is missed.
    let mut wrong = document.clone();
    wrong["results"]["tests"][0]["verdict"] = "PASS".into();
    assert!(schemas.validate(&wrong, schema).is_err());
    let mut wrong = document.clone();
    wrong["results"]["tests"][0]["status"] = "near-tie".into();
    assert!(schemas.validate(&wrong, schema).is_err());
    insta::assert_snapshot!("ctrf", format!("{document:#}"));
}

fn github() {
    insta::assert_snapshot!("github_annotations", report(Annotations, &example()));
    insta::assert_snapshot!("github_summary", report(StepSummary, &example()));
}

fn live_table() {
    let result = example();
    let page = Page::default();
    let mut table = Terminal::new(page.clone(), || 40);
    let cases: Vec<_> = result.outcomes.iter().map(|outcome| Arc::clone(&outcome.case)).collect();
    let mut tell = |news: News<'_>| table.hear(&news).expect("a page takes everything");
    tell(News::RunStarted { target: &result.target, cases: &cases });
    let started = page.text();
    assert!(started.contains("0/8 in"), "{started:?}");

    let step = result.outcomes[1].step.as_ref().expect("a step");
    tell(News::CaseStarted { case: &cases[1] });
    tell(News::StepStarted { case: &cases[1], step });
    tell(News::Beat);
    let running = page.text()[started.len()..].to_owned();
    assert!(running.starts_with("\x1b[1A\r\x1b[J"), "the old footer is taken away: {running:?}");
    let row = running.lines().find(|line| line.contains("worker/execute/fail")).expect("what runs now");
    let width = anstream::adapter::strip_str(row).to_string().chars().count();
    assert!(width < 40, "cut to the window: {width}");

    tell(News::CaseEnded { outcome: &result.outcomes[1] });
    let so_far = page.text();
    tell(News::RunEnded { result: &result });
    let end = page.text()[so_far.len()..].to_owned();
    assert!(end.starts_with("\x1b[1A\r\x1b[J") && !end.contains("1/8"), "no footer stays: {end:?}");
}

fn a_closed_pipe_is_no_problem_and_a_full_disk_is() {
    struct Refuses(io::ErrorKind);
    impl Reporter for Refuses {
        fn hear(&mut self, _: &News<'_>) -> io::Result<()> {
            Err(self.0.into())
        }
    }
    let mut desk = Desk::default();
    desk.add(Refuses(io::ErrorKind::BrokenPipe));
    desk.add(Refuses(io::ErrorKind::StorageFull));
    desk.tell(&News::Beat);
    desk.tell(&News::Beat);
    let kinds: Vec<_> = desk.problems().iter().map(io::Error::kind).collect();
    assert_eq!(kinds, [io::ErrorKind::StorageFull], "kept once, and the pipe's not at all");
}

fn exit_codes() {
    let all = Selection::default();
    let checkpoint = Selection { checkpoint: Some(4), ..Selection::default() };
    let address = Selection { addresses: vec!["worker/execute/1".to_owned()], ..Selection::default() };
    let of = |verdicts: &[Verdict], selection: &Selection, strict| {
        let mut result = example();
        result.outcomes.retain(|outcome| verdicts.contains(&outcome.verdict));
        Exit::of(&result, selection, strict).code()
    };
    use Verdict::{Error, Fail, Flaky, NearTie, NonStrict, Pass, Skipped, Unimplemented};
    assert_eq!(of(&[Pass], &all, true), 0);
    for bad in [Fail, Error, Flaky, NearTie] {
        assert_eq!(of(&[Pass, bad], &all, false), 1, "{bad:?}");
        assert_eq!(of(&[Pass, bad, Unimplemented], &address, false), 1, "{bad:?} outweighs what was not tested");
    }
    assert_eq!((of(&[Pass, NonStrict], &all, false), of(&[Pass, NonStrict], &all, true)), (0, 1));
    for (selection, unimplemented, skipped) in [(&all, 0, 0), (&checkpoint, 5, 0), (&address, 5, 5)] {
        assert_eq!(of(&[Pass, Unimplemented], selection, false), unimplemented);
        assert_eq!(of(&[Pass, Skipped], selection, false), skipped);
    }
    assert_eq!(of(&[Skipped, Unimplemented], &all, false), 5, "a run that tested nothing has not passed");
    let interrupted = RunResult { interrupted: true, ..example() };
    assert_eq!(Exit::of(&interrupted, &all, false).code(), 130);
}
