//! What stands before an orchestrator and makes one mistake: everything else is passed on as it comes, so that the case
//! that catches it sees a real chain with that one thing wrong.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::edits::{Edits, add};
use super::mistakes::Slip;
use crate::harness::Finding;
use crate::harness::http::wire::Exchange;
use crate::harness::http::{self, Answer, Base, Request};
use crate::harness::log::Log;
use crate::harness::scripted::http_server::{self, Connection, Response, disconnected};
use crate::harness::scripted::options::Script;
use crate::harness::sse::Parser;

/// No exchange through a relay takes longer.
const WITHIN: Duration = Duration::from_secs(60);
/// The fields of a task that mean something.
const FIELDS: [&str; 23] = [
    "task_id",
    "session_id",
    "workload",
    "model_ref",
    "engine",
    "ctx",
    "priority",
    "prompt",
    "max_tokens",
    "deadline_ms",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop",
    "determinism",
    "expected_tokens",
    "kv_hint",
    "placement",
    "tokens_budget",
    "time_budget_ms",
];
const SAMPLING: [&str; 5] = ["temperature", "top_p", "top_k", "min_p", "repetition_penalty"];

#[derive(Debug)]
pub struct Relay {
    base: Base,
    front: Arc<Front>,
}

#[derive(Debug)]
struct Front {
    slip: Slip,
    behind: Base,
    seen: Mutex<Seen>,
}

/// What a mistake needs to remember.
#[derive(Debug, Default)]
struct Seen {
    /// A token that was good.
    token: Option<String>,
    prompt: String,
    /// The last task that was admitted.
    task: Map<String, Value>,
    cancelled: Vec<String>,
    scrapes: u32,
    /// Tasks that were asked for.
    tasks: u32,
    /// Pools that were ready once.
    ready: Vec<String>,
}

impl Relay {
    pub fn start(behind: Base, slip: Slip) -> Result<Relay, Finding> {
        let problem = |error: io::Error| Finding::error("a relay before the orchestrator", error.to_string());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(problem)?;
        let base = Base::local(listener.local_addr().map_err(problem)?.port());
        let front = Arc::new(Front { slip, behind, seen: Mutex::default() });
        let served = front.clone();
        // Lasts as long as the process: nobody connects to it when its chain is gone.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let front = served.clone();
                std::thread::spawn(move || front.serve(socket));
            }
        });
        Ok(Relay { base, front })
    }

    pub fn base(&self) -> Base {
        self.base.clone()
    }

    pub fn makes(&self, slip: Slip) -> bool {
        self.front.slip == slip
    }

    /// The orchestrator's log, as it would be with the mistake.
    pub fn tamper(&self, log: &mut Log) {
        let seen = self.front.seen();
        let mut say = |text: String| {
            let line = json!({ "actor": "orchestratord", "action": "admission", "human": text, "message": text });
            log.append(&line.to_string());
        };
        match self.front.slip {
            Slip::PromptInLog => say(format!("Admits the task: {}", seen.prompt)),
            Slip::TokenInLog => say(format!("A client shows {}", seen.token.as_deref().unwrap_or_default())),
            Slip::NarrationLong => say("Admits the task ".repeat(13)),
            Slip::NarrationMissing => log.lines.retain(|line| line.text("action") != Some("placement")),
            Slip::CorrelationNotLogged => log.lines.retain(|line| line.text("correlation_id").is_none()),
            _ => {}
        }
    }
}

impl Front {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, socket: TcpStream) {
        let Ok(mut connection) = Connection::new(socket, Script::default(), false) else { return };
        while let Ok(Some(request)) = connection.read_request() {
            let keeps_alive = request.keeps_alive();
            let Ok(Some(response)) = self.answer(request, &mut connection) else { return };
            if connection.respond(response, keeps_alive).is_err() || !keeps_alive {
                return;
            }
        }
    }

    /// None after a stream, whose end is the connection's.
    fn answer(&self, asked: http_server::Request, connection: &mut Connection) -> io::Result<Option<Response>> {
        let mut request = self.passed_on(&asked);
        let mut resumed = None;
        if asked.path == "/v2/tasks" {
            self.edit_task(&mut request);
        }
        if self.slip == Slip::FailureUntold && asked.path.ends_with("/heartbeat") {
            let mut body = request.body_json().unwrap_or_default();
            body["failures"] = Value::Null;
            request.body = Some(body.to_string().into_bytes());
        }
        if self.slip == Slip::ResumeRunsAgain && request.headers.get("last-event-id").is_some() {
            let again = self.run_again();
            resumed = again.as_ref().map(|id| format!("/v2/tasks/{id}/events"));
        }
        if let Some(path) = resumed {
            request.path = path;
        }
        if let Some(response) = self.instead(&asked) {
            return Ok(Some(response));
        }
        let exchange = Exchange::begin(&self.behind, &request, Instant::now() + WITHIN);
        let exchange = exchange.map_err(io::Error::other)?;
        let is_stream = http::media_type(&exchange.head.headers) == "text/event-stream";
        if is_stream {
            self.relay(exchange, &asked, &connection.socket)?;
            return Ok(None);
        }
        let answer =
            Answer::read(&self.behind, &request, exchange, Instant::now() + WITHIN).map_err(io::Error::other)?;
        if answer.status < 400 && asked.path == "/v2/tasks" {
            let body = request.body_json().unwrap_or_default();
            self.seen().task = body.as_object().cloned().unwrap_or_default();
        }
        Ok(Some(self.edited(&asked, answer)))
    }

    fn passed_on(&self, asked: &http_server::Request) -> Request {
        let query = match asked.query.as_str() {
            _ if self.slip == Slip::VerboseIgnored => String::new(),
            "" if self.slip == Slip::AlwaysVerbose && asked.path.ends_with("/events") => "?verbose=true".into(),
            "" => String::new(),
            query => format!("?{query}"),
        };
        let mut request = Request::new(&asked.method, &format!("{}{query}", asked.path));
        let own = ["host", "connection", "content-length", "transfer-encoding", "expect"];
        for (name, value) in &asked.headers {
            let value = match (self.slip, name.to_lowercase().as_str()) {
                (_, name) if own.contains(&name) => continue,
                (Slip::ResumeFromStart, "last-event-id") => continue,
                (Slip::ResumeSkipsOne, "last-event-id") => {
                    value.parse::<u64>().unwrap_or(0).saturating_add(1).to_string()
                }
                (Slip::AnyToken, "authorization") if asked.method == "GET" => continue,
                _ => value.clone(),
            };
            request = request.header(name, &value);
        }
        let token = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let mut seen = self.seen();
        // Nodes ask for nothing; of clients the first one is the chain's own, which waits until it is ready.
        let token = token.filter(|_| asked.method == "GET");
        seen.token = seen.token.take().or_else(|| token.map(str::to_owned));
        if let Some(token) = seen.token.as_ref().filter(|_| self.slip == Slip::AnyToken && asked.method == "GET") {
            request = request.bearer(token);
        }
        if !asked.body.is_empty() {
            request.body = Some(asked.body.clone());
        }
        request
    }

    fn edit_task(&self, request: &mut Request) {
        let Some(Value::Object(mut task)) = request.body_json() else { return };
        if let Some(prompt) = task.get("prompt").and_then(Value::as_str) {
            prompt.clone_into(&mut self.seen().prompt);
        }
        let number = {
            let mut seen = self.seen();
            seen.tasks += 1;
            seen.tasks
        };
        let has_deadline = task.get("deadline_ms").and_then(Value::as_u64).is_some();
        let mut drop_all = |names: &[&str]| names.iter().for_each(|name| drop(task.remove(*name)));
        match self.slip {
            Slip::UnknownFieldAccepted => task.retain(|name, _| FIELDS.contains(&name.as_str())),
            Slip::CtxIgnored => drop(task.insert("ctx".into(), 1.into())),
            Slip::DeadlineIgnored if has_deadline => {
                task.insert("deadline_ms".into(), 60_000.into());
            }
            Slip::PriorityIgnored => drop(task.insert("priority".into(), "batch".into())),
            Slip::PlacementIgnored => drop_all(&["placement"]),
            Slip::SecondWaits if number == 2 => drop(task.insert("priority".into(), "batch".into())),
            Slip::HintDropped => drop_all(&["kv_hint"]),
            Slip::SamplingDropped => drop_all(&SAMPLING),
            Slip::StopDropped => drop_all(&["stop"]),
            Slip::SeedDropped => drop_all(&["seed", "determinism"]),
            Slip::BudgetDropped => drop_all(&["tokens_budget", "time_budget_ms"]),
            _ => return,
        }
        request.body = Some(Value::Object(task).to_string().into_bytes());
    }

    /// An answer of its own, with nothing behind it.
    fn instead(&self, asked: &http_server::Request) -> Option<Response> {
        let envelope = |code: &str, retry: Value| {
            json!({ "error": {
                "code": code, "message": "no", "retriable": true, "retry_after_ms": retry, "policy_label": "reject",
                "engine": null, "correlation_id": asked.header("x-correlation-id").unwrap_or_default(), "details": {},
            } })
        };
        let body = || serde_json::from_slice::<Value>(&asked.body).unwrap_or_default();
        let ends = |word: &str| asked.method == "POST" && asked.path.ends_with(word);
        let task_id = asked.path.trim_start_matches("/v2/tasks/").trim_end_matches("/cancel").to_owned();
        let cancels = asked.path.starts_with("/v2/tasks/") && (ends("/cancel") || asked.method == "DELETE");
        let told = || Response::json(202, &json!({ "pool_id": "pool-a", "nodes": ["a"] }));
        match self.slip {
            Slip::Sentinel if asked.path == "/v2/tasks" && body()["expected_tokens"].as_u64() >= Some(1000) => {
                let response = Response::json(429, &envelope("ADMISSION_REJECT", 1000.into()));
                Some(response.with("Retry-After", "1").with("X-Backoff-Ms", "1000"))
            }
            Slip::BoundAtEight if asked.path == "/v2/tasks" && self.seen().tasks > 8 => {
                Some(Response::json(429, &envelope("ADMISSION_REJECT", 1000.into())))
            }
            Slip::OneTokenOnly if asked.header("authorization").is_some_and(|shown| !self.is_first(shown)) => {
                Some(Response::json(401, &envelope("UNAUTHORIZED", Value::Null)))
            }
            Slip::MetricsLocked if asked.path == "/metrics" && asked.header("authorization").is_none() => {
                Some(Response::json(401, &envelope("UNAUTHORIZED", Value::Null)))
            }
            Slip::CancelIgnored if cancels => Some(Response::text(204, "application/json", "")),
            Slip::CancelTwice404 if cancels => {
                let mut seen = self.seen();
                let again = seen.cancelled.contains(&task_id);
                seen.cancelled.push(task_id);
                again.then(|| Response::json(404, &envelope("NOT_FOUND", Value::Null)))
            }
            Slip::DrainIgnored if ends("/drain") => Some(told()),
            Slip::ReloadIgnored if ends("/reload") => Some(told()),
            Slip::PurgeIgnored if ends("/purge") => Some(told()),
            Slip::CatalogForgets if asked.method == "POST" && asked.path == "/v2/catalog/models" => {
                let mut model = body();
                model["state"] = "active".into();
                Some(Response::json(201, &model))
            }
            Slip::SessionForgets if asked.method == "DELETE" && asked.path.starts_with("/v2/sessions/") => {
                Some(Response::text(204, "application/json", ""))
            }
            _ => None,
        }
    }

    /// The task that was admitted last, once more.
    fn run_again(&self) -> Option<String> {
        let mut task = self.seen().task.clone();
        let id = Uuid::new_v4().to_string();
        task.insert("task_id".into(), id.clone().into());
        let request = Request::post("/v2/tasks").json(&Value::Object(task));
        let answer = http::send(&self.behind, &request, WITHIN).ok()?;
        (answer.status == 202).then_some(id)
    }

    fn edited(&self, asked: &http_server::Request, answer: Answer) -> Response {
        let mut status = answer.status;
        let mut headers: Vec<(String, String)> = answer.headers.0.clone();
        let own = ["connection", "content-length", "transfer-encoding", "date"];
        headers.retain(|(name, _)| !own.contains(&name.to_lowercase().as_str()));
        let mut text = answer.text();
        let mut body: Value = serde_json::from_str(&text).unwrap_or_default();
        let is_json = !body.is_null();
        let before = body.clone();
        let is_task = asked.method == "POST" && asked.path == "/v2/tasks";
        let mut drop_header = |name: &str| headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        match self.slip {
            Slip::CorrelationNotEchoed => drop_header("x-correlation-id"),
            Slip::BackoffMissing => drop_header("x-backoff-ms"),
            Slip::RetryAfterDisagrees => headers
                .iter_mut()
                .filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
                .for_each(|(_, value)| *value = (value.parse().unwrap_or(0) + 60).to_string()),
            Slip::AdmittedWith200 if is_task && status == 202 => status = 200,
            Slip::PositionFromOne if is_task => add(&mut body, "queue_position", 1),
            Slip::PredictedAtOnce if is_task && status == 202 => body["predicted_start_ms"] = 0.into(),
            Slip::PredictedLate if is_task && status == 202 => {
                let right = body["predicted_start_ms"].as_u64().unwrap_or(0);
                body["predicted_start_ms"] = (10 * right + 5000).into();
            }
            Slip::DuplicateAccepted | Slip::QueueUnbounded | Slip::AbsentAdmitted
                if is_task && matches!(status, 409 | 429 | 503) =>
            {
                let id = serde_json::from_slice::<Value>(&asked.body).unwrap_or_default()["task_id"].clone();
                let path = format!("/v2/tasks/{}/events", id.as_str().unwrap_or_default());
                status = 202;
                body = json!({
                    "task_id": id, "queue_position": 0, "predicted_start_ms": 0, "backoff_ms": 0,
                    "streams": { "sse": path, "sse_verbose": format!("{path}?verbose=true") },
                    "preparation": { "steps": [] },
                });
            }
            Slip::ErrorFlat if status >= 400 => body = body["error"].take(),
            Slip::CodeMisspelt if body["error"]["code"] == "INVALID_PARAMS" => {
                body["error"]["code"] = "INVALID_REQUEST".into();
            }
            Slip::OneErrorOnly => {
                if let Some(Value::Array(errors)) = body.pointer_mut("/error/details/errors") {
                    errors.truncate(1);
                }
            }
            Slip::WrongTokenTold if status == 401 && asked.header("authorization").is_some() => {
                body["error"]["message"] = "the token is wrong".into();
            }
            Slip::CancelUnknown204 if status == 404 && asked.path.ends_with("/cancel") => {
                (status, text) = (204, String::new());
            }
            Slip::UnknownNode200 if status == 404 && asked.path.ends_with("/heartbeat") => {
                status = 200;
                body = json!({ "success": true, "next_heartbeat_ms": 10_000 });
            }
            Slip::HeartbeatWithoutPace if asked.path.ends_with("/heartbeat") => {
                if let Value::Object(body) = &mut body {
                    body.remove("next_heartbeat_ms");
                }
            }
            Slip::PlaceUntrue if asked.method == "GET" && body["place"].is_object() => {
                body["place"] = json!({ "node_id": "a", "pool_id": "pool-a" });
            }
            Slip::ContextUntold if asked.path == "/v2/nodes" => {
                let pools = body["nodes"].as_array_mut().into_iter().flatten();
                let pools = pools.flat_map(|node| node["pools"].as_array_mut().into_iter().flatten());
                for model in pools.flat_map(|pool| pool["models"].as_array_mut().into_iter().flatten()) {
                    model["context_length"] = Value::Null;
                }
            }
            Slip::ReadinessSticks if asked.path.ends_with("/health") && body["pool_id"].is_string() => {
                let mut seen = self.seen();
                if body["ready"] == true {
                    seen.ready.push(asked.path.clone());
                }
                body["ready"] = seen.ready.contains(&asked.path).into();
            }
            Slip::StepsUntold if is_task => body["preparation"] = json!({ "steps": [] }),
            Slip::EngineUntold if is_task => {
                if let Some(steps) = body.pointer_mut("/preparation/steps").and_then(Value::as_array_mut) {
                    steps.retain(|step| step["kind"] != "engine_provision");
                }
            }
            Slip::StaleIsOnline if asked.path == "/v2/nodes" => {
                for node in body["nodes"].as_array_mut().into_iter().flatten() {
                    node["state"] = "online".into();
                }
            }
            Slip::RouteUndescribed if asked.path == "/openapi.json" => {
                if let Some(paths) = body["paths"].as_object_mut() {
                    paths.remove("/v2/tasks/{id}/events");
                }
            }
            Slip::OperationsUnnamed if asked.path == "/openapi.json" => {
                body["paths"]["/v2/tasks"]["post"]["operationId"] =
                    body["paths"]["/health"]["get"]["operationId"].clone();
            }
            Slip::DocumentUntrue if asked.path == "/openapi.json" => {
                if let Some(required) = body.pointer_mut("/components/schemas/NodeView/required") {
                    required.as_array_mut().into_iter().for_each(|names| names.push("shoe_size".into()));
                }
            }
            Slip::TokensDoubled | Slip::CounterTicks | Slip::TaskIdLabel if asked.path == "/metrics" => {
                text = self.counted(&text);
            }
            _ => {}
        }
        let bytes = if is_json && body != before { body.to_string().into_bytes() } else { text.into_bytes() };
        let bytes = if is_json || self.is_about_text(asked, status) { bytes } else { answer.body };
        Response { status, headers, body: bytes }
    }

    /// Whether this is the token that was good first.
    fn is_first(&self, shown: &str) -> bool {
        let shown = shown.strip_prefix("Bearer ").unwrap_or(shown);
        self.seen().token.as_deref().is_none_or(|first| first == shown)
    }

    /// Bodies that are edited as text.
    fn is_about_text(&self, asked: &http_server::Request, status: u16) -> bool {
        asked.path == "/metrics" || status == 204
    }

    fn counted(&self, text: &str) -> String {
        let mut seen = self.seen();
        seen.scrapes += 1;
        let scrapes = seen.scrapes;
        let doubled = |line: &str| match line.rsplit_once(' ') {
            Some((name, value)) if self.slip == Slip::TokensDoubled && name.starts_with("tokens_out_total") => {
                format!("{name} {}", 2.0 * value.parse::<f64>().unwrap_or(0.0))
            }
            _ => line.to_owned(),
        };
        let mut lines: Vec<String> = text.lines().map(doubled).collect();
        match self.slip {
            Slip::CounterTicks => lines.push(format!("looks_total {scrapes}")),
            Slip::TaskIdLabel => {
                let id = seen.task.get("task_id").and_then(Value::as_str).unwrap_or("none").to_owned();
                lines.push(format!("tasks_seen_total{{task=\"{id}\"}} 1"));
            }
            _ => {}
        }
        lines.join("\n") + "\n"
    }

    /// A stream, frame by frame.
    fn relay(&self, mut exchange: Exchange, asked: &http_server::Request, mut socket: &TcpStream) -> io::Result<()> {
        let mut head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n".to_owned();
        for (name, value) in &exchange.head.headers.0 {
            let own = ["transfer-encoding", "connection", "content-length"].contains(&name.to_lowercase().as_str());
            let hidden = self.slip == Slip::CorrelationNotEchoed && name.eq_ignore_ascii_case("x-correlation-id");
            if !own && !hidden {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        socket.write_all(format!("{head}\r\n").as_bytes())?;
        let mut edits = Edits::default();
        let mut parser = Parser::default();
        let mut passed = 0;
        loop {
            let piece = match exchange.next(Instant::now() + Duration::from_millis(20)) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(http::HttpError::TimedOut { .. } | http::HttpError::NeverAnswered { .. }) => {
                    if disconnected(socket) {
                        return self.client_left(exchange, asked);
                    }
                    continue;
                }
                Err(error) => return Err(io::Error::other(error)),
            };
            parser.push(&piece.bytes, piece.at);
            let mut out = String::new();
            for frame in &parser.frames[passed..] {
                out.push_str(&edits.frame(self.slip, frame));
            }
            passed = parser.frames.len();
            if !out.is_empty() && write!(socket, "{:x}\r\n{out}\r\n", out.len()).is_err() {
                return self.client_left(exchange, asked);
            }
        }
        let rest = std::mem::take(&mut edits.held);
        if !rest.is_empty() {
            write!(socket, "{:x}\r\n{rest}\r\n", rest.len())?;
        }
        socket.write_all(b"0\r\n\r\n")
    }

    fn client_left(&self, mut exchange: Exchange, asked: &http_server::Request) -> io::Result<()> {
        match self.slip {
            Slip::DisconnectIgnored => while let Ok(Some(_)) = exchange.next(Instant::now() + WITHIN) {},
            Slip::GraceIgnored => {
                let path = asked.path.replace("/events", "/cancel");
                let _ = http::send(&self.behind, &Request::post(&path), WITHIN);
            }
            _ => exchange.disconnect(),
        }
        Ok(())
    }
}
