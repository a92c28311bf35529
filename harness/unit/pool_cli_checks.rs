//! The checks about the pool's tool can fail: each meets a tool that is wrong on purpose, which is a script in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use llorch::harness::api::Api;
use llorch::harness::hub::{Hub, Mishap};
use llorch::harness::pool_machine::{Hf, Machine, Shape};
use llorch::harness::scene::Scene;
use llorch::harness::selection::{TargetKind, TargetRequest};
use llorch::harness::session::Session;
use llorch::harness::{Finding, Verdict, http};

pub const TESTS: &[(&str, fn())] = &[
    ("pool_cli_checks/endings", wrong_codes_and_words_are_seen),
    ("pool_cli_checks/catalog", a_catalog_that_is_lost_or_overwritten_is_seen),
    ("pool_cli_checks/colours", colours_in_a_pipe_are_seen),
    ("pool_cli_checks/record", a_record_of_other_files_is_seen),
    ("pool_cli_checks/words", a_word_too_many_is_seen),
    ("pool_cli_checks/worker", a_worker_that_is_not_detached_or_not_gone_is_seen),
    ("pool_cli_checks/unbuilt", only_what_is_not_built_is_unimplemented),
    ("pool_cli_checks/slow", a_slow_start_is_seen),
    ("pool_cli_checks/behaviours", what_hf_can_do),
    ("pool_cli_checks/hub", the_hub_serves_ranges_tags_and_mishaps),
];

/// A scene whose `llorch` is this script; `$1` is `llorch-pool` where that was meant.
fn scene(script: &str) -> (tempfile::TempDir, Scene) {
    let folder = tempfile::tempdir().unwrap();
    let llorch = folder.path().join("llorch");
    fs::write(&llorch, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&llorch, fs::Permissions::from_mode(0o755)).unwrap();
    let kind = TargetKind::BuiltIn { backend: None };
    let request = TargetRequest { kind, model: None, model_formats: Vec::new(), api: Api::Native, llorch };
    let mut scene = Scene::new(Arc::new(Session::of(request).unwrap()));
    scene.have_pool_machine(None).unwrap();
    (folder, scene)
}

#[track_caller]
fn fails(outcome: Result<(), Finding>) {
    match outcome {
        Err(finding) => assert_eq!(finding.verdict, Verdict::Fail, "{finding:?}"),
        Ok(()) => panic!("the mistake was not seen"),
    }
}

fn pairs(field: &str, value: &str) -> Vec<(String, String)> {
    vec![(field.into(), value.into())]
}

fn wrong_codes_and_words_are_seen() {
    let (_folder, mut scene) = scene("echo '{\"a\": [1]}'; exit 3");
    scene.run_tool("llorch-pool status").unwrap();
    scene.tool_ended(3, "\"a\"").unwrap();
    fails(scene.tool_ended(0, "\"a\""));
    fails(scene.tool_ended(3, "other"));
    scene.output_is_json_with(&pairs("/a/0", "1")).unwrap();
    scene.output_is_json_with(&pairs("/a/1", "absent")).unwrap();
    fails(scene.output_is_json_with(&pairs("/a/0", "2")));
    fails(scene.output_is_json_with(&pairs("/a/0", "absent")));
    fails(scene.output_is_json_with(&pairs("/b", "null")));
    scene.run_tool_at_once("llorch-pool status", 2).unwrap();
    fails(scene.tools_ended(2, ""));
    fails(scene.tools_ended(0, ""));
}

fn a_catalog_that_is_lost_or_overwritten_is_seen() {
    // Whatever is asked, it begins a new catalog: the two classic mistakes in one.
    let (_folder, mut scene) =
        scene("mkdir -p .test-models; printf '{\"models\": [{}], \"n\": %s}' $$ >.test-models/catalog.json");
    scene.run_tool("llorch-pool models register a").unwrap();
    fails(scene.catalog_is_unchanged());
    scene.run_tool_at_once("llorch-pool models register {n}", 3).unwrap();
    scene.tools_ended(3, "").unwrap();
    scene.catalog_has(1).unwrap();
    fails(scene.catalog_has(3));
    fails(scene.catalog_says(&pairs("/models/1", "{}")));
    fails(scene.catalog_is_unchanged());
    fails(scene.every_cut_is_refused());
}

fn colours_in_a_pipe_are_seen() {
    let (_folder, mut scene) = scene("printf '\\033[1mbold\\033[0m'");
    scene.run_tool("llorch-pool models list").unwrap();
    fails(scene.tool_ended(0, "bold"));
}

/// It says downloaded, and has looked at no file.
fn a_record_of_other_files_is_seen() {
    let (_folder, mut scene) = scene(
        "mkdir -p .test-models/m; echo weights >.test-models/m/w.gguf; printf '%s' \
         '{\"models\": [{\"id\": \"m\", \"downloaded\": true, \"size_gb\": 8e-9, \"metadata\": {\"files\": {}}}]}' \
         >.test-models/catalog.json",
    );
    scene.run_tool("llorch-pool models download m").unwrap();
    fails(scene.catalog_records_files("m"));
}

fn a_word_too_many_is_seen() {
    let (_folder, mut scene) = scene("printf '%s\\n' download 'a b' >bin/hf.words; printf xx >bin/hf.runs; : >here");
    fails(scene.was_run_with("hf", &[]));
    scene.run_tool("llorch-pool models download a").unwrap();
    scene.was_run_with("hf", &["download".into(), "a b".into()]).unwrap();
    fails(scene.was_run_with("hf", &["download".into(), "a".into(), "b".into()]));
    scene.hf_was_run(2).unwrap();
    fails(scene.hf_was_run(3));
    scene.machine_has("here", true).unwrap();
    fails(scene.machine_has("here", false));
    fails(scene.machine_has("there", true));
}

fn a_worker_that_is_not_detached_or_not_gone_is_seen() {
    // It stays in the caller's session, and its file stays when it is lost.
    let script =
        "mkdir -p .runtime/workers; sleep 600 >/dev/null 2>&1 & printf '{\"pid\": %s}' $! >.runtime/workers/$2.json";
    let (_folder, mut scene) = scene(script);
    scene.run_tool("llorch-pool worker-cpu-{gpu}").unwrap();
    fails(scene.worker_is("runs in a session of its own"));
    fails(scene.worker_is("left no file"));
}

fn only_what_is_not_built_is_unimplemented() {
    let refusal = "echo 'llorch-candled, the worker for this, is not here: looked at the PATH'; exit 1";
    let (_folder, mut honest) = scene(&format!("[ \"$1\" = llorch-pool ] || exit 2; {refusal}"));
    assert_eq!(honest.spawn_for("cuda", "m").unwrap_err().verdict, Verdict::Unimplemented);
    // It has the program and says that it has not.
    let (_folder, mut lying) = scene(&format!("[ \"$1\" = llorch-pool ] || exit 0; {refusal}"));
    fails(lying.spawn_for("cuda", "m"));
    let (_folder, mut broken) = scene("echo broken; exit 1");
    fails(broken.spawn_for("cpu", "m"));
}

fn a_slow_start_is_seen() {
    let (_folder, mut scene) = scene("sleep 0.3");
    fails(scene.tool_starts_within(Duration::from_millis(100)));
}

fn what_hf_can_do() {
    assert_eq!(Hf::of("brings the haiku model").unwrap(), Hf::Brings(Shape::Haiku));
    assert!(Hf::of("sings").is_err());
    let (folder, _scene) = scene("exit 0");
    let mut machine = Machine::new(&folder.path().join("llorch")).unwrap();
    for shape in [Shape::Haiku, Shape::HaikuAsGguf, Shape::Sharded, Shape::Qwen] {
        Hf::Brings(shape).install(&mut machine).unwrap();
        fs::remove_dir_all(machine.path("hub")).unwrap();
    }
    // What looks like a Qwen model is one.
    Shape::Qwen.write(&machine.path("qwen")).unwrap();
    let read = llorch::model::file::open(&machine.path("qwen"), &mut |_| {}).unwrap();
    assert_eq!(read.configuration.architecture(), "qwen2");
}

fn the_hub_serves_ranges_tags_and_mishaps() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), "0123456789").unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let serve = |mishap| {
        let hub = Hub::serve("acme/m", folder.path(), mishap).unwrap();
        let base = http::Base::parse(&hub.url()).unwrap();
        (hub, base)
    };
    let weights = "/acme/m/resolve/1c0ffee1c0ffee1c0ffee1c0ffee1c0ffee1c0ff/model.safetensors";
    let get = |base: &http::Base, range: Option<&str>| {
        let request = http::Request::get(weights);
        let request = range.map_or(request.clone(), |range| request.header("Range", range));
        http::send(base, &request, Duration::from_secs(10))
    };
    let (hub, base) = serve(Mishap::None);
    let whole = get(&base, None).unwrap();
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    let digest = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    assert_eq!(whole.header("x-linked-etag"), Some(format!("\"{digest}\"").as_str()));
    let rest = get(&base, Some("bytes=7-")).unwrap();
    assert_eq!((rest.status, rest.text().as_str()), (206, "789"));
    assert_eq!(rest.header("content-range"), Some("bytes 7-9/10"));
    let nothing = http::send(&base, &http::Request::get("/acme/other"), Duration::from_secs(10)).unwrap();
    assert_eq!(nothing.status, 404);
    assert_eq!(hub.asked().len(), 3);

    let (_hub, base) = serve(Mishap::Cut);
    assert!(matches!(get(&base, None), Err(http::HttpError::CutShort { .. })));
    assert_eq!(get(&base, Some("bytes=5-")).unwrap().text(), "56789");
    let (_hub, base) = serve(Mishap::OtherBytes);
    let other = get(&base, None).unwrap();
    assert_eq!(
        (other.text().as_str(), other.header("x-linked-etag")),
        ("0123456788", Some(format!("\"{digest}\"").as_str()))
    );
}
