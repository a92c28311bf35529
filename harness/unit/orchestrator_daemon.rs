//! The daemon as a process, between a client and a small node: from submit to end, and through `kill -9`.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use llorch::harness::http::{Answer, Base, Request, send};
use llorch::harness::process::{Command, Exit, Process};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::serve::{STREAM_HEAD, chunk, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("orchestrator_daemon/a_task_from_submit_to_end", a_task_from_submit_to_end),
    ("orchestrator_daemon/a_worker_that_dies_early_is_replaced_and_late_is_said", a_worker_that_dies),
    ("orchestrator_daemon/cancel_reaches_the_worker_and_no_token_follows", cancel_reaches_the_worker),
    ("orchestrator_daemon/kill_nine_loses_no_task_and_repeats_no_token", kill_nine_loses_no_task),
    ("orchestrator_daemon/tokens_are_asked_for", tokens_are_asked_for),
    ("orchestrator_daemon/a_damaged_log_is_named", a_damaged_log_is_named),
];

const PATIENCE: Duration = Duration::from_secs(20);

/// How the small node's next job goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Whole,
    DiesAtOnce,
    DiesAfter(u64),
    /// Tokens until it is cancelled.
    Endless,
}

/// What the node was asked, by route.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A node that plays these fates in turn, and whole jobs after.
fn node(fates: &[Fate]) -> (Base, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let fates = Mutex::new(fates.iter().rev().copied().collect::<Vec<_>>());
    let base = serve(move |socket, request| {
        let Some((head, body)) = request.split_once("\r\n\r\n") else { return };
        let route = head.split(' ').nth(1).unwrap().to_owned();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        seen.lock().unwrap().push((route.clone(), body.clone()));
        if route.ends_with("/execute") {
            let fate = fates.lock().unwrap().pop().unwrap_or(Fate::Whole);
            let seen = seen.clone();
            std::thread::spawn(move || drop(play(socket, &body, fate, &seen)));
        } else {
            let mut socket = socket;
            let _ = socket.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        }
    });
    (base, asked)
}

fn event(socket: &mut TcpStream, name: &str, data: &Value) -> std::io::Result<()> {
    socket.write_all(&chunk(format!("event: {name}\ndata: {data}\n\n").as_bytes()))
}

fn play(mut socket: TcpStream, job: &Value, fate: Fate, asked: &Asked) -> std::io::Result<()> {
    if fate == Fate::DiesAtOnce {
        return Ok(());
    }
    let was_cancelled = || {
        asked.lock().unwrap().iter().any(|(route, body)| route.ends_with("/cancel") && body["job_id"] == job["job_id"])
    };
    let tokens = if fate == Fate::Endless { u64::MAX } else { job["max_tokens"].as_u64().unwrap() };
    socket.write_all(format!("{STREAM_HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
    event(&mut socket, "started", &json!({"job_id": job["job_id"], "seed": 3}))?;
    for i in 0..tokens {
        if fate == Fate::DiesAfter(i) {
            return Ok(());
        }
        if was_cancelled() {
            return event(&mut socket, "error", &json!({"code": "CANCELLED", "message": "", "retriable": false}));
        }
        event(&mut socket, "token", &json!({"t": format!("{i} "), "i": i}))?;
        std::thread::sleep(Duration::from_millis(5)); // a pace, not a wait
    }
    let end = json!({"tokens_out": tokens, "decode_time_ms": 1, "stop_reason": "MAX_TOKENS", "seed": 3});
    event(&mut socket, "end", &end)?;
    socket.write_all(b"0\r\n\r\n")
}

struct Daemon {
    process: Process,
    base: Base,
}

fn launch(folder: &Path, more: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestratord"))
        .variable("ORCHD_ADDR", "127.0.0.1:0")
        .variable("ORCHD_STATE_DIR", folder.to_str().unwrap());
    for (name, value) in more {
        command = command.variable(name, value);
    }
    Process::spawn(command).unwrap()
}

impl Daemon {
    fn start(folder: &Path, more: &[(&str, &str)]) -> Self {
        let process = launch(folder, more);
        let ready = process.wait_for_line("ready", PATIENCE, |line| line.text.contains("\"event\":\"ready\"")).unwrap();
        let line: Value = serde_json::from_str(&ready.text).unwrap();
        Self { process, base: Base::local(u16::try_from(line["port"].as_u64().unwrap()).unwrap()) }
    }

    fn send(&self, request: &Request) -> Answer {
        send(&self.base, request, PATIENCE).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&Request::post(path).json(body))
    }

    /// A node joins, with one slot and the model.
    fn join(&self, node: &Base) {
        let registration = json!({
            "node_id": "n", "machine_id": "m", "address": format!("http://{}", node.authority()), "pools": ["p"],
        });
        assert_eq!(self.post("/v2/nodes/register", &registration).status, 200);
        let pool = json!({
            "pool_id": "p", "ready": true, "slots_free": 1, "slots_total": 1, "engine": "llorch", "models": ["tiny"],
        });
        assert_eq!(self.post("/v2/nodes/n/heartbeat", &json!({"pools": [pool]})).status, 200);
    }

    /// The path of an admitted task's stream.
    fn submit(&self, max_tokens: u32) -> String {
        let task = json!({
            "task_id": Uuid::new_v4(), "session_id": Uuid::new_v4(), "workload": "completion", "model_ref": "tiny",
            "engine": "llorch", "ctx": 2048, "priority": "interactive", "prompt": "hidden words",
            "max_tokens": max_tokens, "deadline_ms": 60_000,
        });
        let answer = self.post("/v2/tasks", &task);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json().unwrap()["streams"]["sse"].as_str().unwrap().to_owned()
    }

    /// A whole stream, from after an event.
    fn stream(&self, path: &str, after: u64) -> Vec<Event> {
        let answer = self.send(&Request::get(path).header("Last-Event-ID", &after.to_string()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        events(&answer.text())
    }

    fn view(&self, path: &str) -> Value {
        self.send(&Request::get(path.trim_end_matches("/events"))).json().unwrap()
    }

    /// Waits until a task is so far.
    fn wait(&self, path: &str, reached: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !reached(&self.view(path)) {
            assert!(Instant::now() < until, "{}", self.view(path));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

fn events(text: &str) -> Vec<Event> {
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty() && !frame.starts_with(':'));
    let field = |frame: &str, name: &str| {
        let line = frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
        line.to_owned()
    };
    frames
        .map(|frame| Event {
            id: field(frame, "id").parse().unwrap(),
            name: field(frame, "event"),
            data: serde_json::from_str(&field(frame, "data")).unwrap(),
        })
        .collect()
}

/// One `started`, tokens in their order, ids that rise, one ending; its name and code.
fn judged(events: &[Event]) -> (String, Option<String>) {
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id), "{events:?}");
    let tokens: Vec<u64> =
        events.iter().filter(|event| event.name == "token").map(|event| event.data["i"].as_u64().unwrap()).collect();
    assert!(tokens.iter().copied().eq(0..tokens.len() as u64), "{tokens:?}");
    assert!(events.iter().filter(|event| event.name == "started").count() <= 1, "{events:?}");
    let (last, before) = events.split_last().unwrap();
    assert!(before.iter().all(|event| !matches!(event.name.as_str(), "end" | "error")), "{events:?}");
    (last.name.clone(), last.data["code"].as_str().map(str::to_owned))
}

fn ended() -> (String, Option<String>) {
    ("end".to_owned(), None)
}

fn failed(code: &str) -> (String, Option<String>) {
    ("error".to_owned(), Some(code.to_owned()))
}

fn a_task_from_submit_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let (node, asked) = node(&[]);
    daemon.join(&node);
    let path = daemon.submit(6);
    let uncut = daemon.stream(&path, 0);
    assert_eq!(judged(&uncut), ended());
    let names: Vec<&str> = uncut.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["started", "token", "token", "token", "token", "token", "token", "end"]);
    assert_eq!(uncut[0].data["queue_position"], 0);
    assert_eq!(uncut[7].data["tokens_out"], 6);
    for (index, event) in uncut.iter().enumerate() {
        assert_eq!(daemon.stream(&path, event.id), uncut[index + 1..], "after event {}", event.id);
    }
    let (route, job) = asked.lock().unwrap()[0].clone();
    assert_eq!((route.as_str(), &job["prompt"]), ("/pools/p/execute", &json!("hidden words")));
    assert!(!daemon.process.log_tail(1000).contains("hidden"), "a prompt is in the log");
    daemon.process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(daemon.process.wait_for_exit(PATIENCE).unwrap(), Exit::Code(0));
}

fn a_worker_that_dies() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let (node, asked) =
        node(&[Fate::DiesAtOnce, Fate::Whole, Fate::DiesAfter(2), Fate::DiesAfter(0), Fate::DiesAfter(0)]);
    daemon.join(&node);
    assert_eq!(judged(&daemon.stream(&daemon.submit(3), 0)), ended(), "nothing had come of it");
    let cut = daemon.stream(&daemon.submit(3), 0);
    assert_eq!((judged(&cut), cut.len()), (failed("WORKER_RESET"), 4), "{cut:?}");
    assert_eq!(cut[3].data["retriable"], true);
    assert_eq!(judged(&daemon.stream(&daemon.submit(3), 0)), failed("WORKER_RESET"), "once more, and not twice");
    let asked = asked.lock().unwrap();
    let mut jobs: Vec<&Value> = asked.iter().map(|(_, job)| &job["job_id"]).collect();
    assert_eq!(jobs.len(), 5);
    jobs.dedup();
    assert_eq!(jobs.len(), 5, "no worker sees an id twice");
}

fn cancel_reaches_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let (node, asked) = node(&[Fate::Endless]);
    daemon.join(&node);
    let (running, queued) = (daemon.submit(1), daemon.submit(1));
    daemon.wait(&running, |task| task["tokens"].as_u64() > Some(2));
    let cancel = |path: &str| daemon.send(&Request::post(&path.replace("/events", "/cancel"))).status;
    assert_eq!((cancel(&queued), cancel(&running), cancel(&running)), (204, 204, 204));
    let cut = daemon.stream(&running, 0);
    assert_eq!(judged(&cut), failed("CANCELLED"));
    assert_eq!(judged(&daemon.stream(&queued, 0)), failed("CANCELLED"));
    // The slot is free again when the worker has stopped.
    assert_eq!(judged(&daemon.stream(&daemon.submit(2), 0)), ended());
    assert_eq!(daemon.stream(&running, 0), cut, "no token follows");
    assert!(asked.lock().unwrap().iter().any(|(route, _)| route == "/pools/p/cancel"));
    assert_eq!(cancel("/v2/tasks/6f0d6c43-4f5e-4a43-9d1c-0d4b8a6f1f0e/events"), 404);
}

fn kill_nine_loses_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let (small, _) = node(&[Fate::Whole, Fate::Endless]);
    daemon.join(&small);
    let finished = daemon.submit(3);
    let replay = daemon.stream(&finished, 0);
    let (running, waiting) = (daemon.submit(1), [daemon.submit(2), daemon.submit(2)]);
    daemon.wait(&running, |task| task["tokens"].as_u64() > Some(2));
    daemon.process.signal(Signal::SIGKILL).unwrap();
    daemon.process.wait_for_exit(PATIENCE).unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    assert_eq!(daemon.stream(&finished, 0), replay);
    assert_eq!(judged(&daemon.stream(&running, 0)), failed("WORKER_RESET"));
    for path in &waiting {
        assert_eq!(daemon.view(path)["state"], "queued");
    }
    daemon.join(&node(&[]).0);
    for path in &waiting {
        assert_eq!(judged(&daemon.stream(path, 0)), ended());
    }
}

fn tokens_are_asked_for() {
    let (client, node) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let folder = tempfile::tempdir().unwrap();
    // The harness passes no LLORCH_* variable on; these are set for the child alone.
    let daemon = Daemon::start(folder.path(), &[("LLORCH_API_TOKEN", client), ("LLORCH_NODE_TOKEN", node)]);
    let ask = |request: Request| daemon.send(&request.correlation_id("c"));
    let missing = ask(Request::get("/v2/nodes"));
    let wrong = ask(Request::get("/v2/nodes").bearer(node));
    assert_eq!((missing.status, &missing.body), (401, &wrong.body));
    assert_eq!(missing.json().unwrap()["error"]["code"], "UNAUTHORIZED");
    assert_eq!(ask(Request::get("/v2/nodes").bearer(client)).status, 200);
    assert_eq!(ask(Request::post("/v2/nodes/n/heartbeat").bearer(client).json(&json!({"pools": []}))).status, 401);
    assert_eq!(ask(Request::post("/v2/nodes/n/heartbeat").bearer(node).json(&json!({"pools": []}))).status, 404);
    for open in ["/health", "/metrics"] {
        assert_eq!(ask(Request::get(open)).status, 200);
    }
    let log = daemon.process.log_tail(1000);
    assert!(!log.contains(client) && !log.contains(node) && log.contains("fingerprints"));
}

fn a_damaged_log_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tasks.log"), b"these are forty bytes that nobody ever wrote").unwrap();
    let process = launch(folder.path(), &[]);
    assert_eq!(process.wait_for_exit(PATIENCE).unwrap(), Exit::Code(1));
    let log = process.log_tail(10);
    assert!(log.contains("tasks.log") && log.contains("damaged at byte 0 of 44"), "{log}");
}
