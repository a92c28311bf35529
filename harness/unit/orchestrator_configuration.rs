//! What is refused at start, and of a task: by name, with what is allowed, and all of it at once.

use std::collections::BTreeMap;
use std::time::Duration;

use llorch::orchestrator::configuration::{Allow, Configuration, SETTINGS, Sources};
use llorch::orchestrator::error::Code;
use llorch::orchestrator::placement::Strategy;
use llorch::orchestrator::queue::Policy;
use llorch::orchestrator::task_request::{check_model_ref, read};
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn())] = &[
    ("orchestrator_configuration/defaults", defaults),
    ("orchestrator_configuration/variables_win_over_the_file", variables_win_over_the_file),
    ("orchestrator_configuration/every_refusal_names_variable_value_and_what_is_allowed", refusals),
    ("orchestrator_configuration/unknown_keys_are_refused_by_name", unknown_keys_are_refused_by_name),
    ("orchestrator_configuration/open_addresses_need_a_token", open_addresses_need_a_token),
    ("orchestrator_configuration/tokens_are_long_scoped_and_never_repeated", tokens_are_long_scoped_and_never_repeated),
    ("orchestrator_task/a_whole_task", a_whole_task),
    ("orchestrator_task/every_wrong_field_is_named", every_wrong_field_is_named),
    ("orchestrator_task/all_that_is_wrong_is_listed", all_that_is_wrong_is_listed),
    ("orchestrator_task/a_deadline_that_has_passed", a_deadline_that_has_passed),
    ("orchestrator_task/strict_draws_a_seed", strict_draws_a_seed),
    ("orchestrator_task/model_references", model_references),
];

const LONG: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn sources(pairs: &[(&str, &str)]) -> Sources {
    let variables: BTreeMap<_, _> = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Sources { variables, file: None }
}

fn resolve(pairs: &[(&str, &str)]) -> Result<Configuration, String> {
    Configuration::resolve(&sources(pairs)).map_err(|error| error.to_string())
}

fn with_file(mut sources: Sources, text: &str) -> Result<Configuration, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestratord.yaml");
    std::fs::write(&path, text).unwrap();
    sources.read_file(path.to_str().unwrap()).map_err(|error| error.to_string())?;
    Configuration::resolve(&sources).map_err(|error| error.to_string())
}

fn defaults() {
    let configuration = resolve(&[]).unwrap();
    assert_eq!(configuration.address.to_string(), "127.0.0.1:8080");
    assert_eq!((configuration.capacity, configuration.policy), (Some(8), Policy::Reject));
    assert_eq!(configuration.strategy, Strategy::LeastLoaded);
    assert_eq!(configuration.node_timeout, Duration::from_secs(30));
    assert_eq!(configuration.stale_check_interval, Duration::from_secs(10));
    assert_eq!(configuration.disconnect_grace, Duration::from_secs(2));
    assert_eq!(configuration.provisioning.allow, Allow::Never);
    assert!(configuration.client_tokens.is_empty() && configuration.llamacpp.is_none() && !configuration.microbatch);
}

fn variables_win_over_the_file() {
    let file = "admission_capacity: -1\nadmission_policy: drop-lru\nprovisioning:\n  allow: listed\n  pools: [a, b]\n";
    let configuration = with_file(sources(&[("ORCHD_ADMISSION_POLICY", "reject")]), file).unwrap();
    assert_eq!((configuration.capacity, configuration.policy), (None, Policy::Reject));
    assert_eq!((configuration.provisioning.allow, configuration.provisioning.pools.len()), (Allow::Listed, 2));
    assert_eq!(resolve(&[("ORCHD_ADDR", "")]).unwrap().address.port(), 8080, "an empty variable is none");
    let bound = resolve(&[("ORCHD_LLAMACPP_URL", "http://127.0.0.1:9/"), ("ORCHD_LLAMACPP_POOL", "p")]).unwrap();
    let bound = bound.llamacpp.unwrap();
    assert_eq!(
        (bound.url.as_str(), bound.pool_id.as_str(), bound.replica_id.as_str()),
        ("http://127.0.0.1:9", "p", "r0")
    );
}

fn refusals() {
    let cases = [
        ("ORCHD_ADDR", "8080", "127.0.0.1:8080"),
        ("ORCHD_ADMISSION_CAPACITY", "0", "above 0"),
        ("ORCHD_ADMISSION_CAPACITY", "-2", "-1"),
        ("ORCHD_ADMISSION_CAPACITY", "many", "above 0"),
        ("ORCHD_ADMISSION_POLICY", "drop", "reject, drop-lru"),
        ("ORCHESTRATORD_PLACEMENT_STRATEGY", "best", "round-robin, least-loaded, random"),
        ("ORCHESTRATORD_NODE_TIMEOUT_MS", "0", "1 to"),
        ("ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS", "-1", "1 to"),
        ("ORCHD_DISCONNECT_GRACE_MS", "-1", "0 to"),
        ("ORCHD_SSE_MICROBATCH", "yes", "true"),
        ("ORCHD_LLAMACPP_URL", "localhost", "http://"),
        ("ORCHD_LLAMACPP_URL", "http://user:word@host/", "http://"),
        ("ORCHD_LLAMACPP_POOL", "a/b", "1 to 64"),
        ("ORCHD_LLAMACPP_REPLICA", "..", "1 to 64"),
        ("ORCHD_EVENT_LOG_EVENTS", "0", "1 to"),
        ("ORCHD_FINISHED_STREAMS", "x", "0 to"),
        ("ORCHD_PROVISIONING_ALLOW", "all", "never, listed, any"),
        ("ORCHD_PROVISIONING_POOLS", "a,,b", "commas"),
    ];
    for (variable, value, allowed) in cases {
        let text = resolve(&[(variable, value)]).expect_err(variable);
        assert!(text.contains(variable) && text.contains(&format!("'{value}'")) && text.contains(allowed), "{text}");
    }
    let text = resolve(&[("ORCHD_ADDR", "x"), ("ORCHD_ADMISSION_CAPACITY", "0")]).expect_err("both");
    assert!(text.contains("ORCHD_ADDR") && text.contains("ORCHD_ADMISSION_CAPACITY"), "{text}");
}

fn unknown_keys_are_refused_by_name() {
    for text in ["nope: 1", "provisioning:\n  nope: 1", "ORCHD_ADDR: x", "addr: {a: {b: 1}}"] {
        assert!(with_file(sources(&[]), text).is_err(), "{text}");
    }
    for setting in SETTINGS {
        let text = match setting.key.split_once('.') {
            Some((outer, inner)) => format!("{outer}:\n  {inner}: ''\n"),
            None => format!("{}: null\n", setting.key),
        };
        let refusal = with_file(sources(&[]), &text).err().unwrap_or_default();
        assert!(!refusal.contains("unknown key"), "{refusal}");
    }
}

fn open_addresses_need_a_token() {
    for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
        assert!(resolve(&[("ORCHD_ADDR", address)]).expect_err(address).contains("LLORCH_API_TOKEN"));
        assert!(resolve(&[("ORCHD_ADDR", address), ("LLORCH_NODE_TOKEN", LONG)]).is_err(), "clients come in free");
        assert!(resolve(&[("ORCHD_ADDR", address), ("LLORCH_API_TOKEN", LONG)]).is_ok());
    }
    assert!(resolve(&[("ORCHD_ADDR", "[::1]:80")]).is_ok() && resolve(&[("ORCHD_ADDR", "localhost:80")]).is_ok());
}

fn tokens_are_long_scoped_and_never_repeated() {
    for short in ["secret", &LONG[1..], &format!("{LONG},secret"), &format!("{LONG},{LONG},{LONG}")] {
        let text = resolve(&[("LLORCH_API_TOKEN", short)]).expect_err(short);
        assert!(text.contains("LLORCH_API_TOKEN") && text.contains("32") && !text.contains("secret"), "{text}");
        assert!(!text.contains(&LONG[1..]), "{text}");
    }
    let one = resolve(&[("LLORCH_API_TOKEN", LONG)]).unwrap();
    assert_eq!(one.node_tokens.fingerprints(), one.client_tokens.fingerprints(), "nodes fall back to it");
    assert_eq!(one.node_bearer.as_deref(), Some(LONG));
    assert_eq!(one.client_tokens.fingerprints()[0].len(), 6);
    assert!(!LONG.contains(&one.client_tokens.fingerprints()[0]));
    let rotated = format!("{OTHER}, {LONG}");
    let two = resolve(&[("LLORCH_API_TOKEN", LONG), ("LLORCH_NODE_TOKEN", &rotated)]).unwrap();
    assert_ne!(two.node_tokens.fingerprints(), two.client_tokens.fingerprints());
    assert_eq!(two.node_bearer.as_deref(), Some(OTHER));
    assert!(!format!("{:?}", two.client_tokens).contains(LONG));
}

fn task() -> Value {
    json!({
        "task_id": "6f0d6c43-4f5e-4a43-9d1c-0d4b8a6f1f0e", "session_id": "b2f6a1de-53b9-4c8e-8a0e-2b1a4c6d7e8f",
        "workload": "completion", "model_ref": "tiny", "engine": "llorch", "ctx": 128, "priority": "interactive",
        "prompt": "hidden words", "max_tokens": 16, "deadline_ms": 1000,
    })
}

fn with(name: &str, value: Value) -> Vec<u8> {
    let mut task = task();
    task[name] = value;
    serde_json::to_vec(&task).unwrap()
}

fn a_whole_task() {
    let request = read(&with("stop", json!(["a", "b"]))).unwrap();
    assert_eq!(request.spec.max_tokens, 16);
    assert_eq!(request.spec.sampling["stop"], json!(["a", "b"]));
    assert_eq!(request.spec.seed, None);
    let request = read(&with("placement", json!({"mode": "pin", "pin_pool_id": "a"}))).unwrap();
    assert_eq!(request.spec.placement.pin_pool_id.as_deref(), Some("a"));
    for name in ["task_id", "session_id", "workload", "model_ref", "engine", "ctx", "priority", "prompt", "max_tokens"]
    {
        let error = read(&with(name, Value::Null)).expect_err(name);
        assert!(error.message.contains(&format!("{name} is missing")), "{}", error.message);
    }
}

fn every_wrong_field_is_named() {
    let cases = [
        ("task_id", json!("6f0d6c434f5e4a439d1c0d4b8a6f1f0e")),
        ("session_id", json!(7)),
        ("workload", json!("embedding")),
        ("workload", json!("rerank")),
        ("engine", json!("vllm")),
        ("engine", json!("tgi")),
        ("engine", json!("triton")),
        ("engine", json!("none")),
        ("model_ref", json!("")),
        ("ctx", json!(0)),
        ("priority", json!("urgent")),
        ("prompt", json!("")),
        ("max_tokens", json!(2049)),
        ("deadline_ms", json!("soon")),
        ("seed", json!(-1)),
        ("temperature", json!(2.1)),
        ("top_p", json!(-0.1)),
        ("top_k", json!(1.5)),
        ("min_p", json!("x")),
        ("repetition_penalty", json!(0)),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!([""])),
        ("determinism", json!("maybe")),
        ("expected_tokens", json!(0)),
        ("kv_hint", json!("warm")),
        ("tokens_budget", json!(0)),
        ("time_budget_ms", json!(-1)),
        ("nope", json!(1)),
        ("placement", json!("pin")),
        ("placement", json!({"mode": "pin"})),
        ("placement", json!({"pin_pool_id": "a"})),
        ("placement", json!({"mode": "pin", "pin_pool_id": ""})),
        ("placement", json!({"mode": "prefer", "prefer_pools": ["a", "b/c"]})),
        ("placement", json!({"avoid_pools": [".."]})),
        ("placement", json!({"mode": "prefer"})),
        ("placement", json!({"prefer_pools": ["a"]})),
        ("placement", json!({"mode": "pin", "pin_pool_id": "a", "avoid_pools": ["a"]})),
        ("placement", json!({"allow_fallback": false})),
        ("placement", json!({"require_device_mask": ""})),
        ("placement", json!({"require_device_mask": "0, 1"})),
        ("placement", json!({"nope": 1})),
    ];
    for (name, value) in cases {
        let error = read(&with(name, value.clone())).expect_err(name);
        assert_eq!(error.code, Code::InvalidParams, "{name}: {value}");
        assert!(error.message.contains(name), "{name} in: {}", error.message);
        assert!(!error.message.contains("hidden words") && !format!("{:?}", error.errors()).contains("hidden words"));
    }
}

fn all_that_is_wrong_is_listed() {
    let error = read(br#"{"ctx":0,"placement":{"mode":"x"},"nope":1}"#).expect_err("much");
    let fields: Vec<&str> = error.errors().iter().map(|error| error.field.as_str()).collect();
    for name in ["task_id", "session_id", "workload", "prompt", "ctx", "placement.mode", "nope", "deadline_ms"] {
        assert!(fields.contains(&name), "{name} in {fields:?}");
    }
    for body in [&b""[..], b"null", b"[1]", b"{", b"{\"prompt\": 1e400}", b"\xff"] {
        assert_eq!(read(body).expect_err("no task").code, Code::InvalidParams);
    }
}

fn a_deadline_that_has_passed() {
    for deadline in [json!(0), json!(-5), json!(-0.5)] {
        assert_eq!(read(&with("deadline_ms", deadline)).expect_err("past").code, Code::DeadlineUnmet);
    }
    let mut two = task();
    (two["deadline_ms"], two["ctx"]) = (json!(0), json!(0));
    let error = read(&serde_json::to_vec(&two).unwrap()).expect_err("two");
    assert_eq!(error.code, Code::InvalidParams, "not all that is wrong");
    assert!(error.message.contains("deadline_ms"));
}

fn strict_draws_a_seed() {
    let seed = || read(&with("determinism", json!("strict"))).unwrap().spec.seed.unwrap();
    let (first, second) = (seed(), seed());
    assert_ne!(first, second);
    assert!(first < 1 << 53, "every JSON reader keeps it");
    let mut given = task();
    (given["determinism"], given["seed"]) = (json!("strict"), json!(u64::MAX));
    assert_eq!(read(&serde_json::to_vec(&given).unwrap()).unwrap().spec.seed, Some(u64::MAX));
}

fn model_references() {
    let sound = [
        "tiny",
        "a/b",
        "gpt2-1.5",
        "hf:org/repo",
        "hf:org/repo@main",
        "hf:o/r@v1::file=a/b.gguf",
        "file:/models/m.gguf",
    ];
    for text in sound {
        assert_eq!(check_model_ref(text), Ok(()), "{text}");
    }
    let unsound = [
        "",
        " ",
        "a b",
        "-a",
        "é",
        "hf:",
        "hf:repo",
        "hf:/repo",
        "hf:a/b/c",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b::x=1",
        "hf:a/b::file=",
        "hf:a/b::file=../x",
        "file:",
        "file:relative",
        "file:/",
        "file:/a//b",
        "file:/a b",
        "a\nb",
    ];
    for text in unsound {
        assert!(check_model_ref(text).is_err(), "{text:?}");
    }
    assert!(check_model_ref(&"a".repeat(513)).is_err());
}
