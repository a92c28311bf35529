//! The features put every mistake and every oddity of the scripted worker on trial, each with cases that there are.

use llorch::harness::catalogue::Catalogue;
use llorch::harness::chain::mistakes;
use llorch::harness::scripted::{MISTAKES, ODDITIES};
use llorch::harness::selection::Selection;

pub const TESTS: &[(&str, fn())] = &[
    ("selftest/everything_is_on_trial_once", everything_is_on_trial_once),
    ("selftest/the_judges_exist", the_judges_exist),
    ("selftest/only_asked_for_by_name", only_asked_for_by_name),
];

/// What is put on trial, and the addresses of the cases that judge it.
fn trials() -> Vec<(String, Vec<String>)> {
    let catalogue = Catalogue::embedded().unwrap();
    let script = catalogue.script(|case| case.is_selftest());
    let quoted = |step: &gherkin::Step| step.value.split('"').nth(1).unwrap_or_default().to_owned();
    let scenarios = script.features.iter().flat_map(|feature| &feature.scenarios);
    let on_trial = |scenario: &&gherkin::Scenario| {
        ["the scripted worker", "an orchestrator"].iter().any(|word| scenario.steps[0].value.starts_with(word))
    };
    let scenarios = scenarios.filter(on_trial);
    let trial = |scenario: &gherkin::Scenario| {
        let judges = quoted(&scenario.steps[1]);
        (quoted(&scenario.steps[0]), judges.split(", ").map(str::to_owned).collect())
    };
    scenarios.map(trial).collect()
}

fn everything_is_on_trial_once() {
    let trials = trials();
    let names = MISTAKES.iter().map(|mistake| mistake.name).chain(ODDITIES.iter().map(|oddity| oddity.name));
    let names = names.chain(mistakes::MISTAKES.iter().map(|mistake| mistake.name));
    for name in names {
        let times = trials.iter().filter(|(on_trial, _)| on_trial == name).count();
        assert_eq!(times, 1, "{name} stands {times} times in features/selftest");
    }
}

fn the_judges_exist() {
    let catalogue = Catalogue::embedded().unwrap();
    for (name, judges) in trials() {
        let selection = Selection { addresses: judges, ..Selection::default() };
        assert!(selection.choose(&catalogue).is_ok(), "{name} is judged by cases that are not there: {selection:?}");
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
