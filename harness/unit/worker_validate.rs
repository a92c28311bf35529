//! What a request may hold, and that everything wrong with it is listed at once.

use std::collections::BTreeSet;

use axum::response::IntoResponse;
use llorch::backend::stub::Stub;
use llorch::backend::{Encode, InferenceBackend, Job, Prompt, StubPace};
use llorch::worker::error::{ApiError, FieldError};
use llorch::worker::validate::{self, Limits, is_job_id};
use proptest::prelude::*;
use serde_json::{Value, json};

pub const TESTS: &[(&str, fn())] = &[
    ("worker_validate/a_short_request_gets_the_defaults", a_short_request_gets_the_defaults),
    ("worker_validate/every_failure_is_listed", every_failure_is_listed),
    ("worker_validate/every_wrong_type_is_listed", every_wrong_type_is_listed),
    ("worker_validate/the_edges_are_in_and_beyond_is_out", the_edges_are_in_and_beyond_is_out),
    ("worker_validate/null_is_absent", null_is_absent),
    ("worker_validate/unknown_fields_are_ignored", unknown_fields_are_ignored),
    ("worker_validate/prompts_are_counted_in_scalars", prompts_are_counted_in_scalars),
    ("worker_validate/prompts_are_not_sent_back", prompts_are_not_sent_back),
    ("worker_validate/stops_are_counted_in_bytes_and_tokens", stops_are_counted_in_bytes_and_tokens),
    ("worker_validate/a_prompt_may_fill_the_context", a_prompt_may_fill_the_context),
    ("worker_validate/ids_instead_of_text", ids_instead_of_text),
    ("worker_validate/text_for_a_model_without_a_tokenizer", text_for_a_model_without_a_tokenizer),
    ("worker_validate/bodies_that_are_no_object", bodies_that_are_no_object),
    ("worker_validate/a_tiny_penalty_stays_above_zero", a_tiny_penalty_stays_above_zero),
    ("worker_validate/seeds_are_drawn", seeds_are_drawn),
    ("worker_validate/job_ids", job_ids),
    ("worker_validate/any_bytes_are_answered", any_bytes_are_answered),
];

/// One token a byte.
struct Bytes;

impl Encode for Bytes {
    fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }
}

fn limits() -> Limits {
    Limits::new(&Stub::new(StubPace::default()).describe(), None, 2048)
}

fn read(body: &Value) -> Result<Job, Vec<FieldError>> {
    read_with(body, &limits(), None)
}

fn read_with(body: &Value, limits: &Limits, tokenizer: Option<&dyn Encode>) -> Result<Job, Vec<FieldError>> {
    validate::job(body.to_string().as_bytes(), limits, tokenizer).map_err(|error| match error {
        ApiError::Invalid(errors) => errors,
        other => panic!("expected the list of failures, found {other:?}"),
    })
}

/// A sound request with one field set.
fn request(field: &str, value: Value) -> Value {
    let mut body = json!({"job_id": "a", "prompt": "b"});
    body[field] = value;
    body
}

fn fields(errors: &[FieldError]) -> BTreeSet<&str> {
    errors.iter().map(|error| error.field.as_str()).collect()
}

fn a_short_request_gets_the_defaults() {
    let job = read(&json!({"job_id": "a", "prompt": "b"})).unwrap();
    assert_eq!((job.job_id.as_str(), job.prompt, job.max_tokens), ("a", Prompt::Text("b".to_owned()), 2048));
    let sampling = job.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (1.0, 1.0, 0));
    assert_eq!((sampling.min_p, sampling.repetition_penalty), (0.0, 1.0));
    assert!(job.stop.is_empty() && job.capture.is_none());
}

const FIELDS: [&str; 10] =
    ["job_id", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stop", "seed"];

fn every_failure_is_listed() {
    let errors = read(&json!({
        "job_id": "a b", "prompt": "", "max_tokens": 0, "temperature": 2.1, "top_p": -0.1, "top_k": 50258, "min_p": 1.1,
        "repetition_penalty": 0.0, "stop": ["", "fine", "x".repeat(101)], "seed": -1,
    }))
    .unwrap_err();
    assert_eq!(fields(&errors), BTreeSet::from(FIELDS));
    assert_eq!(errors.iter().filter(|error| error.field == "stop").count(), 2, "one for each sequence");
    let value = |field: &str| errors.iter().find(|error| error.field == field).and_then(|error| error.value.clone());
    assert_eq!(value("temperature"), Some(json!(2.1)));
    assert_eq!(value("seed"), Some(json!(-1)));
    assert!(errors.iter().all(|error| !error.message.is_empty() && !error.constraint.is_empty()));
}

fn every_wrong_type_is_listed() {
    for wrong in [json!({"a": 1}), json!(true), json!([[]])] {
        let body: Value =
            FIELDS.iter().map(|field| ((*field).to_owned(), wrong.clone())).collect::<serde_json::Map<_, _>>().into();
        let errors = read(&body).unwrap_err();
        assert_eq!(fields(&errors), BTreeSet::from(FIELDS));
        assert!(errors.iter().all(|error| error.constraint == "type"), "{errors:?}");
    }
    let missing = read(&json!({})).unwrap_err();
    assert_eq!(fields(&missing), BTreeSet::from(["job_id", "prompt"]));
}

fn the_edges_are_in_and_beyond_is_out() {
    let cases: [(&str, &[Value], &[Value]); 7] = [
        (
            "max_tokens",
            &[json!(1), json!(2048), json!(16.0)],
            &[json!(0), json!(2049), json!(-1), json!(1.5), json!("1")],
        ),
        (
            "temperature",
            &[json!(0), json!(0.0), json!(-0.0), json!(2), json!(2.0)],
            &[json!(2.000_000_1), json!(-1e-9)],
        ),
        ("top_p", &[json!(0.0), json!(1.0)], &[json!(1.000_000_1), json!(-0.1)]),
        ("top_k", &[json!(0), json!(50257)], &[json!(50258), json!(-1), json!(4294967296u64), json!(0.5)]),
        ("min_p", &[json!(0.0), json!(1.0)], &[json!(1.01)]),
        ("repetition_penalty", &[json!(1e-9), json!(2.0)], &[json!(0.0), json!(0), json!(-1), json!(2.1)]),
        ("seed", &[json!(0), json!(u64::MAX)], &[json!(-1), json!(1.8446744073709552e19), json!(1e300)]),
    ];
    for (field, inside, outside) in cases {
        for value in inside {
            assert!(read(&request(field, value.clone())).is_ok(), "{field}: {value}");
        }
        for value in outside {
            let errors = read(&request(field, value.clone())).unwrap_err();
            assert_eq!(fields(&errors), BTreeSet::from([field]), "{value}");
        }
    }
    let narrowed = Limits { max_tokens: 16, ..limits() };
    assert_eq!(read_with(&json!({"job_id": "a", "prompt": "b"}), &narrowed, None).unwrap().max_tokens, 16);
    assert!(read_with(&request("max_tokens", json!(17)), &narrowed, None).is_err());
}

fn null_is_absent() {
    let mut body = json!({"job_id": "a", "prompt": "b", "prompt_ids": null});
    for field in &FIELDS[2..] {
        body[*field] = Value::Null;
    }
    assert_eq!(read(&body).unwrap().max_tokens, 2048);
    assert_eq!(read(&request("job_id", Value::Null)).unwrap_err()[0].constraint, "required");
    assert_eq!(read(&request("prompt", Value::Null)).unwrap_err()[0].constraint, "required");
}

fn unknown_fields_are_ignored() {
    assert!(read(&request("priority", json!({"deep": [1, 2]}))).is_ok());
}

fn prompts_are_counted_in_scalars() {
    for text in ["x", "🦀", "e\u{301}", "\u{0}"] {
        let count = text.chars().count();
        assert!(read(&request("prompt", json!(text.repeat(32768 / count)))).is_ok(), "{text:?}");
        let errors = read(&request("prompt", json!(text.repeat(32768 / count + 1)))).unwrap_err();
        assert_eq!((errors[0].field.as_str(), errors[0].constraint.as_str()), ("prompt", "length"));
    }
}

fn prompts_are_not_sent_back() {
    let secret = "s3cret";
    let bodies = [
        request("prompt", json!([secret])),
        request("prompt", json!({"text": secret})),
        request("stop", json!([secret, 1])),
        request("stop", json!(secret)),
        request("job_id", json!(format!("{secret} {}", "x".repeat(1000)))),
    ];
    for body in bodies {
        let text = serde_json::to_string(&read(&body).unwrap_err()).unwrap();
        assert!(!text.contains(secret), "{text}");
    }
}

fn stops_are_counted_in_bytes_and_tokens() {
    assert_eq!(read(&request("stop", json!(["a", "b", "c", "d"]))).unwrap().stop.len(), 4);
    assert_eq!(read(&request("stop", json!(["a", "b", "c", "d", "e"]))).unwrap_err()[0].constraint, "count");
    assert!(read(&request("stop", json!(["é".repeat(50)]))).is_ok());
    assert!(read(&request("stop", json!(["é".repeat(51)]))).is_err());
    assert!(read_with(&request("stop", json!(["x".repeat(32)])), &limits(), Some(&Bytes)).is_ok());
    let errors = read_with(&request("stop", json!(["x".repeat(33)])), &limits(), Some(&Bytes)).unwrap_err();
    assert_eq!(errors[0].constraint, "tokens");
}

fn a_prompt_may_fill_the_context() {
    let limits = Limits { prompt_tokens: 8, ..limits() };
    assert!(read_with(&request("prompt", json!("12345678")), &limits, Some(&Bytes)).is_ok());
    let errors = read_with(&request("prompt", json!("123456789")), &limits, Some(&Bytes)).unwrap_err();
    assert_eq!((errors[0].field.as_str(), errors[0].constraint.as_str()), ("prompt", "context"));
    assert!(errors[0].message.contains('9') && errors[0].message.contains('8'), "both numbers: {}", errors[0].message);
}

fn ids_instead_of_text() {
    let ids = |ids: Value| json!({"job_id": "a", "prompt_ids": ids});
    assert_eq!(read(&ids(json!([0, 50256]))).unwrap().prompt, Prompt::Ids(vec![0, 50256]));
    for wrong in [json!([]), json!([50257]), json!([-1]), json!([1.5]), json!(["1"]), json!("1"), json!([1, null])] {
        assert_eq!(fields(&read(&ids(wrong.clone())).unwrap_err()), BTreeSet::from(["prompt_ids"]), "{wrong}");
    }
    assert_eq!(read(&request("prompt_ids", json!([1]))).unwrap_err()[0].constraint, "exclusive");
    let limits = Limits { prompt_tokens: 2, ..limits() };
    assert!(read_with(&ids(json!([1, 2])), &limits, None).is_ok());
    assert_eq!(read_with(&ids(json!([1, 2, 3])), &limits, None).unwrap_err()[0].constraint, "context");
}

/// A model without a tokenizer says so where a prompt is text, and takes ids.
fn text_for_a_model_without_a_tokenizer() {
    struct None;
    impl Encode for None {
        fn encode(&self, _text: &str) -> Vec<u32> {
            Vec::new()
        }
        fn reads_text(&self) -> bool {
            false
        }
    }
    let errors = read_with(&request("prompt", json!("b")), &limits(), Some(&None)).unwrap_err();
    assert_eq!((errors[0].field.as_str(), errors[0].constraint.as_str()), ("prompt", "tokenizer"));
    assert!(read_with(&json!({"job_id": "a", "prompt_ids": [1], "stop": ["1 "]}), &limits(), Some(&None)).is_ok());
}

fn bodies_that_are_no_object() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{",
        "[]",
        "1",
        "null",
        "\"a\"",
        "{\"a\":NaN}",
        "{\"temperature\":1e400}",
        "{\"a\":1}x",
        "\u{feff}{}",
        &deep,
    ] {
        let error = validate::job(body.as_bytes(), &limits(), None).expect_err("refused");
        assert!(matches!(&error, ApiError::Invalid(errors) if errors[0].field == "body"), "{body:.20}: {error:?}");
        assert_eq!(error.into_response().status(), 400);
    }
    assert!(validate::job(b"{\"job_id\":\"a\",\"prompt\":\"\xff\"}", &limits(), None).is_err());
    assert!(validate::job(br#"{"job_id":"a","prompt":"\ud800"}"#, &limits(), None).is_err());
}

fn a_tiny_penalty_stays_above_zero() {
    let job = read(&request("repetition_penalty", json!(1e-60))).unwrap();
    assert!(job.sampling.repetition_penalty > 0.0);
}

fn seeds_are_drawn() {
    let body = json!({"job_id": "a", "prompt": "b"});
    let drawn: BTreeSet<u64> = (0..64).map(|_| read(&body).unwrap().sampling.seed).collect();
    assert_eq!(drawn.len(), 64);
    assert_eq!(read(&request("seed", json!(7))).unwrap().sampling.seed, 7);
}

fn job_ids() {
    for id in ["a", "a.b:c_d-e", "...", &"x".repeat(128)] {
        assert!(is_job_id(id), "{id}");
    }
    for id in ["", ".", "..", "a b", "a/b", "../a", "é", "a\nb", &"x".repeat(129)] {
        assert!(!is_job_id(id), "{id:?}");
    }
    assert_eq!(validate::job_id(br#"{"job_id":"a"}"#).unwrap(), "a");
    assert!(validate::job_id(br#"{"job_id":1}"#).is_err());
    assert!(validate::job_id(b"{}").is_err());
}

fn any_bytes_are_answered() {
    // Nothing is written beside the sources: a failure prints the input it shrank to.
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config.clone(), |(body in proptest::collection::vec(any::<u8>(), 0..200))| {
        let _ = validate::job(&body, &limits(), Some(&Bytes));
    });
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ];
    let bodies = proptest::collection::hash_map(proptest::sample::select(&FIELDS[..]), leaf, 0..10);
    proptest!(config, |(body in bodies)| {
        let body: serde_json::Map<String, Value> = body.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        // Either a job within the rules, or a list that names each field at fault.
        match read(&body.into()) {
            Ok(job) => {
                prop_assert!(is_job_id(&job.job_id) && (1..=2048).contains(&job.max_tokens));
                prop_assert!((0.0..=2.0).contains(&job.sampling.temperature) && job.sampling.repetition_penalty > 0.0);
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    });
}
