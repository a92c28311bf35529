//! A node as a process: workers' lives, jobs through it, what it tells its orchestrator, and that nothing is left behind.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use llorch::harness::http::{Answer, Base, Request, send};
use llorch::harness::process::{Command, Exit, Process, Signal};
use llorch::harness::stream::{Caps, Stream};
use llorch::pool::workers::supervision::Supervision;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::serve::serve;

pub const TESTS: &[(&str, fn())] = &[
    ("pool_node/a_job_through_a_worker", a_job_through_a_worker),
    ("pool_node/refusals", refusals),
    ("pool_node/a_worker_that_dies_in_a_stream", a_worker_that_dies_in_a_stream),
    ("pool_node/cancel", cancel),
    ("pool_node/a_client_that_goes_away", a_client_that_goes_away),
    ("pool_node/nothing_outlives_the_daemon", nothing_outlives_the_daemon),
    ("pool_node/the_callback_is_checked", the_callback_is_checked),
    ("pool_node/not_ready_in_time", not_ready_in_time),
    ("pool_node/supervised", supervised),
    ("pool_node/back_off", back_off),
    ("pool_node/reload_and_roll_back", reload_and_roll_back),
    ("pool_node/drain_has_a_deadline", drain_has_a_deadline),
    ("pool_node/tokens", tokens),
    ("pool_node/the_orchestrator_is_told", the_orchestrator_is_told),
    ("pool_node/openapi_names_every_route", openapi_names_every_route),
];

const SOON: Duration = Duration::from_secs(30);

/// A daemon on a folder of its own.
pub struct Node {
    pub process: Process,
    pub base: Base,
    pub folder: TempDir,
}

pub fn llorch() -> &'static str {
    env!("CARGO_BIN_EXE_llorch")
}

pub fn tiny(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny").join(file);
    format!("file:{}", path.display())
}

impl Node {
    pub fn start(configuration: Value, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("node.yaml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut command = Command::new(llorch())
            .arguments(["pool-managerd".to_owned(), "--config".to_owned(), file.display().to_string()])
            .variable("POOL_MANAGERD_ADDR", "127.0.0.1:0")
            .variable("POOL_MANAGERD_NODE_ID", "n-1")
            .variable("POOL_MANAGERD_WATCH_INTERVAL_MS", "50");
        command.directory = Some(folder.path().to_owned());
        for (name, value) in variables {
            command = command.variable(name, value);
        }
        let process = Process::spawn(command).unwrap();
        let line = process.wait_for_line("ready", SOON, |line| line.text.contains("The pool manager listens")).unwrap();
        let line: Value = serde_json::from_str(&line.text).unwrap();
        let base = Base::local(u16::try_from(line["port"].as_u64().unwrap()).unwrap());
        Self { process, base, folder }
    }

    pub fn send(&self, request: Request) -> Answer {
        send(&self.base, &request, SOON).unwrap()
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.send(Request::get(path));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json().unwrap()
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Request::post(path).json(&body))
    }

    /// Starts a worker and gives its id.
    fn worker(&self, body: Value) -> String {
        let answer = self.post("/v2/workers/start", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json().unwrap();
        assert_eq!(body["status"], "starting");
        body["worker_id"].as_str().unwrap().to_owned()
    }

    pub fn wait(&self, path: &str, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + SOON;
        loop {
            let value = self.get(path);
            if good(&value) {
                return value;
            }
            assert!(Instant::now() < until, "{what}: {value}\n{}", self.process.log_tail(20));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for_state(&self, worker: &str, state: &str) -> Value {
        self.wait(&format!("/v2/workers/{worker}"), state, |worker| worker["status"] == state)
    }

    pub fn wait_until_ready(&self) -> Value {
        self.wait("/pools/pool-0/status", "ready", |pool| pool["ready"] == true)
    }
}

/// A worker that says a token every so often.
fn slow() -> Value {
    json!({"programs": {"slow": [
        llorch(), "llorch-cpud", "--backend", "stub", "--stub-tokens", "2000", "--stub-delay-ms", "20"
    ]}})
}

fn slow_worker(node: &Node) -> String {
    let worker = node.worker(json!({"model_ref": tiny("model.gguf"), "backend": "slow"}));
    node.wait_for_state(&worker, "ready");
    worker
}

fn job(id: &str) -> Value {
    json!({"job_id": id, "prompt": "Hello.", "max_tokens": 2000, "seed": 1})
}

/// The names of a stream's events and their data.
pub fn events(text: &str) -> Vec<(String, Value)> {
    let frames = text.split("\n\n").filter(|frame| frame.starts_with("event: "));
    frames
        .map(|frame| {
            let (name, data) = frame["event: ".len()..].split_once("\ndata: ").unwrap();
            (name.to_owned(), serde_json::from_str(data).unwrap())
        })
        .collect()
}

fn a_job_through_a_worker() {
    let node = Node::start(json!({}), &[]);
    let worker = node.worker(json!({"model_ref": tiny("model.safetensors"), "backend": "cpu"}));
    let pool = node.wait_until_ready();
    assert_eq!(pool["slots_total"], 1);
    assert_eq!(pool["models"][0]["id"], tiny("model.safetensors"));
    assert_eq!(pool["models"][0]["context_length"], 256);
    let request = Request::post("/pools/pool-0/execute")
        .json(&json!({"job_id": "j-1", "prompt": "Write a haiku", "max_tokens": 8, "seed": 7}))
        .correlation_id("c-42");
    let answer = node.send(request);
    assert_eq!(answer.header("x-correlation-id"), Some("c-42"));
    let events = events(&answer.text());
    assert_eq!(events.first().unwrap().0, "started");
    let (name, end) = events.last().unwrap();
    assert_eq!(name, "end");
    let made = end["tokens_out"].as_u64().unwrap();
    assert!((1..=8).contains(&made));
    let state = node.wait("/pools/pool-0/status", "idle", |pool| pool["slots_free"] == 1);
    assert_eq!(state["replicas"][0]["leases"], 0);
    let metrics = node.send(Request::get("/metrics")).text();
    assert!(metrics.contains(&format!("pool_tokens_out_total{{pool_id=\"pool-0\"}} {made}")), "{metrics}");
    // The same id is in the node's log and the worker's, and the prompt in neither.
    let log = node.get(&format!("/v2/workers/{worker}"))["log"].as_str().unwrap().to_owned();
    let log = std::fs::read_to_string(node.folder.path().join(log)).unwrap();
    assert!(log.contains("c-42") && !log.contains("haiku about"), "{log}");
    let own: String = node.process.lines().into_iter().map(|line| line.text + "\n").collect();
    assert!(own.contains("c-42") && !own.contains("Write a haiku"), "{own}");
    assert_eq!(node.post(&format!("/v2/workers/{worker}/stop"), json!({})).status, 202);
    let gone = node.wait_for_state(&worker, "gone");
    assert_eq!(gone["last_exit"], json!({"exit_code": 0}));
    assert_eq!(node.get("/pools/pool-0/status")["ready"], false);
}

fn refusals() {
    let node = Node::start(json!({}), &[]);
    let code = |answer: Answer| (answer.status, answer.json().unwrap()["code"].as_str().unwrap().to_owned());
    assert_eq!(code(node.post("/pools/pool-0/execute", job("j"))), (503, "POOL_UNREADY".into()));
    assert_eq!(code(node.post("/pools/other/execute", job("j"))), (404, "NOT_FOUND".into()));
    assert_eq!(code(node.post("/pools/pool-0/cancel", json!({"job_id": ""}))), (400, "INVALID_REQUEST".into()));
    assert_eq!(node.post("/pools/pool-0/cancel", json!({"job_id": "never"})).status, 202);
    let start = |body: Value| code(node.post("/v2/workers/start", body));
    assert_eq!(start(json!({})), (400, "INVALID_REQUEST".into()));
    assert_eq!(start(json!({"model_ref": "x", "backend": "abacus"})), (400, "INVALID_REQUEST".into()));
    assert_eq!(start(json!({"model_ref": "file:/nonexistent"})), (404, "MODEL_NOT_AVAILABLE".into()));
    assert_eq!(start(json!({"model_ref": "hf:o/r::file=m.gguf"})), (404, "MODEL_NOT_AVAILABLE".into()));
    assert_eq!(start(json!({"model_ref": "no-such-alias"})), (404, "MODEL_NOT_AVAILABLE".into()));
    assert_eq!(start(json!({"model_ref": "hf:../x"})), (400, "INVALID_REQUEST".into()));
    assert_eq!(start(json!({"model_ref": tiny("model.gguf"), "modle": 1})), (400, "INVALID_REQUEST".into()));
    assert_eq!(code(node.post("/pools/pool-0/reload", json!({}))), (409, "CONFLICT".into()));
    assert_eq!(code(node.post("/pools/pool-0/preload", json!({}))), (409, "CONFLICT".into()));
    let wrong = json!({"model_ref": 1, "backend": [], "gpu_id": -1, "supervise": "yes", "deadline_ms": "soon"});
    let errors = node.post("/v2/workers/start", wrong).json().unwrap()["errors"].clone();
    let fields: Vec<&str> = errors.as_array().unwrap().iter().filter_map(|error| error["field"].as_str()).collect();
    assert_eq!(fields, ["model_ref", "backend", "gpu_id", "supervise", "deadline_ms"]);
    // As the document has them: a number without a fraction is whole, and a body may be left out, or be `null`.
    assert_eq!(node.post("/pools/pool-0/drain", json!({"deadline_ms": 5.0})).status, 202);
    for body in [Request::post("/pools/pool-0/reload"), Request::post("/pools/pool-0/reload").json(&Value::Null)] {
        assert_eq!(code(node.send(body)), (409, "CONFLICT".into()));
    }
    assert_eq!(code(node.send(Request::get("/v2/workers/%ff"))), (400, "INVALID_REQUEST".into()));
    assert_eq!(node.send(Request::get("/v2/workers/none")).status, 404);
    assert_eq!(node.send(Request::get("/nowhere")).status, 404);
    assert_eq!(node.send(Request::get("/pools/pool-0/execute")).status, 405);
}

/// A job that runs on a thread of its own, to its end.
fn running(node: &Node, id: &str) -> std::thread::JoinHandle<String> {
    let (base, request) = (node.base.clone(), Request::post("/pools/pool-0/execute").json(&job(id)));
    let stream = std::thread::spawn(move || send(&base, &request, SOON).unwrap().text());
    node.wait("/pools/pool-0/status", "a lease", |pool| pool["slots_free"] == 0);
    stream
}

fn a_worker_that_dies_in_a_stream() {
    let node = Node::start(slow(), &[]);
    let worker = slow_worker(&node);
    let stream = running(&node, "j-1");
    assert_eq!(node.get(&format!("/v2/workers/{worker}"))["status"], "busy");
    let pid = node.get(&format!("/v2/workers/{worker}"))["pid"].as_i64().unwrap();
    kill(pid);
    let killed = Instant::now();
    let events = events(&stream.join().unwrap());
    let (name, error) = events.last().unwrap();
    assert_eq!((name.as_str(), &error["code"], &error["retriable"]), ("error", &json!("WORKER_RESET"), &json!(true)));
    let failed = node.wait_for_state(&worker, "failed");
    assert!(killed.elapsed() < Duration::from_secs(5));
    assert_eq!(failed["last_exit"], json!({"signal": 9}));
    let pool = node.get("/pools/pool-0/status");
    assert_eq!((&pool["ready"], &pool["replicas"]), (&json!(false), &json!([])));
    assert!(pool["last_error"].as_str().unwrap().contains("SIGKILL"), "{pool}");
}

fn kill(pid: i64) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

fn cancel() {
    let node = Node::start(slow(), &[]);
    slow_worker(&node);
    let stream = running(&node, "j-1");
    assert_eq!(node.post("/pools/pool-0/execute", job("j-1")).status, 409);
    let asked = Instant::now();
    assert_eq!(node.post("/pools/pool-0/cancel", json!({"job_id": "j-1"})).status, 202);
    let events = events(&stream.join().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    let (name, error) = events.last().unwrap();
    assert_eq!((name.as_str(), &error["code"]), ("error", &json!("CANCELLED")));
    node.wait("/pools/pool-0/status", "idle", |pool| pool["slots_free"] == 1);
}

fn a_client_that_goes_away() {
    let node = Node::start(slow(), &[]);
    slow_worker(&node);
    let mut socket = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, node.base.port)).unwrap();
    let request = Request::post("/pools/pool-0/execute").json(&job("j-1"));
    socket.write_all(&request.bytes(&node.base)).unwrap();
    node.wait("/pools/pool-0/status", "a lease", |pool| pool["slots_free"] == 0);
    drop(socket);
    node.wait("/pools/pool-0/status", "idle", |pool| pool["slots_free"] == 1);
    // The worker itself is free again: the next job starts.
    let request = Request::post("/pools/pool-0/execute").json(&job("j-2"));
    let stream = Stream::open(&node.base, &request, Caps::within(SOON)).unwrap().stream().unwrap();
    stream.wait_for_event("started", SOON).unwrap();
    assert_eq!(node.post("/pools/pool-0/cancel", json!({"job_id": "j-2"})).status, 202);
    stream.wait_for_event("error", SOON).unwrap();
}

fn is_alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn nothing_outlives_the_daemon() {
    let node = Node::start(slow(), &[]);
    let worker = slow_worker(&node);
    let pid = node.get(&format!("/v2/workers/{worker}"))["pid"].as_i64().unwrap();
    assert!(is_alive(pid));
    node.process.signal(Signal::SIGKILL).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while is_alive(pid) {
        assert!(Instant::now() < until, "the worker outlives its daemon");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn the_callback_is_checked() {
    let sleeper = json!({"programs": {"sleeper": ["sh", "-c", "exec sleep 1000", "sh"]}});
    let node = Node::start(sleeper, &[]);
    let worker = node.worker(json!({"model_ref": tiny("model.gguf"), "backend": "sleeper"}));
    let path = format!("/v2/workers/{worker}");
    let pid = node.wait(&path, "a process", |worker| worker["pid"].is_number())["pid"].as_i64().unwrap();
    let token = || {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let all = String::from_utf8(environ).unwrap();
        all.split('\0').find_map(|entry| entry.strip_prefix("LLORCH_SPAWN_TOKEN=")).map(str::to_owned)
    };
    let until = Instant::now() + SOON;
    // Between fork and exec a process shows its parent's environment.
    let token = loop {
        if let Some(token) = token() {
            break token;
        }
        assert!(Instant::now() < until);
    };
    let model = tiny("model.gguf").trim_start_matches("file:").to_owned();
    let stranger = serve(|mut socket, _| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"worker_id\":\"x\"}");
    });
    let call = |token: &str, id: &str, model: &str, uri: &str| {
        let body = json!({"worker_id": id, "model_ref": model, "uri": uri, "memory_bytes": 1});
        node.send(Request::post("/v2/internal/workers/ready").json(&body).bearer(token)).status
    };
    let uri = stranger.to_string();
    assert_eq!(call("wrong", &worker, &model, &uri), 401);
    assert_eq!(call(&token, "nobody", &model, &uri), 404);
    assert_eq!(call(&token, &worker, "another.gguf", &uri), 400);
    assert_eq!(call(&token, &worker, &model, "http://192.0.2.1:80"), 400);
    assert_eq!(call(&token, &worker, &model, "http://127.0.0.1:1"), 400);
    assert_eq!(call(&token, &worker, &model, &uri), 400, "another worker answers there");
    assert_eq!(node.get(&path)["status"], "starting");
    let id = worker.clone();
    let own = serve(move |mut socket, _| {
        let body = json!({"worker_id": id, "context_length": 64}).to_string();
        let _ = write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    });
    assert_eq!(call(&token, &worker, &model, &own.to_string()), 200);
    node.wait_for_state(&worker, "ready");
    assert_eq!(call(&token, &worker, &model, &own.to_string()), 409);
}

fn not_ready_in_time() {
    let sleeper = json!({"programs": {"sleeper": ["sh", "-c", "exec sleep 1000", "sh"]}});
    let node = Node::start(sleeper, &[("POOL_MANAGERD_READY_DEADLINE_MS", "300")]);
    let worker = node.worker(json!({"model_ref": tiny("model.gguf"), "backend": "sleeper"}));
    let failed = node.wait_for_state(&worker, "failed");
    assert!(failed["error"].as_str().unwrap().contains("not ready within 300 ms"), "{failed}");
    assert_eq!(failed["last_exit"], json!({"signal": 9}));
}

fn supervised() {
    let node = Node::start(slow(), &[]);
    let worker = node.worker(json!({"model_ref": tiny("model.gguf"), "backend": "slow", "supervise": true}));
    let first = node.wait_for_state(&worker, "ready");
    kill(first["pid"].as_i64().unwrap());
    let second = node.wait(&format!("/v2/workers/{worker}"), "started again", |worker| {
        worker["status"] == "ready" && worker["starts"] == 2
    });
    assert_ne!(first["pid"], second["pid"]);
    // One that ends by itself in good order is not started again.
    let pid = i32::try_from(second["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let gone = node.wait_for_state(&worker, "gone");
    assert_eq!((&gone["starts"], &gone["last_exit"]), (&json!(2), &json!({"exit_code": 0})));
}

fn back_off() {
    let mut supervision = Supervision::default();
    let waits: Vec<_> = (0..5).map(|_| supervision.failed(Duration::ZERO, 1.0)).collect();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(waits, [seconds(1), seconds(2), seconds(4), seconds(8), None]);
    // A worker that was ready for long has proven itself.
    assert_eq!(supervision.failed(Duration::from_secs(60), 0.0), Some(Duration::from_millis(750)));
}

fn reload_and_roll_back() {
    let node = Node::start(json!({"workers": [{"model_ref": tiny("model.gguf"), "supervise": false}]}), &[]);
    let before = node.wait_until_ready()["replicas"][0]["replica_id"].clone();
    // A file that is there and no model: the new worker does not start, the old one comes back.
    let text = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let answer = node.post("/pools/pool-0/reload", json!({"model_ref": format!("file:{}", text.display())}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(node.post("/pools/pool-0/drain", json!({})).status, 409);
    let pool = node.wait("/pools/pool-0/status", "rolled back", |pool| {
        pool["ready"] == true && pool["replicas"][0]["replica_id"] != before
    });
    assert_eq!(pool["models"][0]["id"], tiny("model.gguf"));
    let steps = pool["preparation"]["steps"].as_array().unwrap();
    let loads = steps.iter().filter(|step| step["kind"] == "pool_warmup" && step["group"] == "worker");
    let loads: Vec<&str> = loads.map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(loads, ["completed", "failed", "completed"], "the first worker, the new one, the first again");
    let step = steps.iter().find(|step| step["group"] == "reload").unwrap();
    assert_eq!((&step["kind"], &step["status"]), (&json!("pool_warmup"), &json!("failed")));
    assert!(step["human"].as_str().unwrap().contains("rolled back"), "{step}");
    let answer = node.post("/pools/pool-0/reload", json!({"model_ref": tiny("model.safetensors")}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    node.wait("/pools/pool-0/status", "reloaded", |pool| {
        pool["ready"] == true && pool["models"][0]["id"] == tiny("model.safetensors")
    });
    assert_eq!(node.send(Request::post("/pools/pool-0/purge")).status, 202);
    node.wait("/v2/state", "empty", |state| state["workers"] == json!([]));
}

fn drain_has_a_deadline() {
    let node = Node::start(slow(), &[]);
    let worker = slow_worker(&node);
    let stream = running(&node, "j-1");
    assert_eq!(node.post(&format!("/v2/workers/{worker}/drain"), json!({"deadline_ms": 300})).status, 202);
    assert_eq!(node.post("/pools/pool-0/execute", job("j-2")).status, 503);
    let events = events(&stream.join().unwrap());
    let (name, error) = events.last().unwrap();
    assert_eq!((name.as_str(), &error["code"]), ("error", &json!("CANCELLED")));
    node.wait_for_state(&worker, "gone");
}

fn tokens() {
    let token = "0123456789abcdef0123456789abcdef";
    let node = Node::start(slow(), &[("LLORCH_NODE_TOKEN", token)]);
    let body = json!({"model_ref": tiny("model.gguf"), "backend": "slow"});
    let (missing, wrong) = (
        node.post("/v2/workers/start", body.clone()),
        node.send(Request::post("/v2/workers/start").json(&body).bearer("wrong")),
    );
    assert_eq!((missing.status, missing.text()), (401, wrong.text()));
    assert_eq!(node.send(Request::get("/health")).status, 200);
    assert_eq!(node.send(Request::get("/metrics")).status, 200);
    let started = node.send(Request::post("/v2/workers/start").json(&body).bearer(token));
    let worker = started.json().unwrap()["worker_id"].as_str().unwrap().to_owned();
    let until = Instant::now() + SOON;
    let view = loop {
        let view = node.send(Request::get(&format!("/v2/workers/{worker}")).bearer(token)).json().unwrap();
        if view["status"] == "ready" {
            break view;
        }
        assert!(Instant::now() < until, "{view}");
        std::thread::sleep(Duration::from_millis(20));
    };
    // The worker has a token of its own, and not the node's.
    let environ = std::fs::read(format!("/proc/{}/environ", view["pid"])).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains(token));
    let direct = Base::parse(view["uri"].as_str().unwrap()).unwrap();
    assert_eq!(send(&direct, &Request::post("/execute").json(&job("j")).bearer(token), SOON).unwrap().status, 401);
    let own: String = node.process.lines().into_iter().map(|line| line.text).collect();
    assert!(!own.contains(token));
}

/// An orchestrator that notes what it hears, and forgets the node once.
fn the_orchestrator_is_told() {
    type Notes = [(String, Value)];
    type Heard = Arc<Mutex<Vec<(String, Value)>>>;
    let heard: Heard = Arc::default();
    let notes = heard.clone();
    let orchestrator = serve(move |mut socket, request| {
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let body =
            request.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        let mut notes = notes.lock().unwrap();
        notes.push((path.clone(), body));
        let beats = notes.iter().filter(|(path, _)| path.ends_with("/heartbeat")).count();
        let (status, answer) = match path.as_str() {
            "/v2/nodes/n-1/heartbeat" if beats == 2 => ("404 Not Found", json!({})),
            "/v2/nodes/n-1/heartbeat" => ("200 OK", json!({"success": true, "next_heartbeat_ms": 20})),
            _ => ("200 OK", json!({"success": true})),
        };
        let answer = answer.to_string();
        let _ = write!(socket, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    });
    let url = orchestrator.to_string();
    let node = Node::start(slow(), &[("ORCHESTRATORD_URL", &url)]);
    let worker = slow_worker(&node);
    let wait = |what: &str, good: &dyn Fn(&Notes) -> bool| {
        let until = Instant::now() + SOON;
        while !good(&heard.lock().unwrap()) {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let registered = |heard: &Notes| heard.iter().filter(|(path, _)| path == "/v2/nodes/register").count();
    wait("it registers again", &|heard| registered(heard) == 2);
    // The pace that was asked for, not the 10 s of the default.
    wait("it beats", &|heard| heard.len() > 8);
    let serves = |heard: &Notes| {
        heard.iter().any(|(_, body)| {
            let pool = &body["pools"][0];
            pool["ready"] == true && pool["models"][0]["id"] == tiny("model.gguf") && pool["slots_free"] == 1
        })
    };
    wait("the model is told", &serves);
    let pid = node.get(&format!("/v2/workers/{worker}"))["pid"].as_i64().unwrap();
    kill(pid);
    wait("the failure is told", &|heard| heard.iter().any(|(_, body)| body["failures"][0]["signal"] == 9));
    let registration = heard.lock().unwrap()[0].1.clone();
    assert_eq!((&registration["node_id"], &registration["pools"]), (&json!("n-1"), &json!(["pool-0"])));
    assert!(registration["capabilities"]["cpu_cores"].as_u64().unwrap() > 0);
    node.process.signal(Signal::SIGTERM).unwrap();
    assert_eq!(node.process.wait_for_exit(SOON), Ok(Exit::Code(0)));
    assert_eq!(heard.lock().unwrap().last().unwrap().0, "/v2/nodes/n-1");
}

fn openapi_names_every_route() {
    let document = Node::start(json!({}), &[]).get("/openapi.json");
    let paths: BTreeMap<String, Value> = serde_json::from_value(document["paths"].clone()).unwrap();
    let expected = [
        "/health",
        "/metrics",
        "/openapi.json",
        "/pools/{id}/cancel",
        "/pools/{id}/drain",
        "/pools/{id}/execute",
        "/pools/{id}/preload",
        "/pools/{id}/purge",
        "/pools/{id}/reload",
        "/pools/{id}/status",
        "/v2/internal/workers/failed",
        "/v2/internal/workers/ready",
        "/v2/state",
        "/v2/workers/start",
        "/v2/workers/{id}",
        "/v2/workers/{id}/drain",
        "/v2/workers/{id}/stop",
    ];
    assert_eq!(paths.keys().map(String::as_str).collect::<Vec<_>>(), expected);
}
