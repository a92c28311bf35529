//! The runner must be able to fail: every way in which a case can end, a hang and a missing step among them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llorch::harness::case::Lane;
use llorch::harness::runner::units::{Unit, run_units};
use llorch::harness::runner::{CaseOutcome, Terms, run, run_collect};
use llorch::harness::verdict::Verdict;
use llorch::harness::writers::Desk;

use super::puppets::{Puppet, Toy, script, verdicts};

pub const TESTS: &[(&str, fn())] = &[
    ("runner/every_verdict_arrives", every_verdict_arrives),
    ("runner/the_level_decides_what_a_broken_case_is", the_level_decides_what_a_broken_case_is),
    ("runner/an_undefined_step_is_an_error_at_any_level", an_undefined_step_is_an_error_at_any_level),
    ("runner/an_undefined_step_behind_a_skip_is_an_error", an_undefined_step_behind_a_skip_is_an_error),
    ("runner/two_definitions_are_an_error", two_definitions_are_an_error),
    ("runner/a_panic_is_an_error_with_its_place", a_panic_is_an_error_with_its_place),
    ("runner/a_panic_of_a_started_thread_is_told", a_panic_of_a_started_thread_is_told),
    ("runner/a_step_that_waits_for_ever_is_named", a_step_that_waits_for_ever_is_named),
    ("runner/a_step_that_blocks_for_ever_is_named", a_step_that_blocks_for_ever_is_named),
    ("runner/a_world_that_falls_apart_spoils_a_pass", a_world_that_falls_apart_spoils_a_pass),
    ("runner/cases_run_at_once_and_no_more_than_jobs", cases_run_at_once_and_no_more_than_jobs),
    ("runner/a_serial_case_is_alone", a_serial_case_is_alone),
    ("runner/a_missing_lane_skips_and_a_required_one_fails", a_missing_lane_skips_and_a_required_one_fails),
    ("runner/stub_cases_are_asked_of_our_worker_only", stub_cases_are_asked_of_our_worker_only),
    ("runner/a_run_inside_a_run", a_run_inside_a_run),
    ("runner/backgrounds_and_rules_are_played", backgrounds_and_rules_are_played),
    ("runner/an_interrupted_run_keeps_what_ended", an_interrupted_run_keeps_what_ended),
    ("runner/unit_tests_fail_and_hang", unit_tests_fail_and_hang),
];

fn play(toy: Arc<Toy>, text: &str, terms: Terms) -> Vec<CaseOutcome> {
    run_collect::<Puppet>(toy, script(text), terms)
}

/// One case with these tags and steps.
fn one(tags: &str, steps: &str) -> CaseOutcome {
    let terms = Terms { deadline: Duration::from_millis(300), ..Terms::default() };
    let text = format!("@LL-T\nFeature: toy\n  @case:one {tags}\n  Scenario: one\n    {steps}\n");
    play(Toy::ours(), &text, terms).remove(0)
}

fn every_verdict_arrives() {
    let text = "@LL-T @must\nFeature: toy\n@case:v\nScenario Outline: v\nThen it ends in <word>\nExamples:\n|word|\n|FAIL|\n\
                |NON-STRICT|\n|UNIMPLEMENTED|\n|SKIPPED|\n|NEAR-TIE|\n|FLAKY|\n|ERROR|\n@case:p\nScenario: p\nThen it holds\n";
    let expected = [
        ("p", Verdict::Pass),
        ("v/ERROR", Verdict::Error),
        ("v/FAIL", Verdict::Fail),
        ("v/FLAKY", Verdict::Flaky),
        ("v/NEAR-TIE", Verdict::NearTie),
        ("v/NON-STRICT", Verdict::NonStrict),
        ("v/SKIPPED", Verdict::Skipped),
        ("v/UNIMPLEMENTED", Verdict::Unimplemented),
    ];
    let outcomes = play(Toy::ours(), text, Terms::default());
    assert_eq!(verdicts(&outcomes), expected.map(|(address, verdict)| (address.to_owned(), verdict)));
    let failed = outcomes.iter().find(|outcome| outcome.verdict == Verdict::Fail).expect("a failed case");
    let step = failed.step.as_ref().expect("the step");
    assert_eq!(
        (step.text.as_str(), step.place.to_string().as_str()),
        ("Then it ends in FAIL", "features/toy.feature:5")
    );
    let finding = failed.finding.as_ref().expect("the finding");
    assert_eq!((finding.expected.as_str(), finding.found.as_str()), ("status 400", "status 200"));
    assert_eq!(finding.evidence[0].title, "frames");
}

fn the_level_decides_what_a_broken_case_is() {
    let text = "@LL-T\nFeature: toy\n@case:must @must\nScenario: a\nThen it ends in FAIL\n@case:should @should\nScenario: b\n\
                Then it ends in FAIL\n@case:ours @ours\nScenario: c\nThen it ends in FAIL\n";
    let of =
        |toy| verdicts(&play(toy, text, Terms::default())).into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>();
    assert_eq!(of(Toy::ours()), [Verdict::Fail, Verdict::Fail, Verdict::NonStrict], "must, ours, should; ours");
    assert_eq!(
        of(Arc::default()),
        [Verdict::Fail, Verdict::NonStrict, Verdict::NonStrict],
        "must, ours, should; another"
    );
}

fn an_undefined_step_is_an_error_at_any_level() {
    let outcome = one("@should", "Then nobody has written this");
    assert_eq!(outcome.verdict, Verdict::Error);
    assert!(outcome.finding.expect("a finding").found.contains("undefined"));
    assert_eq!(outcome.step.expect("the step").text, "Then nobody has written this");
}

fn an_undefined_step_behind_a_skip_is_an_error() {
    assert_eq!(one("@must", "Then it ends in SKIPPED\n    And nobody has written this").verdict, Verdict::Error);
    assert_eq!(one("@must @lane:gpu", "Then nobody has written this").verdict, Verdict::Error);
}

fn two_definitions_are_an_error() {
    let outcome = one("@should", "Then it is twofold");
    assert_eq!(outcome.verdict, Verdict::Error);
    let finding = outcome.finding.expect("a finding");
    assert_eq!(finding.evidence[0].text.matches("puppets.rs").count(), 2, "both places: {}", finding.evidence[0].text);
}

fn a_panic_is_an_error_with_its_place() {
    let outcome = one("@should", "Then it panics");
    assert_eq!(outcome.verdict, Verdict::Error);
    let finding = outcome.finding.expect("a finding");
    assert_eq!(finding.found, "a bug in the step");
    assert!(finding.evidence[0].text.contains("puppets.rs:"), "{finding:?}");
}

fn a_panic_of_a_started_thread_is_told() {
    let finding = one("@must", "Then it panics on another thread").finding.expect("a finding");
    assert!(finding.evidence[0].text.contains("a bug in what the step started"), "{finding:?}");
}

fn a_step_that_waits_for_ever_is_named() {
    let outcome = one("@should", "Given it holds\n    Then it waits for ever");
    assert_eq!(outcome.verdict, Verdict::Error);
    assert!(outcome.finding.expect("a finding").found.ends_with("it waits for ever"));
}

fn a_step_that_blocks_for_ever_is_named() {
    let text = "@LL-T @must\nFeature: toy\n@case:a\nScenario: a\nThen it blocks for ever\n@case:b\nScenario: b\nThen it holds\n";
    let since = Instant::now();
    let outcomes = play(Toy::ours(), text, Terms { deadline: Duration::from_millis(300), ..Terms::default() });
    assert!(since.elapsed() < Duration::from_secs(30), "the run ended");
    assert_eq!(verdicts(&outcomes), [("a".to_owned(), Verdict::Error), ("b".to_owned(), Verdict::Pass)]);
    assert!(outcomes[1].duration < Duration::from_millis(300), "the other case did not wait for the one that hangs");
    assert!(outcomes[0].finding.as_ref().expect("a finding").found.ends_with("it blocks for ever"));
}

fn a_world_that_falls_apart_spoils_a_pass() {
    let outcome = one("@must", "Then it falls apart when it is dropped");
    assert_eq!(outcome.verdict, Verdict::Error);
    assert_eq!(outcome.finding.expect("a finding").found, "the strings are torn");
    let outcome = one("@must", "Then it falls apart when it is dropped\n    Then it ends in FAIL");
    assert_eq!(outcome.verdict, Verdict::Fail, "what was found first is what counts");
}

fn cases_run_at_once_and_no_more_than_jobs() {
    let text = "@LL-T @must\nFeature: toy\n@case:a\nScenario Outline: a\nThen 3 cases are on the stage\nExamples:\n|n|\n|1|\n|2|\n|3|\n";
    let toy = Toy::ours();
    let outcomes = play(Arc::clone(&toy), text, Terms { jobs: 3, ..Terms::default() });
    assert!(outcomes.iter().all(|outcome| outcome.verdict == Verdict::Pass), "{:?}", verdicts(&outcomes));

    let text = "@LL-T @must\nFeature: toy\n@case:a\nScenario Outline: a\nThen it holds\nExamples:\n|n|\n|1|\n|2|\n|3|\n|4|\n|5|\n|6|\n";
    let toy = Toy::ours();
    assert_eq!(play(Arc::clone(&toy), text, Terms { jobs: 2, ..Terms::default() }).len(), 6);
    assert!(toy.most_at_once() <= 2, "{} at once", toy.most_at_once());
}

fn a_serial_case_is_alone() {
    let text = "@LL-T @must @serial\nFeature: toy\n@case:a\nScenario Outline: a\nThen it holds\nExamples:\n|n|\n|1|\n|2|\n|3|\n|4|\n|5|\n|6|\n";
    let toy = Toy::ours();
    assert_eq!(play(Arc::clone(&toy), text, Terms::default()).len(), 6);
    assert_eq!(toy.most_at_once(), 1);
}

fn a_missing_lane_skips_and_a_required_one_fails() {
    let text = "@LL-T @should @lane:gpu\nFeature: toy\n@case:a\nScenario: a\nThen it holds\n";
    let verdict = |toy, terms| play(toy, text, terms)[0].verdict;
    let required = || Terms { required: [Lane::Gpu].into(), ..Terms::default() };
    assert_eq!(verdict(Toy::ours(), Terms::default()), Verdict::Skipped);
    assert_eq!(verdict(Toy::ours(), required()), Verdict::Fail, "at any level");
    let equipped = Toy::with(false, vec![Lane::Gpu]);
    assert_eq!(verdict(equipped, required()), Verdict::Pass);
}

fn stub_cases_are_asked_of_our_worker_only() {
    let text = "@LL-T @must @stub\nFeature: toy\n@case:a\nScenario: a\nThen it holds\n";
    let verdict = |ours| play(Toy::with(ours, Vec::new()), text, Terms::default())[0].verdict;
    assert_eq!(verdict(true), Verdict::Pass);
    assert_eq!(verdict(false), Verdict::Skipped);
}

fn a_run_inside_a_run() {
    let text = "@LL-T @must\nFeature: toy\n@case:a\nScenario Outline: a\nThen a run inside it ends in FAIL and in PASS\n\
                Examples:\n|n|\n|1|\n|2|\n|3|\n@case:b\nScenario: b\nThen it panics\n";
    let ended = verdicts(&play(Toy::ours(), text, Terms::default()));
    let expected = [("a/1", Verdict::Pass), ("a/2", Verdict::Pass), ("a/3", Verdict::Pass), ("b", Verdict::Error)];
    assert_eq!(ended, expected.map(|(address, verdict)| (address.to_owned(), verdict)));
}

fn backgrounds_and_rules_are_played() {
    let text = "@LL-T @must\nFeature: toy\nBackground:\nGiven it holds\nRule: one\nBackground:\nGiven it holds\n@case:a\n\
                Scenario: a\nThen it ends in FAIL\n@case:b\nScenario: b\nThen it holds\n";
    let ended = verdicts(&play(Toy::ours(), text, Terms::default()));
    assert_eq!(ended, [("a".to_owned(), Verdict::Fail), ("b".to_owned(), Verdict::Pass)]);
    let text =
        "@LL-T @must\nFeature: toy\nBackground:\nGiven nobody has written this\n@case:a\nScenario: a\nThen it holds\n";
    assert_eq!(play(Toy::ours(), text, Terms::default())[0].verdict, Verdict::Error);
}

fn an_interrupted_run_keeps_what_ended() {
    let text = "@LL-T @must\nFeature: toy\n@case:a\nScenario: a\nThen it holds\n@case:b\nScenario: b\nThen it blocks for ever\n";
    let (ended, hear_of_it) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let toy = Toy::ours();
    let mut desk = Desk::default();
    desk.add(super::writers::OnCaseEnded(Some((ended, stop))));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stop = async { _ = stopped.await };
    let terms = Terms { jobs: 2, ..Terms::default() };
    let played = runtime.block_on(run::<Puppet>(Arc::clone(&toy), script(text), terms, &mut desk, stop));
    assert_eq!(hear_of_it.recv().expect("the reporter heard of it"), "a");
    assert!(played.interrupted);
    assert_eq!(verdicts(&played.outcomes), [("a".to_owned(), Verdict::Pass)]);
    assert_eq!(toy.abandoned.load(std::sync::atomic::Ordering::SeqCst), 1, "its target was told");
}

fn unit_tests_fail_and_hang() {
    fn fails() {
        assert_eq!(1 + 1, 3, "sums");
    }
    fn hangs() {
        loop {
            std::thread::park();
        }
    }
    let units = [Unit::new("unit/a", || {}), Unit::new("unit/b", fails), Unit::new("unit/c", hangs)];
    let outcomes = run_units(&units, 2, Duration::from_millis(300), &mut Desk::default());
    let ended = verdicts(&outcomes);
    let expected = [("unit/a", Verdict::Pass), ("unit/b", Verdict::Fail), ("unit/c", Verdict::Error)];
    assert_eq!(ended, expected.map(|(address, verdict)| (address.to_owned(), verdict)));
    let failed = outcomes.iter().find(|outcome| outcome.verdict == Verdict::Fail).expect("a failed test");
    let finding = failed.finding.as_ref().expect("a finding");
    assert!(finding.found.contains("sums") && finding.evidence[0].text.contains("unit/runner.rs:"), "{finding:?}");
}
