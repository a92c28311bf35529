//! The features put every mistake and every oddity of the scripted worker on trial, each with cases that there are.

use std::collections::BTreeSet;

use llorch::harness::catalogue::Catalogue;
use llorch::harness::chain::mistakes;
use llorch::harness::cheats::{CHEATS, Cheat};
use llorch::harness::scripted::{MISTAKES, ODDITIES};
use llorch::harness::scripted_engine::MISTAKES as ENGINE_MISTAKES;
use llorch::harness::selection::Selection;
use llorch::parity::faults::Fault;

pub const TESTS: &[(&str, fn())] = &[
    ("selftest/everything_is_on_trial", everything_is_on_trial),
    ("selftest/every_cheat_is_on_trial_before_its_rung", every_cheat_is_on_trial_before_its_rung),
    ("selftest/every_mistake_of_an_engine_is_on_trial", every_mistake_of_an_engine_is_on_trial),
    ("selftest/every_fault_is_on_trial_once", every_fault_is_on_trial_once),
    ("selftest/every_case_of_a_chain_judges", every_case_of_a_chain_judges),
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

fn everything_is_on_trial() {
    let trials = trials();
    let of_worker = MISTAKES.iter().map(|mistake| mistake.name).chain(ODDITIES.iter().map(|oddity| oddity.name));
    let of_orchestrator = mistakes::MISTAKES.iter().map(|mistake| mistake.name);
    let all = of_worker.map(|name| (WORKER, name)).chain(of_orchestrator.map(|name| (ORCHESTRATOR, name)));
    for (who, name) in all {
        let times = trials.iter().filter(|((on_trial, known), _)| (*on_trial, known.as_str()) == (who, name)).count();
        // A mistake of an orchestrator shows in several cases, each of which is to be seen catching one.
        let right = if who == WORKER { times == 1 } else { times > 0 };
        assert!(right, "{who}'s {name} stands {times} times in features/selftest");
    }
}

/// In the features, and in the README's table.
fn every_cheat_is_on_trial_before_its_rung() {
    let script = Catalogue::embedded().unwrap().script(|case| case.is_selftest());
    let scenarios = script.features.iter().flat_map(|feature| &feature.scenarios);
    let trials: Vec<(&str, &str)> =
        scenarios.map(|scenario| (&*scenario.steps[0].value, &*scenario.steps[1].value)).collect();
    let readme = include_str!("../../README.md");
    for Cheat { name, caught_by, .. } in CHEATS {
        let rung = caught_by.number();
        let (given, when) = (format!("the cheat \"{name}\""), format!("rung {rung} judges it"));
        assert_eq!(trials.iter().filter(|(step, _)| *step == given).collect::<Vec<_>>(), [&(&*given, &*when)]);
        let line = readme.lines().find(|line| line.starts_with(&format!("| {rung} "))).unwrap_or_default();
        let cells: Vec<&str> =
            line.rsplit(" | ").next().unwrap_or_default().trim_end_matches(" |").split(", ").collect();
        assert!(cells.contains(name), "{name} does not stand at rung {rung} in the README: {cells:?}");
    }
}

fn every_mistake_of_an_engine_is_on_trial() {
    let script = Catalogue::embedded().unwrap().script(|case| case.is_selftest());
    let steps = script.features.iter().flat_map(|feature| &feature.scenarios).map(|scenario| &scenario.steps[0].value);
    let named: BTreeSet<&str> = steps
        .filter(|step| step.starts_with("the scripted engine"))
        .filter_map(|step| step.split('"').nth(1))
        .collect();
    for mistake in ENGINE_MISTAKES {
        assert!(named.contains(mistake.name), "{} stands nowhere in features/selftest", mistake.name);
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

/// A check that nothing was ever seen to fail is none.
fn every_case_of_a_chain_judges() {
    let catalogue = Catalogue::embedded().unwrap();
    let scenario = |address: &str| address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let trials = trials().into_iter().filter(|((who, _), _)| *who == ORCHESTRATOR);
    let judges: BTreeSet<String> = trials.flat_map(|(_, judges)| judges).map(|judge| scenario(&judge)).collect();
    let script = catalogue.script(|case| {
        let is_chain =
            ["orchestrator/", "pool/nodes/", "pool/engines/"].iter().any(|room| case.address.starts_with(room));
        is_chain && case.lanes.is_empty()
    });
    let idle: BTreeSet<String> = script.cases.iter().map(|case| scenario(&case.address)).collect();
    let idle: Vec<&String> = idle.difference(&judges).collect();
    assert!(idle.is_empty(), "no mistake in features/selftest/chain.feature is judged by {idle:?}");
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
