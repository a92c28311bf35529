//! Engines: handoff files and their watcher, the adapter against a small server that speaks llama-server's form, and
//! against a real one where there is one.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use llorch::harness::http::{Base, Request};
use llorch::harness::stream::{Caps, Stream};
use llorch::pool::adapter::llamacpp::engine_seed;
use llorch::pool::engine::server::Plan;
use llorch::pool::handoff::Handoff;
use serde_json::{Value, json};

use super::pool_node::{Node, events};
use super::serve::{chunk, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("pool_engine/handoff_files", handoff_files),
    ("pool_engine/handoff_is_watched", handoff_is_watched),
    ("pool_engine/a_job_through_the_adapter", a_job_through_the_adapter),
    ("pool_engine/the_adapter_refuses", the_adapter_refuses),
    ("pool_engine/an_engine_that_dies_in_a_stream", an_engine_that_dies_in_a_stream),
    ("pool_engine/cancel_waits_for_the_slot", cancel_waits_for_the_slot),
    ("pool_engine/seeds", seeds),
    ("pool_engine/command_line", command_line),
];

const SOON: Duration = Duration::from_secs(30);

/// What the small server does with a job.
#[derive(Clone, Copy, PartialEq)]
enum Play {
    Whole,
    /// Goes away after a token.
    Dies,
    /// Says one token and then nothing; its slot works until a while after the connection has gone.
    Hangs,
}

/// A server in llama-server's form. It answers each connection on a thread of its own.
fn engine(play: Play) -> Base {
    let busy = Arc::new(AtomicBool::new(false));
    serve(move |mut socket, request| {
        let busy = busy.clone();
        std::thread::spawn(move || {
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let body: Value =
                request.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
            match path.as_str() {
                "/completion" => complete(&mut socket, &body, play, &busy),
                path => answer(&mut socket, &plain(path, &body, busy.load(Ordering::SeqCst))),
            }
        });
    })
}

fn plain(path: &str, body: &Value, busy: bool) -> Value {
    match path {
        "/health" => json!({"status": "ok"}),
        "/props" => json!({
            "default_generation_settings": {"n_ctx": 64}, "total_slots": 1, "model_path": "/m.gguf",
            "model_alias": "m", "build_info": "b1",
        }),
        "/v1/models" => json!({"data": [{"meta": {"n_vocab": 100}}]}),
        "/slots" => json!([{"id": 0, "is_processing": busy}]),
        "/tokenize" => {
            let text = body["content"].as_str().unwrap_or_default();
            json!({"tokens": (0..text.len()).collect::<Vec<_>>()})
        }
        _ => json!({}),
    }
}

fn answer(socket: &mut TcpStream, body: &Value) {
    let body = body.to_string();
    let _ = write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
}

fn complete(socket: &mut TcpStream, body: &Value, play: Play, busy: &AtomicBool) {
    // What was asked for comes back as text, so that a test sees how it was spelled.
    assert_eq!(body["stream"], true);
    busy.store(true, Ordering::SeqCst);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = socket.write_all(head.as_bytes());
    let say = |socket: &mut TcpStream, data: Value| {
        socket.write_all(&chunk(format!("data: {data}\n\n").as_bytes())).and_then(|()| socket.flush())
    };
    let _ = say(socket, json!({"content": "one", "tokens": [1], "stop": false}));
    if play == Play::Dies {
        return;
    }
    if play == Play::Hangs {
        let mut byte = [0; 1];
        let _ = std::io::Read::read(socket, &mut byte); // until the client goes
        std::thread::sleep(Duration::from_millis(200));
        busy.store(false, Ordering::SeqCst);
        return;
    }
    // Half a character: no text yet, and then bytes that never become one.
    let _ = say(socket, json!({"content": "", "tokens": [2], "stop": false}));
    let _ = say(socket, json!({"content": "é", "tokens": [3], "stop": false}));
    let _ = say(socket, json!({"content": "\u{FFFD}", "tokens": [4], "stop": false}));
    let _ = say(
        socket,
        json!({
            "content": "", "tokens": [], "stop": true, "stop_type": "word", "stopping_word": "X",
            "tokens_predicted": 6, "timings": {"predicted_ms": 12.6},
        }),
    );
    let _ = socket.write_all(b"0\r\n\r\n");
    busy.store(false, Ordering::SeqCst);
}

fn file(replica: &str, engine: &Base) -> Value {
    json!({
        "pool_id": "pool-0", "replica_id": replica, "engine": "llamacpp", "engine_version": "b0",
        "provisioning_mode": "hand", "url": engine.to_string(), "model": {"id": "m", "path": "/m.gguf"},
        "device_mask": null, "slots_total": 1, "slots": 1, "pid": 1, "flags": [],
    })
}

fn put(folder: &Path, name: &str, text: &str) {
    let written = folder.join(format!(".{name}"));
    std::fs::write(&written, text).unwrap();
    std::fs::rename(written, folder.join(name)).unwrap();
}

/// A node with one engine bound.
fn bound(play: Play) -> Node {
    let node = Node::start(json!({}), &[]);
    let folder = node.folder.path().join(".runtime/engines");
    std::fs::create_dir_all(&folder).unwrap();
    put(&folder, "pool-0-r0.json", &file("r0", &engine(play)).to_string());
    node.wait_until_ready();
    node
}

fn handoff_files() {
    let good = file("r0", &Base::local(1));
    let read = |value: &Value| Handoff::parse(&value.to_string());
    let handoff = read(&good).unwrap();
    assert_eq!((handoff.slots_free, handoff.model.id.as_str()), (Some(1), "m"));
    for (field, value, word) in [
        ("pool_id", json!("../x"), "pool_id"),
        ("replica_id", json!(""), "replica_id"),
        ("engine", json!("abacus"), "abacus"),
        ("url", json!("https://127.0.0.1:1"), "url"),
        ("url", json!("nonsense"), "url"),
        ("model", json!(null), "Model"),
    ] {
        let mut broken = good.clone();
        broken[field] = value;
        let refusal = read(&broken).unwrap_err();
        assert!(refusal.contains(word), "{field}: {refusal}");
    }
    assert!(Handoff::parse("{\"pool_id\": ").is_err());
}

fn handoff_is_watched() {
    let node = Node::start(json!({}), &[]);
    let folder = node.folder.path().join(".runtime/engines");
    // The folder is not there yet, and that is waited for.
    assert_eq!(node.get("/pools/pool-0/status")["ready"], false);
    std::fs::create_dir_all(&folder).unwrap();
    let first = engine(Play::Whole);
    put(&folder, "pool-0-r0.json", &file("r0", &first).to_string());
    let pool = node.wait_until_ready();
    assert_eq!((&pool["engine"], &pool["engine_version"]), (&json!("llamacpp"), &json!("b1")));
    assert_eq!(pool["models"][1], json!({"id": "m", "context_length": 64}));
    // Broken: said once, not ready; mended by rewriting it for an engine on another port.
    put(&folder, "pool-0-r0.json", "{ broken");
    node.wait("/pools/pool-0/status", "unbound", |pool| pool["ready"] == false);
    node.process.wait_for_line("the broken file", SOON, |line| line.text.contains("handoff_broken")).unwrap();
    put(&folder, "pool-0-r0.json", &file("r0", &engine(Play::Dies)).to_string());
    node.wait_until_ready();
    let answer = node.post("/pools/pool-0/execute", json!({"job_id": "j", "prompt": "hi"}));
    assert!(answer.text().contains("WORKER_RESET"), "the new engine answers: {}", answer.text());
    // An engine that does not answer is not ready.
    let closed = llorch::harness::target::ClosedPort::hold().unwrap();
    put(&folder, "pool-0-r0.json", &file("r0", &Base::local(closed.port().unwrap())).to_string());
    node.wait("/pools/pool-0/status", "not ready", |pool| pool["ready"] == false && pool["last_error"].is_string());
    put(&folder, "pool-0-r0.json", &file("r0", &first).to_string());
    node.wait_until_ready();
    std::fs::remove_file(folder.join("pool-0-r0.json")).unwrap();
    node.wait("/pools/pool-0/status", "removed", |pool| pool["replicas"] == json!([]));
    // A key that others can read is no key.
    let key = folder.join("key");
    std::fs::write(&key, "secret").unwrap();
    let mut open = file("r0", &first);
    open["api_key_file"] = json!(key);
    put(&folder, "pool-0-r0.json", &open.to_string());
    node.wait("/pools/pool-0/status", "refused", |pool| {
        pool["last_error"].as_str().is_some_and(|error| error.contains("mode"))
    });
    assert_eq!(node.get("/pools/pool-0/status")["ready"], false);
}

fn a_job_through_the_adapter() {
    let node = bound(Play::Whole);
    let job = json!({"job_id": "j", "prompt": "hi", "max_tokens": 9, "seed": 5, "stop": ["X"]});
    let events = events(&node.post("/pools/pool-0/execute", job).text());
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["started", "token", "token", "end"]);
    assert_eq!((&events[0].1["model"], &events[0].1["seed"]), (&json!("m"), &json!(5)));
    assert_eq!(events[1].1, json!({"t": "one", "i": 0, "ids": [1]}));
    assert_eq!(events[2].1, json!({"t": "é", "i": 1, "ids": [2, 3]}), "held back until it is whole");
    assert_eq!(
        events[3].1,
        json!({
            "tokens_out": 6, "decode_time_ms": 13, "stop_reason": "STOP_SEQUENCE", "stop_sequence_matched": "X",
            "seed": 5,
        })
    );
    assert_eq!(node.get("/pools/pool-0/status")["slots_free"], 1);
}

fn the_adapter_refuses() {
    let node = bound(Play::Whole);
    let refused = |body: Value| {
        let answer = node.post("/pools/pool-0/execute", body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        let errors = answer.json().unwrap()["errors"].clone();
        let pairs = errors.as_array().unwrap().iter();
        pairs
            .map(|error| format!("{}/{}", error["field"].as_str().unwrap(), error["constraint"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(refused(json!({"job_id": "j", "temperature": 9})), ["prompt/required", "temperature/range"]);
    // The server counts a token for each byte; its context has 64.
    assert_eq!(refused(json!({"job_id": "j", "prompt": "x".repeat(64)})), ["prompt/context"]);
    assert_eq!(refused(json!({"job_id": "j", "prompt": "x", "stop": ["y".repeat(40)]})), ["stop/tokens"]);
    assert_eq!(refused(json!({"job_id": "j", "prompt": "x", "top_k": 101})), ["top_k/range"]);
    assert_eq!(refused(json!({"job_id": "j", "prompt": "x", "n_probs": -1})), ["n_probs/range"]);
    assert_eq!(refused(json!({"job_id": "j", "prompt": "x", "kv_hint": "hot"})), ["kv_hint/enum"]);
    assert_eq!(node.get("/pools/pool-0/status")["slots_free"], 1);
}

fn an_engine_that_dies_in_a_stream() {
    let node = bound(Play::Dies);
    let events = events(&node.post("/pools/pool-0/execute", json!({"job_id": "j", "prompt": "hi"})).text());
    let (name, error) = events.last().unwrap();
    assert_eq!((name.as_str(), &error["code"], &error["retriable"]), ("error", &json!("WORKER_RESET"), &json!(true)));
    assert_eq!(node.get("/pools/pool-0/status")["slots_free"], 1);
}

fn cancel_waits_for_the_slot() {
    let node = bound(Play::Hangs);
    let request = Request::post("/pools/pool-0/execute").json(&json!({"job_id": "j", "prompt": "hi"}));
    let stream = Stream::open(&node.base, &request, Caps::within(SOON)).unwrap().stream().unwrap();
    stream.wait_for_tokens(1, SOON).unwrap();
    assert_eq!(node.get("/pools/pool-0/status")["slots_free"], 0);
    let asked = Instant::now();
    assert_eq!(node.post("/pools/pool-0/cancel", json!({"job_id": "j"})).status, 202);
    let error = stream.wait_for_event("error", SOON).unwrap();
    let ended = Instant::now();
    assert!(error.data.contains("CANCELLED"), "{}", error.data);
    let took = ended - asked;
    assert!((Duration::from_millis(150)..Duration::from_secs(3)).contains(&took), "{took:?}");
    node.process.wait_for_line("the proof", SOON, |line| line.text.contains("slot_idle")).unwrap();
    node.wait("/pools/pool-0/status", "idle", |pool| pool["slots_free"] == 1);
}

fn seeds() {
    assert_eq!(engine_seed(7), 7);
    assert_ne!(engine_seed(1 << 32), engine_seed(0));
    for seed in [u64::from(u32::MAX), u64::from(u32::MAX) << 32] {
        assert_ne!(engine_seed(seed), u32::MAX, "that one means: draw one");
    }
}

fn command_line() {
    let plan = Plan {
        binary: "llama-server".into(),
        model_ref: "m".into(),
        model_path: "/m.gguf".into(),
        pool_id: "p".into(),
        replica_id: "r".into(),
        runtime_dir: "/run".into(),
        log: "/log".into(),
        settings: serde_saphyr::from_str("{slots: 3, flags: [--ctx-size, '512']}").unwrap(),
        gpu_id: None,
        provisioning_mode: "hand",
    };
    assert_eq!(
        plan.arguments(81, Path::new("/key")).join(" "),
        "--model /m.gguf --alias m --host 127.0.0.1 --port 81 --parallel 3 --no-webui --metrics --api-key-file /key \
         --ctx-size 512"
    );
    assert_eq!(plan.handoff_path(), PathBuf::from("/run/p-r.json"));
}
