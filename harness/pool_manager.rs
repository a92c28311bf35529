//! A pool manager that grades: it takes a worker's ready callback, records every attempt, and looks at the moment of
//! arrival whether the worker that says that it is ready answers at all.
//!
//! The server lives on a thread of its own, away from whatever executor runs the case; the look at `/health` is a plain
//! blocking request from inside the handler, before the callback is answered.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use super::Finding;
use super::contract::{self, Message};
use super::http::{self, Base, Headers, Request, excerpt, media_type};
use super::target::ClosedPort;

/// How the callback is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// With this status at once; any 2xx accepts.
    Answer(u16),
    /// With 500 this many times, then with 200.
    FailFirst(usize),
    /// Never: the connection is taken and stays silent.
    Hang,
    /// The port is closed.
    Refuse,
}

/// One callback, as it arrived.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Since the pool manager was started.
    pub at: Duration,
    pub method: String,
    pub path: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// Whether the `uri` in it answered `/health` with 200 when the callback arrived; why not, otherwise.
    pub reachable: Result<(), String>,
}

impl Attempt {
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Attaches the callback to a finding about it; a bearer token is left out.
    fn evidence(&self, finding: Finding) -> Finding {
        let shown = |(name, value): &(String, String)| match name.as_str() {
            "authorization" => format!("{name}: [REDACTED]"),
            _ => format!("{name}: {value}"),
        };
        let headers: Vec<String> = self.headers.0.iter().map(shown).collect();
        let body = excerpt(&self.body, 2000);
        finding.with("callback", format!("{} {}\n{}\n\n{body}", self.method, self.path, headers.join("\n")))
    }
}

/// What a callback must say, beyond its form.
#[derive(Clone, Debug)]
pub struct Expected {
    pub worker_id: String,
    /// The port on which the worker listens.
    pub port: u16,
    /// `LLORCH_SPAWN_TOKEN`, if it was given one.
    pub spawn_token: Option<String>,
    /// With a model, `memory_bytes` can't be 0; the stub holds none.
    pub has_model: bool,
}

type Record = Arc<(Mutex<Vec<Attempt>>, Condvar)>;

#[derive(Debug)]
pub struct PoolManager {
    url: String,
    began: Instant,
    record: Record,
    /// Dropped, the server's thread ends; absent where the port is closed.
    server: Option<(Sender<()>, JoinHandle<()>)>,
    _closed: Option<ClosedPort>,
}

const PATH: &str = "/v2/internal/workers/ready";
/// How long the look at `/health` may take. A worker whose HTTP waits for its own callback does not answer in time.
const LOOK: Duration = Duration::from_secs(2);

impl PoolManager {
    pub fn start(behaviour: Behaviour) -> Result<PoolManager, Finding> {
        let problem = |error: std::io::Error| Finding::error("a pool manager to call back", error.to_string());
        let record = Record::default();
        if behaviour == Behaviour::Refuse {
            let closed = ClosedPort::hold().map_err(problem)?;
            let url = Base::local(closed.port().map_err(problem)?).url(PATH);
            return Ok(PoolManager { url, began: Instant::now(), record, server: None, _closed: Some(closed) });
        }
        let began = Instant::now();
        let (told, address) = mpsc::channel();
        let (keep, until_dropped) = mpsc::channel::<()>();
        let kept = record.clone();
        let thread = std::thread::Builder::new().name("pool manager".into());
        let thread = thread.spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let server = runtime.block_on(serve(behaviour, kept, began));
            let _ = told.send(server.uri());
            let _ = until_dropped.recv();
        });
        let thread = thread.map_err(problem)?;
        let base = address.recv().map_err(|_| Finding::error("a pool manager to call back", "its thread ended"))?;
        Ok(PoolManager { url: format!("{base}{PATH}"), began, record, server: Some((keep, thread)), _closed: None })
    }

    /// What a worker is given as `--callback-url`.
    pub fn callback_url(&self) -> &str {
        &self.url
    }

    /// Now, on the clock of the attempts.
    pub fn clock(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        lock(&self.record.0).clone()
    }

    /// Waits until this many callbacks have come.
    pub fn wait_for_attempts(&self, count: usize, deadline: Duration) -> Result<Vec<Attempt>, Finding> {
        let until = Instant::now() + deadline;
        let mut attempts = lock(&self.record.0);
        while attempts.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let found = format!("{} within {deadline:.1?}", attempts.len());
                return Err(Finding::fail(format!("{count} ready callbacks"), found));
            }
            attempts = self.record.1.wait_timeout(attempts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(attempts.clone())
    }

    /// Everything that is wrong with the last callback, each under the name of what was graded.
    pub fn grade(&self, expected: &Expected) -> Vec<(&'static str, Finding)> {
        let attempts = self.attempts();
        let Some(attempt) = attempts.last() else {
            return vec![("callback", Finding::fail("a ready callback", "none came"))];
        };
        let graded = CRITERIA.iter().filter_map(|(name, criterion)| {
            let finding = criterion(attempt, expected).err()?;
            Some((*name, attempt.evidence(finding)))
        });
        graded.collect()
    }

    /// Holds when nothing is wrong with the last callback.
    pub fn judge(&self, expected: &Expected) -> Result<(), Finding> {
        match self.grade(expected).into_iter().next() {
            None => Ok(()),
            Some((_, finding)) => Err(finding),
        }
    }

    /// Exactly this many attempts came, with a pause before each but the first, short enough to be one.
    pub fn judge_attempts(&self, count: usize) -> Result<(), Finding> {
        judge_times(&self.attempts().iter().map(|attempt| attempt.at).collect::<Vec<_>>(), count)
    }
}

/// Judges the times of attempts.
pub fn judge_times(times: &[Duration], count: usize) -> Result<(), Finding> {
    let told: Vec<String> = times.iter().map(|at| format!("+{at:.2?}")).collect();
    let told = told.join(", ");
    if times.len() != count {
        return Err(Finding::fail(format!("{count} attempts"), format!("{} ({told})", times.len())));
    }
    for pair in times.windows(2) {
        let pause = pair[1].saturating_sub(pair[0]);
        if !(SHORTEST_PAUSE..=LONGEST_PAUSE).contains(&pause) {
            let expected = format!("between {SHORTEST_PAUSE:?} and {LONGEST_PAUSE:?} from one attempt to the next");
            return Err(Finding::fail(expected, format!("{pause:.2?} ({told})")));
        }
    }
    Ok(())
}

/// Without any pause a pool manager that restarts is missed three times in a millisecond.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// The time-out of one attempt and the pause after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Drop for PoolManager {
    fn drop(&mut self) {
        if let Some((keep, thread)) = self.server.take() {
            drop(keep);
            let _ = thread.join();
        }
    }
}

async fn serve(behaviour: Behaviour, record: Record, began: Instant) -> MockServer {
    let server = MockServer::builder().start().await;
    let respond = move |request: &wiremock::Request| {
        let attempt = receive(request, began.elapsed());
        let mut attempts = lock(&record.0);
        attempts.push(attempt);
        let count = attempts.len();
        record.1.notify_all();
        match behaviour {
            Behaviour::Answer(status) => ResponseTemplate::new(status),
            Behaviour::FailFirst(failures) => ResponseTemplate::new(if count <= failures { 500 } else { 200 }),
            Behaviour::Hang | Behaviour::Refuse => ResponseTemplate::new(200).set_delay(Duration::from_secs(86_400)),
        }
    };
    Mock::given(matchers::any()).respond_with(respond).mount(&server).await;
    server
}

fn receive(request: &wiremock::Request, at: Duration) -> Attempt {
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Attempt {
        at,
        method: request.method.to_string(),
        path: request.url.path().to_string(),
        headers: Headers(headers.collect()),
        body: request.body.clone(),
        reachable: look(&request.body),
    }
}

/// Asks the worker that the callback names.
fn look(body: &[u8]) -> Result<(), String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("the callback is no JSON: {error}"))?;
    let uri = body.get("uri").and_then(Value::as_str).ok_or("the callback has no uri")?;
    let base = Base::parse(uri).map_err(|error| error.to_string())?;
    let answer = http::send(&base, &Request::get("/health"), LOOK).map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(()) } else { Err(format!("GET /health answered {}", answer.status)) }
}

type Criterion = fn(&Attempt, &Expected) -> Result<(), Finding>;

/// What is graded: each has a callback that breaks only it.
pub const CRITERIA: &[(&str, Criterion)] = &[
    ("method", method),
    ("path", path),
    ("content-type", content_type),
    ("fields", fields),
    ("worker-id", worker_id),
    ("reachable", reachable),
    ("port", port),
    ("memory", memory),
    ("token", token),
];

fn method(attempt: &Attempt, _: &Expected) -> Result<(), Finding> {
    is_equal("the method", "POST", &attempt.method)
}

fn path(attempt: &Attempt, _: &Expected) -> Result<(), Finding> {
    is_equal("the path of the callback URL, as it was given,", PATH, &attempt.path)
}

fn content_type(attempt: &Attempt, _: &Expected) -> Result<(), Finding> {
    is_equal("the content type", "application/json", &media_type(&attempt.headers))
}

fn fields(attempt: &Attempt, _: &Expected) -> Result<(), Finding> {
    match attempt.json() {
        Some(body) => contract::check(Message::ReadyCallback, &body),
        None => Err(Finding::fail("a JSON body", excerpt(&attempt.body, 120))),
    }
}

fn worker_id(attempt: &Attempt, expected: &Expected) -> Result<(), Finding> {
    match text(attempt, "worker_id") {
        Some(found) => is_equal("worker_id", &expected.worker_id, &found),
        None => Ok(()), // a missing field is the form's matter
    }
}

fn reachable(attempt: &Attempt, _: &Expected) -> Result<(), Finding> {
    let expected = "a worker that answers /health at the uri of its callback when it calls";
    // It reaches the worker from the worker's own machine, and from no other.
    if let Some(uri) = text(attempt, "uri").filter(|uri| uri.contains("//0.0.0.0") || uri.contains("//[::]")) {
        return Err(Finding::fail("a uri at which others reach the worker", format!("{uri}: an address to listen on")));
    }
    attempt.reachable.clone().map_err(|found| Finding::fail(expected, found))
}

fn port(attempt: &Attempt, expected: &Expected) -> Result<(), Finding> {
    match text(attempt, "uri").and_then(|uri| Base::parse(&uri).ok()) {
        Some(base) => is_equal("the port in uri", &expected.port.to_string(), &base.port.to_string()),
        None => Ok(()),
    }
}

fn memory(attempt: &Attempt, expected: &Expected) -> Result<(), Finding> {
    let bytes = attempt.json().and_then(|body| body.get("memory_bytes")?.as_u64());
    match bytes {
        Some(0) if expected.has_model => Err(Finding::fail("the bytes that the model takes in memory_bytes", "0")),
        _ => Ok(()),
    }
}

fn token(attempt: &Attempt, expected: &Expected) -> Result<(), Finding> {
    let Some(token) = &expected.spawn_token else { return Ok(()) };
    let said = "LLORCH_SPAWN_TOKEN as the bearer of the callback";
    match attempt.headers.get("authorization") {
        Some(found) if found == format!("Bearer {token}") => Ok(()),
        Some(_) => Err(Finding::fail(said, "another Authorization header")),
        None => Err(Finding::fail(said, "no Authorization header")),
    }
}

fn text(attempt: &Attempt, field: &str) -> Option<String> {
    Some(attempt.json()?.get(field)?.as_str()?.to_string())
}

fn is_equal(what: &str, expected: &str, found: &str) -> Result<(), Finding> {
    if expected == found { Ok(()) } else { Err(Finding::fail(format!("{what} {expected:?}"), format!("{found:?}"))) }
}

fn lock(attempts: &Mutex<Vec<Attempt>>) -> MutexGuard<'_, Vec<Attempt>> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}
