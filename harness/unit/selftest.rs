//! The features put every mistake and every oddity of the scripted worker on trial, each with cases that there are.

use llorch::harness::catalogue::Catalogue;
use llorch::harness::chain::mistakes;
use llorch::harness::scripted::{MISTAKES, ODDITIES};
use llorch::harness::selection::Selection;
use llorch::parity::faults::Fault;

pub const TESTS: &[(&str, fn())] = &[
    ("selftest/everything_is_on_trial_once", everything_is_on_trial_once),
    ("selftest/every_fault_is_on_trial_once", every_fault_is_on_trial_once),
    ("selftest/the_judges_exist", the_judges_exist),
    ("selftest/only_asked_for_by_name", only_asked_for_by_name),
];

const WORKER: &str = "the scripted worker";
const ORCHESTRATOR: &str = "an orchestrator";

/// Who is put on trial, with the name of the mistake or oddity, and the addresses of the cases that judge it.
fn trials() -> Vec<((&'static str, String), Vec<String>)> {
    let catalogue = Catalogue::embedded().unwrap();
    let script = catalogue.script(|case| case.is_selftest());
    let quoted = |step: &gherkin::Step| step.value.split('"').nth(1).unwrap_or_default().to_owned();
    let scenarios = script.features.iter().flat_map(|feature| &feature.scenarios);
    let trial = |scenario: &gherkin::Scenario| {
        let who = [WORKER, ORCHESTRATOR].into_iter().find(|who| scenario.steps[0].value.starts_with(who))?;
        let judges = quoted(&scenario.steps[1]);
        Some(((who, quoted(&scenario.steps[0])), judges.split(", ").map(str::to_owned).collect()))
    };
    scenarios.filter_map(trial).collect()
}

fn everything_is_on_trial_once() {
    let trials = trials();
    let of_worker = MISTAKES.iter().map(|mistake| mistake.name).chain(ODDITIES.iter().map(|oddity| oddity.name));
    let of_orchestrator = mistakes::MISTAKES.iter().map(|mistake| mistake.name);
    let all = of_worker.map(|name| (WORKER, name)).chain(of_orchestrator.map(|name| (ORCHESTRATOR, name)));
    for (who, name) in all {
        let times = trials.iter().filter(|((on_trial, known), _)| (*on_trial, known.as_str()) == (who, name)).count();
        assert_eq!(times, 1, "{who}'s {name} stands {times} times in features/selftest");
    }
}

/// Every fault of the catalogue has a row in the features, and only one.
fn every_fault_is_on_trial_once() {
    let script = Catalogue::embedded().unwrap().script(|case| case.is_selftest());
    let steps = script.features.iter().flat_map(|feature| &feature.scenarios).map(|scenario| &scenario.steps[0].value);
    let steps: Vec<&String> = steps.filter(|step| step.starts_with("the reference with the fault")).collect();
    for entry in Fault::all() {
        let named = steps.iter().filter(|step| step.split('"').nth(1) == Some(&entry.slug())).count();
        assert_eq!(named, 1, "{:?} stands {named} times in the features", entry.fault);
    }
}

fn the_judges_exist() {
    let catalogue = Catalogue::embedded().unwrap();
    for (name, judges) in trials() {
        let selection = Selection { addresses: judges, ..Selection::default() };
        assert!(selection.choose(&catalogue).is_ok(), "{name:?} is judged by cases that are not there: {selection:?}");
    }
}

fn only_asked_for_by_name() {
    let catalogue = Catalogue::embedded().unwrap();
    let count = |selection: &Selection| {
        let script = selection.choose(&catalogue).unwrap();
        script.cases.iter().filter(|case| case.is_selftest()).count()
    };
    assert_eq!(count(&Selection::default()), 0, "the default scope is the target's");
    assert_eq!(count(&Selection { addresses: vec!["worker".to_owned()], ..Selection::default() }), 0);
    let named = Selection { addresses: vec!["selftest/oddities".to_owned()], ..Selection::default() };
    assert_eq!(count(&named), ODDITIES.len());
    assert!(count(&Selection::default().with_tags("@selftest".parse().unwrap())) > MISTAKES.len());
    assert_eq!(count(&Selection::default().with_tags("@must and not @selftest".parse().unwrap())), 0);
}
