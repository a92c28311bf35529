//! What is a case, which are chosen, and what the tool says and exits with where the answer is "none".

use std::process::{Command, Output};

use llorch::harness::case::{Lane, Level};
use llorch::harness::catalogue::Catalogue;
use llorch::harness::selection::Selection;

use super::puppets::catalogue;

pub const TESTS: &[(&str, fn())] = &[
    ("selection/a_case_is_read_from_its_tags", a_case_is_read_from_its_tags),
    ("selection/rows_have_addresses_of_their_own", rows_have_addresses_of_their_own),
    ("selection/mistakes_are_named_with_their_places", mistakes_are_named_with_their_places),
    ("selection/an_address_chooses_all_below_it", an_address_chooses_all_below_it),
    ("selection/a_wrong_address_is_told_what_is_near", a_wrong_address_is_told_what_is_near),
    ("selection/tags_choose_and_require_lanes", tags_choose_and_require_lanes),
    ("selection/checkpoints_are_in_file_names", checkpoints_are_in_file_names),
    ("selection/the_embedded_features_are_valid", the_embedded_features_are_valid),
    ("selection/the_tool_ends_as_documented", the_tool_ends_as_documented),
    ("selection/the_tool_lists", the_tool_lists),
    ("selection/the_test_target_answers_as_libtest", the_test_target_answers_as_libtest),
];

const FEATURE: &str = "\
@M0-W-1300 @must
Feature: A worker executes jobs

  @case:worker/execute/4 @quick @fresh
  Scenario: a short prompt
    When it holds

  @case:worker/execute/40 @should @serial @SYS-6.3.4
  Scenario: a long prompt
    When it holds

  Rule: parameters
    @lane:gpu
    @case:worker/execute/7
    Scenario Outline: temperature <temperature>
      When it holds

      Examples:
        | temperature | status |
        | 2.1         | 400    |
        | -0.1        | 400    |
        | NaN !       | 400    |
        |             | 400    |
        | ..          | 400    |
";

fn addresses(selection: &Selection) -> Vec<String> {
    let script = selection.choose(&catalogue(FEATURE)).expect("something is chosen");
    let in_features: usize = script
        .features
        .iter()
        .map(|feature| feature.scenarios.len() + feature.rules.iter().map(|rule| rule.scenarios.len()).sum::<usize>())
        .sum();
    assert_eq!(in_features, script.cases.len(), "the features are cut to the cases");
    script.cases.iter().map(|case| case.address.clone()).collect()
}

fn a_case_is_read_from_its_tags() {
    let catalogue = catalogue(FEATURE);
    let [first, second, third, ..] = catalogue.cases() else { panic!("three cases at least") };
    assert_eq!((first.address.as_str(), first.level), ("worker/execute/4", Level::Must));
    assert!(first.quick && first.fresh && !first.serial && !first.stub);
    assert_eq!(first.place.to_string(), "features/toy.feature:5");
    assert_eq!(first.requirements, ["M0-W-1300"]);
    assert_eq!(second.level, Level::Should, "the scenario's own level wins over its feature's");
    assert_eq!(second.requirements, ["M0-W-1300", "SYS-6.3.4"]);
    assert!(second.serial);
    assert_eq!(third.lanes, [Lane::Gpu]);
}

fn rows_have_addresses_of_their_own() {
    let addresses = addresses(&Selection { addresses: vec!["worker/execute/7".to_owned()], ..Selection::default() });
    let keys: Vec<&str> = addresses.iter().map(|address| address.rsplit('/').next().expect("a key")).collect();
    assert_eq!(keys, ["2.1", "-0.1", "NaN__", "empty", "__"]);
}

fn mistakes_are_named_with_their_places() {
    let read = |text: &str| {
        let texts = vec![("features/toy.feature".to_owned(), text.to_owned())];
        Catalogue::parse(texts).expect_err("a mistake").to_string()
    };
    let scenario = |tags: &str| format!("Feature: f\n{tags}\nScenario: s\nGiven it holds\n");
    for (text, said) in [
        (scenario("@must @LL-1"), "features/toy.feature:3 \"s\": no address"),
        (scenario("@case:a @LL-1"), "no level"),
        (scenario("@case:a @must @should @LL-1"), "more than one level"),
        (scenario("@case:a @must"), "no requirement"),
        (scenario("@case:a @must @LL-1 @lane:moon"), "the lane \"moon\""),
        (scenario("@case:a:b @must @LL-1"), "may hold only"),
        ("Feature: f\n@case:a @must @LL-1\nScenario: s\n".to_owned(), "no steps"),
        ("Feature f\n".to_owned(), "features/toy.feature"),
        (
            "@must @LL-1\nFeature: f\n@case:a\nScenario: s\nGiven it holds\n@case:a\nScenario: t\nGiven it holds\n"
                .to_owned(),
            "features/toy.feature:7: the address a is taken by features/toy.feature:4",
        ),
        (
            "@must @LL-1\nFeature: f\n@case:a\nScenario Outline: s\nGiven it holds\nExamples:\n|k|\n|1|\n|1|\n"
                .to_owned(),
            "the first column must differ",
        ),
        (
            "@must @LL-1\nFeature: f\n@case:a\nScenario Outline: s\nGiven <what>\nExamples:\n|k|\n|1|\n".to_owned(),
            "what",
        ),
    ] {
        let problem = read(&text);
        assert!(problem.contains(said), "{said:?} is not said in {problem:?}");
    }
}

fn an_address_chooses_all_below_it() {
    let of = |address: &str| addresses(&Selection { addresses: vec![address.to_owned()], ..Selection::default() });
    assert_eq!(of("worker/execute/4"), ["worker/execute/4"], "and not worker/execute/40");
    assert_eq!(of("worker/execute").len(), 7);
    assert_eq!(of("worker/").len(), 7);
    assert_eq!(addresses(&Selection { quick: true, ..Selection::default() }), ["worker/execute/4"]);
    let name = regex::Regex::new("long|short").expect("a pattern");
    assert_eq!(addresses(&Selection { name: Some(name), ..Selection::default() }).len(), 2);
}

fn a_wrong_address_is_told_what_is_near() {
    let asked = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        let selection = Selection { addresses, ..Selection::default() };
        selection.choose(&catalogue(FEATURE)).expect_err("nothing is chosen").to_string()
    };
    assert!(asked(&["worker/exceute/4"]).contains("worker/execute/4"));
    assert!(
        asked(&["worker/execute/4", "worker/execute/41"]).contains("worker/execute/40"),
        "one wrong among right ones"
    );
    assert!(asked(&["x"]).contains("llorch list"));
}

fn tags_choose_and_require_lanes() {
    let with = |text: &str| Selection::default().with_tags(text.parse().expect("an expression"));
    assert_eq!(addresses(&with("@should")), ["worker/execute/40"], "a tag that the scenario has itself");
    assert_eq!(addresses(&with("@M0-W-1300 and not @lane:gpu")).len(), 2);
    assert_eq!(addresses(&with("@case:worker/execute/4")), ["worker/execute/4"]);
    assert_eq!(with("@lane:gpu or @must").required, [Lane::Gpu].into());
    assert!(with("@must and not @lane:gpu").required.is_empty(), "a lane that is ruled out is not asked for");
    let embedded = Catalogue::embedded().expect("valid features");
    for lane in ["docker", "real-llama"] {
        let script = with(&format!("@lane:{lane}")).choose(&embedded);
        assert!(script.is_ok(), "the lane {lane} is about no target, and named: {script:?}");
    }
    let Ok(whole) = Selection::default().choose(&embedded) else { panic!("nothing is selected") };
    let beside = whole.cases.iter().find(|case| case.lanes.contains(&Lane::Docker));
    assert!(beside.is_none(), "asked of every target: {beside:?}");
}

fn checkpoints_are_in_file_names() {
    let text = "@must @LL-1\nFeature: f\n@case:a\nScenario: s\nGiven it holds\n".to_owned();
    let file = "features/checkpoints/04_attention_scores.feature".to_owned();
    let catalogue = Catalogue::parse(vec![(file, text)]).expect("a valid feature");
    assert_eq!(catalogue.cases()[0].checkpoint, Some(4));
}

fn the_embedded_features_are_valid() {
    if let Err(problem) = Catalogue::embedded() {
        panic!("{problem}");
    }
}

fn tool(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llorch")).args(words).output().expect("the tool starts")
}

fn features(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("toy.feature"), text).expect("a file");
    let path = folder.path().to_str().expect("a path in UTF-8").to_owned();
    (folder, path)
}

fn the_tool_ends_as_documented() {
    let (_undefined, undefined) =
        features("@must @LL-1\nFeature: f\n@case:a/1\nScenario: s\nGiven nobody has written this\n");
    let (_invalid, invalid) = features("Feature: f\nScenario: s\nGiven it holds\n");
    let verify = |words: &[&str]| tool(&[&["verify", "--backend", "stub"], words].concat());
    for (output, code, said) in [
        (verify(&["--features", &undefined]), 1, "the step is undefined"),
        (verify(&["--features", &undefined, "--case", "a/2"]), 4, "a/1"),
        (verify(&["--features", &invalid]), 2, "no address"),
        (verify(&["--features", "/nowhere/at/all"]), 2, "/nowhere/at/all"),
        (verify(&["--tags", "must"]), 2, "--tags"),
        (verify(&["--url", "http://127.0.0.1:1"]), 2, "--url"),
        (tool(&["verify", "--spawn", "a 'b", "--features", &undefined]), 2, "not a command"),
        (tool(&["verify", "--model", "/nowhere/model.gguf"]), 2, "/nowhere/model.gguf"),
        (tool(&["nonsense"]), 2, "nonsense"),
        (tool(&["completions", "bash"]), 0, "verify"),
    ] {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(said), "{said:?} is not said in {text}");
        assert!(!text.contains("panicked at"), "{text}");
    }
}

fn the_tool_lists() {
    let (_folder, path) = features(FEATURE);
    let table = tool(&["list", "--features", &path]);
    let text = String::from_utf8(table.stdout).expect("UTF-8");
    assert!(text.starts_with("ADDRESS"), "{text}");
    assert!(text.contains("worker/execute/7/2.1    MUST    M0-W-1300            temperature 2.1 [gpu]"), "{text}");
    let json = tool(&["list", "--features", &path, "--format", "json", "--quick"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(value[0]["address"], "worker/execute/4");
    assert_eq!(value[0]["level"], "MUST");
    assert_eq!(value.as_array().map(Vec::len), Some(1));
}

fn the_test_target_answers_as_libtest() {
    let itself = std::env::current_exe().expect("this program");
    let ask = |words: &[&str]| {
        let output = Command::new(&itself).args(words).env_remove("RUST_TEST_THREADS").output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let name = "unit/selection/checkpoints_are_in_file_names";
    let (code, list) = ask(&["--list", "--format", "terse"]);
    assert_eq!(code, Some(0));
    assert!(list.lines().all(|line| line.ends_with(": test")) && list.contains(&format!("{name}: test\n")), "{list}");
    let (_, ignored) = ask(&["--list", "--format", "terse", "--ignored"]);
    assert!(ignored.lines().all(|line| !list.contains(line)), "ignored ones are listed there only");

    let (code, text) = ask(&[name, "--exact", "--nocapture"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; "), "{text}");
    let (_, text) = ask(&["unit/selection/checkpoints", "--exact"]);
    assert!(text.contains("test result: ok. 0 passed"), "a part of a name is not the name: {text}");
    let (code, text) = ask(&["--skip", "unit", "-q", "zzz"]);
    assert!(code == Some(0) && text.contains("0 passed"), "libtest takes no match for success: {text}");
    let (code, _) = ask(&["--name", "no scenario is called this"]);
    assert_eq!(code, Some(4));
}
