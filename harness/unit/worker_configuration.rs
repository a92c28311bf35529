//! Flag > variable > file > default, and refusals that say what, where and what is allowed.

use std::collections::BTreeMap;
use std::time::Duration;

use llorch::worker::configuration::{Configuration, SETTINGS, Sources, is_worker_id};
use llorch::worker::daemon::CPUD;

pub const TESTS: &[(&str, fn())] = &[
    ("worker_configuration/precedence", precedence),
    ("worker_configuration/defaults", defaults),
    ("worker_configuration/every_refusal_names_flag_value_and_range", every_refusal_names_flag_value_and_range),
    ("worker_configuration/all_refusals_are_listed", all_refusals_are_listed),
    ("worker_configuration/unknown_keys_are_refused_by_name", unknown_keys_are_refused_by_name),
    ("worker_configuration/files_hold_one_value_a_key", files_hold_one_value_a_key),
    ("worker_configuration/a_model_is_needed", a_model_is_needed),
    ("worker_configuration/open_addresses_need_a_token", open_addresses_need_a_token),
    ("worker_configuration/secrets_are_not_repeated", secrets_are_not_repeated),
    ("worker_configuration/worker_ids", worker_ids),
];

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn stub(flags: &[(&str, &str)], variables: &[(&str, &str)]) -> Sources {
    let mut sources = Sources { flags: map(flags), variables: map(variables), file: None };
    sources.flags.insert("backend".to_owned(), "stub".to_owned());
    sources
}

/// The sources with a file of this text.
fn with_file(mut sources: Sources, text: &str) -> Result<Sources, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("worker.yaml");
    std::fs::write(&path, text).unwrap();
    sources.read_file(path.to_str().unwrap()).map_err(|error| error.to_string())?;
    Ok(sources)
}

fn precedence() {
    let file = "queue_size: 5\nport: 7000\ndrain_sec: 9\n";
    let sources = with_file(stub(&[("queue-size", "3")], &[("LLORCH_QUEUE_SIZE", "4"), ("LLORCH_PORT", "7001")]), file);
    let configuration = Configuration::resolve(&CPUD, &sources.unwrap()).unwrap();
    assert_eq!(configuration.queue_size, 3, "the flag");
    assert_eq!(configuration.port, 7001, "the variable");
    assert_eq!(configuration.drain, Duration::from_secs(9), "the file");
    assert_eq!(configuration.max_tokens_out, 2048, "the default");
    let empty = Configuration::resolve(&CPUD, &stub(&[], &[("LLORCH_PORT", ""), ("LLORCH_API_TOKEN", "")])).unwrap();
    assert_eq!(empty.port, 0, "an empty variable is none");
    assert!(empty.access.is_empty());
}

fn defaults() {
    let configuration = Configuration::resolve(&CPUD, &stub(&[], &[])).unwrap();
    assert!(uuid::Uuid::parse_str(&configuration.worker_id).is_ok());
    assert_eq!(configuration.model_ref, "stub");
    assert_eq!((configuration.port, configuration.queue_size), (0, 8));
    assert!(configuration.bind.is_loopback());
    assert_eq!(configuration.inference_timeout, Duration::from_secs(300));
    assert_eq!(configuration.drain, Duration::from_secs(30));
    assert_eq!(configuration.backend.threads, 1);
    assert_eq!(configuration.backend.kv_cache_size_mb, None);
    assert!(!configuration.backend.digest);
}

fn refusal(sources: &Sources) -> String {
    Configuration::resolve(&CPUD, sources).expect_err("refused").to_string()
}

fn every_refusal_names_flag_value_and_range() {
    let cases = [
        ("worker-id", "..", "1 to 64"),
        ("port", "65536", "0 to 65535"),
        ("port", "-1", "0 to 65535"),
        ("port", "80 ", "0 to 65535"),
        ("callback-url", "https://example/", "http://"),
        ("callback-url", "example", "http://"),
        ("callback-url", "http://localhost:99990", "http://"),
        ("bind", "example", "IP address"),
        ("gpu", "first", "0 to 1023"),
        ("max-tokens-in", "0", "1 to"),
        ("max-tokens-out", "2049", "1 to 2048"),
        ("inference-timeout-sec", "0", "1 to"),
        ("kv-cache-size-mb", "0", "auto"),
        ("threads", "0", "1 to 1024"),
        ("queue-size", "1.5", "0 to"),
        ("drain-sec", "", "0 to"),
        ("digest", "yes", "true, false"),
        ("stub-tokens", "x", "0 to"),
        ("stub-delay-ms", "x", "0 to"),
    ];
    for (flag, value, allowed) in cases {
        let by_flag = refusal(&stub(&[(flag, value)], &[]));
        assert!(by_flag.contains(&format!("--{flag}")) && by_flag.contains(&format!("'{value}'")), "{by_flag}");
        assert!(by_flag.contains(allowed), "{by_flag}");
        let variable = format!("LLORCH_{}", flag.replace('-', "_").to_uppercase());
        if !value.is_empty() {
            assert!(refusal(&stub(&[], &[(&variable, value)])).contains(&variable));
        }
    }
}

fn all_refusals_are_listed() {
    let text = refusal(&stub(&[("port", "x"), ("threads", "0"), ("worker-id", "a b")], &[("LLORCH_QUEUE_SIZE", "-1")]));
    for name in ["--port", "--threads", "--worker-id", "LLORCH_QUEUE_SIZE"] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

fn unknown_keys_are_refused_by_name() {
    for key in ["nope", "queue-size", "Port", "config"] {
        let error = with_file(stub(&[], &[]), &format!("{key}: 1\n")).expect_err("refused");
        assert!(error.contains(&format!("'{key}'")), "{error}");
    }
    for setting in SETTINGS {
        let key = setting.flag.replace('-', "_");
        assert!(with_file(stub(&[], &[]), &format!("{key}: 1\n")).is_ok(), "{key}");
    }
}

fn files_hold_one_value_a_key() {
    for text in ["port: [1]", "port: {a: 1}", "port: {", "- port", "port: 1\nport: 2", "\u{0}"] {
        assert!(with_file(stub(&[], &[]), text).is_err(), "{text:?}");
    }
    for text in ["", "# nothing\n", "port:\n", "port: null\n"] {
        assert!(with_file(stub(&[], &[]), text).is_ok(), "{text:?}");
    }
    let sources = with_file(stub(&[], &[]), "worker_id: node-7\ndigest: true\nkv_cache_size_mb: auto\n").unwrap();
    let configuration = Configuration::resolve(&CPUD, &sources).unwrap();
    assert_eq!(configuration.worker_id, "node-7");
    assert!(configuration.backend.digest);
    assert!(
        Sources::default().read_file("/nowhere/worker.yaml").unwrap_err().to_string().contains("/nowhere/worker.yaml")
    );
}

fn a_model_is_needed() {
    let cpu = |flags: &[(&str, &str)]| Sources { flags: map(flags), ..Sources::default() };
    assert!(refusal(&cpu(&[])).contains("--model"));
    assert!(refusal(&cpu(&[("backend", "cuda"), ("model", "m")])).contains("cpu, stub"));
    assert_eq!(Configuration::resolve(&CPUD, &cpu(&[("model", "m.gguf")])).unwrap().model_ref, "m.gguf");
}

fn open_addresses_need_a_token() {
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        assert!(refusal(&stub(&[("bind", address)], &[])).contains("LLORCH_API_TOKEN"), "{address}");
        let guarded = stub(&[("bind", address)], &[("LLORCH_API_TOKEN", "secret")]);
        assert_eq!(Configuration::resolve(&CPUD, &guarded).unwrap().bind.to_string(), address);
    }
    for address in ["127.0.0.1", "127.0.0.2", "::1", "localhost"] {
        assert!(Configuration::resolve(&CPUD, &stub(&[("bind", address)], &[])).unwrap().bind.is_loopback());
    }
}

fn secrets_are_not_repeated() {
    let text = refusal(&stub(&[], &[("LLORCH_API_TOKEN", "se cret")]));
    assert!(text.contains("LLORCH_API_TOKEN") && !text.contains("cret"), "{text}");
    let held = Configuration::resolve(&CPUD, &stub(&[], &[("LLORCH_API_TOKEN", "secret")])).unwrap();
    assert!(!format!("{:?}", held.access).contains("secret"));
}

fn worker_ids() {
    for id in ["a", "worker-cpu-0", "a.b_c", "...", &"x".repeat(64)] {
        assert!(is_worker_id(id), "{id}");
    }
    for id in ["", ".", "..", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
        assert!(!is_worker_id(id), "{id:?}");
    }
}
