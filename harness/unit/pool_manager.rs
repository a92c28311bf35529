//! The pool manager that grades: behaviours, attempts, and for each criterion a callback that breaks only it.

use std::collections::BTreeSet;
use std::time::Duration;

use llorch::harness::http::{Base, HttpError, Request, send};
use llorch::harness::pool_manager::{Behaviour, CRITERIA, Expected, PoolManager, judge_times};
use llorch::harness::target::ClosedPort;
use serde_json::{Value, json};

use super::serve::answer;

pub const TESTS: &[(&str, fn())] = &[
    ("pool_manager/accepts", accepts),
    ("pool_manager/each_criterion_catches_its_own", each_criterion_catches_its_own),
    ("pool_manager/fails_first", fails_first),
    ("pool_manager/hangs", hangs),
    ("pool_manager/refuses", refuses),
    ("pool_manager/attempts_are_judged", attempts_are_judged),
    ("pool_manager/callback_before_listening", callback_before_listening),
];

const SOON: Duration = Duration::from_secs(10);

/// A worker that answers every request as `/health` would.
fn worker() -> Base {
    answer(*b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
}

fn body(uri: &str) -> Value {
    json!({
        "worker_id": "w-1", "model_ref": "file:tiny", "memory_bytes": 100, "vram_bytes": 0, "memory_architecture": "cpu",
        "uri": uri, "worker_type": "cpu", "capabilities": ["text-gen"], "protocol": "sse",
    })
}

fn expected(port: u16) -> Expected {
    Expected { worker_id: "w-1".into(), port, spawn_token: Some("t-1".into()), has_model: true }
}

/// Splits the callback URL and sends the callback there.
fn call(manager: &PoolManager, change: impl Fn(Request) -> Request) -> Result<u16, HttpError> {
    let url = manager.callback_url();
    let slash = url[7..].find('/').unwrap() + 7;
    let base = Base::parse(&url[..slash]).unwrap();
    send(&base, &change(Request::post(&url[slash..]).bearer("t-1")), SOON).map(|answer| answer.status)
}

fn accepts() {
    let (manager, worker) = (PoolManager::start(Behaviour::Answer(201)).unwrap(), worker());
    assert_eq!(manager.judge(&expected(worker.port)).unwrap_err().found, "none came");
    assert_eq!(call(&manager, |request| request.json(&body(&worker.to_string()))), Ok(201));
    manager.wait_for_attempts(1, SOON).unwrap();
    assert_eq!(manager.judge(&expected(worker.port)), Ok(()));
    assert_eq!(manager.judge_attempts(1), Ok(()));
}

fn each_criterion_catches_its_own() {
    let worker = worker();
    let good = body(&worker.to_string());
    let changed = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let closed = ClosedPort::hold().unwrap();
    let nobody = Base::local(closed.port().unwrap());
    type Change = Box<dyn Fn(Request) -> Request>;
    let json = |body: Value| -> Change { Box::new(move |request| request.json(&body)) };
    let table: Vec<(&str, u16, Change)> = vec![
        ("method", worker.port, {
            let good = good.clone();
            Box::new(move |request| Request { method: "PUT".into(), ..request }.json(&good))
        }),
        ("path", worker.port, {
            let good = good.clone();
            Box::new(move |request| Request { path: "/ready".into(), ..request }.json(&good))
        }),
        ("content-type", worker.port, {
            let good = good.clone();
            Box::new(move |request| request.body("text/plain", good.to_string()))
        }),
        ("fields", worker.port, json(changed("memory_bytes", json!("100")))),
        ("worker-id", worker.port, json(changed("worker_id", json!("w-2")))),
        ("reachable", nobody.port, json(changed("uri", json!(nobody.to_string())))),
        ("port", worker.port + 1, json(good.clone())),
        ("memory", worker.port, json(changed("memory_bytes", json!(0)))),
        ("token", worker.port, {
            let good = good.clone();
            Box::new(move |mut request| {
                request.headers.0.clear();
                request.json(&good)
            })
        }),
    ];
    let shown: BTreeSet<_> = table.iter().map(|(name, ..)| *name).collect();
    assert_eq!(shown, CRITERIA.iter().map(|(name, _)| *name).collect());
    for (name, port, change) in table {
        let manager = PoolManager::start(Behaviour::Answer(200)).unwrap();
        assert_eq!(call(&manager, change), Ok(200));
        let found = manager.grade(&expected(port));
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [name], "{found:#?}");
        assert!(!format!("{found:?}").contains("t-1"), "no token in the evidence");
    }
}

fn fails_first() {
    let manager = PoolManager::start(Behaviour::FailFirst(2)).unwrap();
    let statuses: Vec<_> = (0..3).map(|_| call(&manager, |request| request.json(&json!({}))).unwrap()).collect();
    assert_eq!(statuses, [500, 500, 200]);
}

fn hangs() {
    let manager = PoolManager::start(Behaviour::Hang).unwrap();
    let base = Base::parse(&manager.callback_url()[..manager.callback_url()[7..].find('/').unwrap() + 7]).unwrap();
    let error = send(&base, &Request::post("/x").json(&json!({})), Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, HttpError::NeverAnswered { .. }), "{error}");
    assert_eq!(manager.attempts().len(), 1);
}

fn refuses() {
    let manager = PoolManager::start(Behaviour::Refuse).unwrap();
    let error = call(&manager, |request| request).unwrap_err();
    assert!(matches!(error, HttpError::Refused { .. }), "{error}");
}

fn attempts_are_judged() {
    let manager = PoolManager::start(Behaviour::Answer(500)).unwrap();
    assert!(manager.wait_for_attempts(1, Duration::from_millis(20)).is_err());
    for _ in 0..2 {
        call(&manager, |request| request.body("application/json", "{")).unwrap();
    }
    assert!(manager.judge_attempts(3).unwrap_err().found.starts_with("2 ("));
    let times = |milliseconds: [u64; 3]| milliseconds.map(Duration::from_millis);
    assert_eq!(judge_times(&times([0, 200, 600]), 3), Ok(()));
    assert!(judge_times(&times([0, 200, 201]), 3).unwrap_err().found.starts_with("1.00ms"), "no pause");
    assert!(judge_times(&times([0, 200, 60_000]), 3).is_err(), "no time-out");
}

fn callback_before_listening() {
    let manager = PoolManager::start(Behaviour::Answer(200)).unwrap();
    let closed = ClosedPort::hold().unwrap();
    let base = Base::local(closed.port().unwrap());
    call(&manager, |request| request.json(&body(&base.to_string()))).unwrap();
    let attempt = &manager.attempts()[0];
    assert!(attempt.reachable.as_ref().unwrap_err().contains("refused the connection"), "{attempt:?}");
}
