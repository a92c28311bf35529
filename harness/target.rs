//! What is judged: the built-in worker, a command that the harness spawns, or a URL; and how one is started.
//!
//! `Target` + `Start` → `Worker`, which answers requests (`worker`), or a `StartError` that says in one sentence what
//! was there instead. What a target can't do is a finding UNIMPLEMENTED with the reason, never a pass.

mod pace;
mod ports;
mod worker;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::Api;
use super::http::{self, Base, HttpError, Request, excerpt};
use super::process::{Command, Exit, Process};
use super::{Finding, Verdict};
pub use ports::{ClosedPort, free_port};
pub use worker::{SILENCE, Worker, unique};

/// How long a worker may take from its start until it answers `/health`.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a URL may take to show that a worker is there.
pub const REACHED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Our own worker: `llorch` with the word `llorch-cpud`, or the worker's own binary.
    BuiltIn { binary: PathBuf },
    /// Any command. The contract's flags are added where it does not bring them; `{port}` and the like are filled in.
    Spawn { command: Vec<String> },
    /// A worker that runs already, and the token that it wants, if it wants one.
    Url { base: Base, token: Option<String> },
}

/// How a worker is to be started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    pub model: Option<PathBuf>,
    pub worker_id: Option<String>,
    /// A port that the case chooses; 0 asks the worker to choose and to say which. Otherwise the harness finds one.
    pub port: Option<u16>,
    pub callback_url: Option<String>,
    pub checkpoint_dir: Option<PathBuf>,
    /// Further flags, as they are.
    pub flags: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Nothing but `flags`: for cases about the command line itself.
    pub bare: bool,
    /// The built-in stub: how many tokens, and how long each takes.
    pub stub: Option<StubPace>,
    /// In which words it is asked once it runs.
    pub api: Api,
}

/// `--stub-tokens` and `--stub-delay-ms`; the stub's two tokens at once where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StubPace {
    pub tokens: Option<u32>,
    pub delay: Duration,
}

impl Start {
    pub fn model(path: impl Into<PathBuf>) -> Start {
        Start { model: Some(path.into()), ..Start::default() }
    }

    /// The built-in worker's stub backend.
    pub fn stub() -> Start {
        Start { stub: Some(StubPace::default()), ..Start::default() }
    }

    /// The stub, paced: so that streaming, queueing, cancel and drain show without a model.
    pub fn paced_stub(tokens: u32, delay: Duration) -> Start {
        Start { stub: Some(StubPace { tokens: Some(tokens), delay }), ..Start::default() }
    }

    /// These flags and no others.
    pub fn bare<S: Into<String>>(flags: impl IntoIterator<Item = S>) -> Start {
        Start { bare: true, ..Start::default() }.flags(flags)
    }

    #[must_use]
    pub fn flags<S: Into<String>>(mut self, flags: impl IntoIterator<Item = S>) -> Start {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Start {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Wants `Authorization: Bearer` on everything that does something.
    #[must_use]
    pub fn token(self, token: &str) -> Start {
        self.variable("LLORCH_API_TOKEN", token)
    }

    #[must_use]
    pub fn callback(mut self, url: impl Into<String>) -> Start {
        self.callback_url = Some(url.into());
        self
    }

    #[must_use]
    pub fn worker_id(mut self, id: impl Into<String>) -> Start {
        self.worker_id = Some(id.into());
        self
    }

    #[must_use]
    pub fn port(mut self, port: u16) -> Start {
        self.port = Some(port);
        self
    }

    /// What the worker sends as the bearer of its ready callback.
    #[must_use]
    pub fn spawn_token(self, token: &str) -> Start {
        self.variable("LLORCH_SPAWN_TOKEN", token)
    }

    fn api_token(&self) -> Option<String> {
        self.environment.iter().rev().find(|(name, _)| name == "LLORCH_API_TOKEN").map(|(_, token)| token.clone())
    }
}

/// Why there is no worker to ask.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StartError {
    /// This kind of target can't be started like that.
    #[error("{}", .0.found)]
    Unsupported(Box<Finding>),
    #[error("{command} could not be started: {reason}")]
    NotStarted { command: String, reason: String },
    #[error("{command} ended before it was ready ({exit}, after {after:.1?})")]
    Exited { command: String, exit: Exit, after: Duration, log: String },
    #[error("{command} was not ready within {waited:.0?}: {last}")]
    NotReady { command: String, waited: Duration, last: String, log: String },
    #[error("no worker at {base}: {reason}")]
    NoWorker { base: String, reason: String },
}

impl From<StartError> for Finding {
    fn from(error: StartError) -> Finding {
        let found = error.to_string();
        let finding = Finding::fail("a worker that is ready", found);
        match error {
            StartError::Unsupported(finding) => *finding,
            StartError::Exited { log, .. } | StartError::NotReady { log, .. } => {
                finding.with("last lines of the log", log)
            }
            StartError::NotStarted { .. } => Finding { verdict: Verdict::Error, ..finding },
            StartError::NoWorker { .. } => finding,
        }
    }
}

impl Target {
    pub fn built_in(binary: impl Into<PathBuf>) -> Target {
        Target::BuiltIn { binary: binary.into() }
    }

    /// A command as a shell would split it.
    pub fn spawn(command: &str) -> Result<Target, StartError> {
        let problem = |reason: &str| StartError::NotStarted { command: command.into(), reason: reason.into() };
        let words = shlex::split(command).ok_or_else(|| problem("a quote in it is not closed"))?;
        if words.is_empty() {
            return Err(problem("it is empty"));
        }
        Ok(Target::Spawn { command: words })
    }

    pub fn url(url: &str) -> Result<Target, HttpError> {
        Ok(Target::Url { base: Base::parse(url)?, token: None })
    }

    /// One short phrase for reports.
    pub fn describe(&self) -> String {
        match self {
            Target::BuiltIn { .. } => "built-in worker".into(),
            Target::Spawn { command } => format!("spawned: {}", Command::new(&command[0]).arguments(&command[1..])),
            Target::Url { base, .. } => base.to_string(),
        }
    }

    /// Whether each scenario may have a worker of its own.
    pub fn starts_fresh(&self) -> bool {
        !matches!(self, Target::Url { .. })
    }

    /// Starts a worker and waits until it is ready.
    pub fn start(&self, start: &Start) -> Result<Worker, StartError> {
        if let Target::Url { base, token } = self {
            if *start != (Start { api: start.api, ..Start::default() }) {
                return Err(self.unsupported("a worker that is started for this case"));
            }
            let base = base.clone().speaking(start.api);
            wait_until_ready(&base, None, REACHED_WITHIN)?;
            return Ok(Worker::reached(base, token.clone()));
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let outcome = self.start_once(start);
            match &outcome {
                // Another process was given the port between our look and the worker's bind.
                Err(StartError::Exited { log, .. }) if start.port.is_none() && attempts < 4 && port_was_taken(log) => {}
                _ => return outcome,
            }
        }
    }

    fn start_once(&self, start: &Start) -> Result<Worker, StartError> {
        let (process, plan) = self.launch_planned(start)?;
        let port = match plan.port {
            0 => announced_port(&process, READY_WITHIN)?,
            port => port,
        };
        let base = Base::local(port).speaking(start.api);
        let health = wait_until_ready(&base, Some(&process), READY_WITHIN)?;
        // Another's id: either ours misreports it, which is for a case to judge, or another worker has the port, and ours
        // is about to end for want of it.
        let named = health.get("worker_id").and_then(Value::as_str);
        if named.is_some_and(|named| named != plan.worker_id) {
            let _ = process.wait_for_exit(Duration::from_secs(1));
            if let Some((exit, after)) = process.exit() {
                return Err(exited(&process, exit, after));
            }
        }
        Ok(Worker::started(base, process, start, plan.worker_id))
    }

    /// Starts the process and waits for nothing: for cases about starting itself.
    pub fn launch(&self, start: &Start) -> Result<Process, Finding> {
        Ok(self.launch_planned(start)?.0)
    }

    fn launch_planned(&self, start: &Start) -> Result<(Process, Plan), StartError> {
        let (command, plan) = self.plan(start)?;
        let shown = command.to_string();
        let process = Process::spawn(command)
            .map_err(|error| StartError::NotStarted { command: shown, reason: error.to_string() })?;
        Ok((process, plan))
    }

    fn unsupported(&self, wanted: &str) -> StartError {
        let reason = match self {
            Target::Url { base, .. } => {
                format!("{base} was given as a URL: the harness can't start, stop or configure it")
            }
            Target::Spawn { .. } => "only the built-in worker has the paced stub backend".into(),
            Target::BuiltIn { .. } => "the built-in worker can't be started like that".into(),
        };
        StartError::Unsupported(Box::new(Finding::unimplemented(wanted, reason)))
    }

    /// The command line that `start` means for this target.
    fn plan(&self, start: &Start) -> Result<(Command, Plan), StartError> {
        let (program, mut words) = match self {
            Target::BuiltIn { binary } if binary.file_stem() == Some(OsStr::new("llorch")) => {
                (binary.clone(), vec!["llorch-cpud".to_string()])
            }
            Target::BuiltIn { binary } => (binary.clone(), Vec::new()),
            Target::Spawn { command } => (PathBuf::from(&command[0]), command[1..].to_vec()),
            Target::Url { .. } => return Err(self.unsupported("a process that the harness starts")),
        };
        words.extend(start.flags.iter().cloned());
        let mut values = Values::new(start, &words);
        if !start.bare {
            if let Some(pace) = start.stub {
                if !matches!(self, Target::BuiltIn { .. }) {
                    return Err(self.unsupported("a stub backend with a pace of the case's choosing"));
                }
                words.extend(["--backend".into(), "stub".into()]);
                if let Some(tokens) = pace.tokens {
                    words.extend(["--stub-tokens".into(), tokens.to_string()]);
                    words.extend(["--stub-delay-ms".into(), pace.delay.as_millis().to_string()]);
                }
            }
            values.fill(&mut words);
        }
        let mut command = Command::new(program).arguments(words);
        command.environment = start.environment.clone();
        Ok((command, Plan { port: values.port, worker_id: values.worker_id }))
    }
}

/// What the harness must know of a command line that it has made.
#[derive(Debug)]
struct Plan {
    /// 0: the worker chooses and says so in its log.
    port: u16,
    worker_id: String,
}

/// The values of the contract's flags for one start.
struct Values {
    port: u16,
    worker_id: String,
    /// Flag, placeholder, value.
    flags: Vec<(&'static str, &'static str, String)>,
}

impl Values {
    fn new(start: &Start, words: &[String]) -> Values {
        let given = |flag| flag_value(words, flag).filter(|value| !value.starts_with('{'));
        let port = match given("--port").and_then(|value| value.parse().ok()) {
            Some(port) => port,
            // A bare command line says nothing of a port: the log has to.
            None if start.bare => 0,
            None => start.port.unwrap_or_else(free_port),
        };
        let worker_id = match given("--worker-id") {
            Some(id) => id.to_string(),
            None => start.worker_id.clone().unwrap_or_else(|| unique("worker")),
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let optional = [
            ("--model", "{model}", path(&start.model)),
            ("--callback-url", "{callback_url}", start.callback_url.clone()),
            ("--checkpoint-dir", "{checkpoint_dir}", path(&start.checkpoint_dir)),
        ];
        let mut flags = vec![("--worker-id", "{worker_id}", worker_id.clone()), ("--port", "{port}", port.to_string())];
        if !start.api.is_native() {
            flags.remove(0); // engines have no names
        }
        flags.extend(optional.into_iter().filter_map(|(flag, hole, value)| Some((flag, hole, value?))));
        Values { port, worker_id, flags }
    }

    /// Fills the placeholders, and adds each flag that the command has neither as a flag nor as a placeholder.
    fn fill(&mut self, words: &mut Vec<String>) {
        for (flag, hole, value) in &self.flags {
            let mut brought =
                flag_value(words, flag).is_some() || (*flag == "--model" && flag_value(words, "-m").is_some());
            for word in words.iter_mut().filter(|word| word.contains(hole)) {
                *word = word.replace(hole, value);
                brought = true;
            }
            if !brought {
                words.extend([flag.to_string(), value.clone()]);
            }
        }
    }
}

/// The value of `--flag VALUE` or `--flag=VALUE`.
pub(super) fn flag_value<'a>(words: &'a [String], flag: &str) -> Option<&'a str> {
    words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix(flag)? {
        "" => words.get(at + 1).map(String::as_str),
        rest => rest.strip_prefix('='),
    })
}

fn port_was_taken(log: &str) -> bool {
    let log = log.to_ascii_lowercase();
    ["in use", "addrinuse", "eaddrinuse", "couldn't bind"].iter().any(|words| log.contains(words))
}

/// The port that a process started on port 0 says it has: the first `port` above 0 in a JSON line of its log.
pub(super) fn announced_port(process: &Process, deadline: Duration) -> Result<u16, StartError> {
    let port = |text: &str| {
        let line: Value = serde_json::from_str(text).ok()?;
        line.get("port")?.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
    };
    let said =
        process.wait_for_line("the port that the worker has chosen", deadline, |line| port(&line.text).is_some());
    match (said, process.exit()) {
        (Ok(line), _) => Ok(port(&line.text).unwrap_or_default()),
        (Err(_), Some((exit, after))) => Err(exited(process, exit, after)),
        (Err(finding), None) => Err(StartError::NotReady {
            command: process.command().to_string(),
            waited: deadline,
            last: finding.found,
            log: process.log_tail(20),
        }),
    }
}

fn exited(process: &Process, exit: Exit, after: Duration) -> StartError {
    // Its last words may still be in the pipe.
    let _ = process.wait_for_exit(Duration::from_secs(1));
    StartError::Exited { command: process.command().to_string(), exit, after, log: process.log_tail(20) }
}

/// What one look at `/health` showed.
enum Look {
    Ready(Value),
    /// It may still come: nothing listens yet, or it says that it loads.
    NotYet(String),
    /// Something is there, and it is no worker.
    Never(String),
}

fn look(base: &Base, patience: Duration) -> Look {
    let answer = http::send(base, &Request::get("/health"), patience);
    let answer = match answer {
        // OpenAI's API has no such place: a server that lists its models is there.
        Ok(answer) if base.api == Api::Openai && answer.status == 404 => {
            http::send(base, &Request::get("/v1/models"), patience)
        }
        answer => answer,
    };
    match answer {
        Ok(answer) => match serde_json::from_slice(&answer.body) {
            Ok(health @ Value::Object(_)) if answer.status == 200 => Look::Ready(health),
            // What loads may say so with this status, and with no other.
            _ if answer.status == 503 => Look::NotYet(format!("GET /health answers {}", answer.status)),
            _ => Look::Never(format!(
                "GET /health answers status {} with {}, where a worker answers 200 with JSON: {}",
                answer.status,
                if answer.content_type().is_empty() { "no content type".into() } else { answer.content_type() },
                excerpt(&answer.body, 80)
            )),
        },
        Err(error @ (HttpError::NotHttp { .. } | HttpError::BadUrl { .. } | HttpError::Unresolved { .. })) => {
            Look::Never(error.to_string())
        }
        Err(error) => Look::NotYet(error.to_string()),
    }
}

/// Looks at `/health` until it answers as a worker does. A process that ends meanwhile ends the waiting.
fn wait_until_ready(base: &Base, process: Option<&Process>, deadline: Duration) -> Result<Value, StartError> {
    let began = Instant::now();
    let no_worker = |reason| StartError::NoWorker { base: base.to_string(), reason };
    loop {
        let left = deadline.saturating_sub(began.elapsed());
        let patience = if process.is_some() { left.min(Duration::from_secs(5)) } else { left };
        let outcome = look(base, patience.max(Duration::from_millis(1)));
        // Before the answer counts: it may be another process's, if ours found its port taken.
        if let Some((process, (exit, after))) = process.and_then(|process| Some((process, process.exit()?))) {
            return Err(exited(process, exit, after));
        }
        let last = match outcome {
            Look::Ready(health) => return Ok(health),
            Look::Never(reason) => return Err(no_worker(reason)),
            Look::NotYet(reason) => reason,
        };
        match process {
            // A URL is asked once more only while it says that it loads: nobody starts it for us.
            None if began.elapsed() >= deadline || !last.starts_with("GET /health") => return Err(no_worker(last)),
            Some(process) if began.elapsed() >= deadline => {
                let command = process.command().to_string();
                return Err(StartError::NotReady { command, waited: deadline, last, log: process.log_tail(20) });
            }
            // The condition waited for between two looks is the process's end.
            Some(process) => drop(process.wait_for_exit(BETWEEN_LOOKS)),
            None => std::thread::park_timeout(BETWEEN_LOOKS),
        }
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
