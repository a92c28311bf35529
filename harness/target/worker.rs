//! A running worker, as a case sees it. Dropped, its process is killed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Start, StubPace};
use crate::harness::exposition::Scrape;
use crate::harness::http::{self, Answer, Base, HttpError, Request};
use crate::harness::log::Log;
use crate::harness::process::{Exit, Process, Signal};
use crate::harness::stream::{Caps, Opened, Stream};
use crate::harness::transcript::Transcript;
use crate::harness::{Finding, api};

/// How long a stream may be silent once it has begun to write; then it counts as one that never ends.
pub const SILENCE: Duration = Duration::from_secs(10);
/// How long an answer that is no stream may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Worker {
    base: Base,
    /// `None` for a URL.
    process: Option<Process>,
    token: Option<String>,
    worker_id: Option<String>,
    pub(super) stub: Option<StubPace>,
    /// The longest job that was measured here: how long it runs at least, and its request.
    pub(super) longest: Mutex<Option<(Duration, Value)>>,
}

impl Worker {
    pub(super) fn reached(base: Base, token: Option<String>) -> Worker {
        Worker { base, process: None, token, worker_id: None, stub: None, longest: Mutex::default() }
    }

    pub(super) fn started(base: Base, process: Process, start: &Start, worker_id: String) -> Worker {
        Worker {
            base,
            process: Some(process),
            token: start.api_token(),
            worker_id: Some(worker_id),
            stub: start.stub,
            longest: Mutex::default(),
        }
    }

    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The id that it was started with; unknown for a URL.
    pub fn worker_id(&self) -> Option<&str> {
        self.worker_id.as_deref()
    }

    pub fn process(&self) -> Result<&Process, Finding> {
        self.process.as_ref().ok_or_else(|| {
            let reason = format!("{} was given as a URL: its process is not the harness's", self.base);
            Finding::unimplemented("the worker's process", reason)
        })
    }

    /// Sends exactly this request; the token is not added.
    pub fn send(&self, request: &Request) -> Result<Answer, Finding> {
        let answer = http::send(&self.base, request, ANSWERS_WITHIN);
        answer.map_err(|error| self.explain(error, request))
    }

    /// `GET /health`: status 200 and a JSON object.
    pub fn health(&self) -> Result<Value, Finding> {
        let answer = self.send(&Request::get("/health"))?;
        answer.expect_status(200)?.json()
    }

    /// `GET /metrics`, parsed.
    pub fn metrics(&self) -> Result<Scrape, Finding> {
        let answer = self.send(&Request::get("/metrics"))?;
        answer.expect_status(200)?;
        Scrape::parse(&answer.text()).map_err(|finding| answer.evidence(finding))
    }

    /// `POST /execute` for a stream; any other answer is a finding.
    pub fn execute(&self, body: &Value) -> Result<Stream, Finding> {
        self.try_execute(body)?.stream()
    }

    /// `POST /execute`, whatever the answer.
    pub fn try_execute(&self, body: &Value) -> Result<Opened, Finding> {
        self.open(&self.authorized(Request::post("/execute").json(body)), Caps::default())
    }

    /// Runs a job to its end.
    pub fn run(&self, body: &Value, deadline: Duration) -> Result<Transcript, Finding> {
        Ok(self.execute(body)?.finish_unless_silent(deadline, SILENCE))
    }

    /// Sends exactly this request and reads the answer as a stream.
    pub fn open(&self, request: &Request, caps: Caps) -> Result<Opened, Finding> {
        Stream::open(&self.base, request, caps).map_err(|error| self.explain(error, request))
    }

    pub fn cancel(&self, job_id: &str) -> Result<Answer, Finding> {
        if !self.base.api.is_native() {
            return Err(api::unspoken(self.base.api, "a cancel by request"));
        }
        self.send(&self.authorized(Request::post("/cancel").json(&json!({ "job_id": job_id }))))
    }

    pub fn shutdown(&self) -> Result<Answer, Finding> {
        self.send(&self.authorized(Request::post("/shutdown")))
    }

    /// Adds the token, where the worker wants one.
    pub fn authorized(&self, request: Request) -> Request {
        match &self.token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    pub fn signal(&self, signal: Signal) -> Result<(), Finding> {
        let sent = self.process()?.signal(signal);
        sent.map_err(|error| Finding::error(format!("{signal} sent to the worker"), error.to_string()))
    }

    pub fn wait_for_exit(&self, deadline: Duration) -> Result<Exit, Finding> {
        self.process()?.wait_for_exit(deadline)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub fn terminate(&self, deadline: Duration) -> Result<Exit, Finding> {
        self.signal(Signal::SIGTERM)?;
        self.wait_for_exit(deadline)
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> Result<Log, Finding> {
        Ok(Log::read(&self.process()?.lines()))
    }

    /// Waits for a log line: a line may come a moment after the answer that it is about.
    pub fn wait_for_log(&self, event: &str, deadline: Duration) -> Result<Log, Finding> {
        let is_it =
            |line: &crate::harness::process::Line| Log::read(std::slice::from_ref(line)).events(event).next().is_some();
        self.process()?.wait_for_line(&format!("event {event:?}"), deadline, is_it)?;
        self.log()
    }

    fn explain(&self, error: HttpError, request: &Request) -> Finding {
        let finding = Finding::from(error).with("request", request.curl(&self.base));
        match &self.process {
            None => finding,
            // A worker that crashes is seen by the socket first.
            Some(process) => match process.wait_for_exit(Duration::from_millis(200)) {
                Ok(exit) => process.evidence(finding).with("the worker's process", format!("has ended: {exit}")),
                Err(_) => process.evidence(finding),
            },
        }
    }
}

/// A name that no other case uses: for jobs and workers.
pub fn unique(kind: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{kind}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
