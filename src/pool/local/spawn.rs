//! Starts a worker: checks, in order, that the model is in the catalog, downloaded, fit for the backend and exactly one;
//! that nobody has the place or the port; then a process of its own session, and its file.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::files::{self, FilesError};
use super::info::{WorkerInfo, Workers, default_drain, worker_id};
use super::list::{self, Seen};
use super::logs;
use super::port;
use super::process::ProcessId;
use super::program::{MissingProgram, Program, Programs};
use crate::pool::catalog::{CatalogError, Model, Store};
use crate::pool::durable::LockError;

/// The backends that workers of this version exist for.
pub const BACKENDS: [&str; 3] = ["cpu", "cuda", "metal"];
const FIRST_PORT: u16 = 8000;
/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(25);
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);
/// A worker with a wrong flag ends within milliseconds: nobody is told that it was started before.
const FIRST_STEPS: Duration = Duration::from_millis(400);
/// How much of its log a worker that died at start leaves in the error.
const TAIL: usize = 20;

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Order {
    pub backend: String,
    pub model_id: String,
    pub gpu: u16,
    /// 8000 and the device's number where nothing is said.
    pub port: Option<u16>,
    /// Further flags of the worker, as they are.
    pub flags: Vec<String>,
    /// Until its `/health` says that it is ready; without it, only that it did not end at once.
    pub wait: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the model {id:?} is not downloaded. Run: llorch-pool models download {}", shell_word(id))]
    NotDownloaded { id: String },
    #[error("the model {id:?} does not run on {backend:?}; it runs on: {}", supported.join(", "))]
    NotForBackend { id: String, backend: String, supported: Vec<String> },
    #[error("there is no worker for the backend {backend:?}; there are workers for: {}", BACKENDS.join(", "))]
    UnknownBackend { backend: String },
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Program(#[from] MissingProgram),
    #[error("{id} runs already: {who}. Stop it first: llorch-pool worker stop {id}")]
    Taken { id: String, who: String },
    #[error("the port {port} is taken by {who}; choose another with --port")]
    PortTaken { port: u16, who: String },
    #[error("{name} can't be started ({}): {source}", path.display())]
    NotStarted { name: &'static str, path: PathBuf, source: io::Error },
    #[error("{id} ended at its start ({exit}); the end of {}:\n{tail}", log.display())]
    Died { id: String, exit: String, log: PathBuf, tail: String },
    #[error("{id} is not ready after {} s; it was stopped; the end of {}:\n{tail}", waited.as_secs(), log.display())]
    NotReady { id: String, waited: Duration, log: PathBuf, tail: String },
    #[error("the files of {id} can't be written: {source}")]
    Io { id: String, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// A word as a shell wants it.
pub fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Starts the worker and writes its file. `pool` is the folder in which catalog and runtime files lie.
pub fn spawn(pool: &Path, order: &Order, programs: &Programs) -> Result<WorkerInfo, SpawnError> {
    let model = Store::new(pool).read()?.model(&order.model_id)?.clone();
    check(&model, &order.backend)?;
    let found = files::find(&pool.join(&model.path), model.format)?;
    let id = worker_id(&order.backend, order.gpu);
    let workers = Workers::new(pool);
    let mut started = {
        // Two that want the same place come here one after the other, and the second sees the first.
        let _lock = workers.lock(&id)?;
        is_vacant(&workers, &id, order)?;
        let program = programs.find(program_for(&order.backend, &model.architecture))?;
        start(&workers, &id, order, &model, &found.given, &program)?
    };
    let outcome = started.settle(order.wait);
    if outcome.is_err() {
        started.undo(&workers);
    }
    outcome.map(|()| started.info)
}

fn check(model: &Model, backend: &str) -> Result<(), SpawnError> {
    let id = model.id.clone();
    if !model.downloaded {
        return Err(SpawnError::NotDownloaded { id });
    }
    if !model.backends.iter().any(|own| own == backend) {
        let supported = model.backends.clone();
        return Err(SpawnError::NotForBackend { id, backend: backend.to_owned(), supported });
    }
    if !BACKENDS.contains(&backend) {
        return Err(SpawnError::UnknownBackend { backend: backend.to_owned() });
    }
    Ok(())
}

/// GPT-2 on the CPU is our own kernels'; everything else is candle's.
fn program_for(backend: &str, architecture: &str) -> &'static str {
    if backend == "cpu" && architecture == "gpt2" { "llorch-cpud" } else { "llorch-candled" }
}

fn port_of(order: &Order) -> u16 {
    order.port.unwrap_or_else(|| FIRST_PORT.saturating_add(order.gpu))
}

fn describe(seen: &Seen) -> String {
    let process = seen.process.as_ref().map_or_else(|| "pid unknown".to_owned(), ToString::to_string);
    match &seen.info {
        Some(info) => format!("{} (model {:?}, {process}, port {})", seen.worker_id, info.model_id, info.port),
        None => format!("{} ({process}; its file is missing)", seen.worker_id),
    }
}

fn is_vacant(workers: &Workers, id: &str, order: &Order) -> Result<(), SpawnError> {
    let failed = |source| SpawnError::Io { id: id.to_owned(), source };
    let others = list::all(workers).map_err(failed)?;
    let mut alive = others.iter().filter(|seen| seen.state.is_alive());
    if let Some(same) = alive.clone().find(|seen| seen.worker_id == id) {
        return Err(SpawnError::Taken { id: id.to_owned(), who: describe(same) });
    }
    let port = port_of(order);
    // Also one that is loading and does not listen yet.
    if let Some(other) = alive.find(|seen| seen.info.as_ref().is_some_and(|info| info.port == port)) {
        return Err(SpawnError::PortTaken { port, who: describe(other) });
    }
    if !port::is_free(port) {
        return Err(SpawnError::PortTaken { port, who: port::holder(port) });
    }
    Ok(())
}

/// A worker that was just started, until it is known how that went.
struct Started {
    child: Child,
    info: WorkerInfo,
    log: PathBuf,
}

fn start(
    workers: &Workers,
    id: &str,
    order: &Order,
    model: &Model,
    given: &Path,
    program: &Program,
) -> Result<Started, SpawnError> {
    let failed = |source| SpawnError::Io { id: id.to_owned(), source };
    // The worker is told a path that holds wherever it is looked at from.
    let given = given.canonicalize().map_err(failed)?;
    let log = workers.log_path(id);
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // The log of the worker before this one is kept: it may say why there has to be a new one.
    if log.exists() {
        fs::rename(&log, log.with_extension("log.old")).map_err(failed)?;
    }
    let output = File::options().create_new(true).append(true).open(&log).map_err(failed)?;
    let port = port_of(order);
    let mut command = Command::new(&program.path);
    command.args(&program.words).arg("--worker-id").arg(id).arg("--model").arg(given);
    let pairs = [("--port", port.to_string()), ("--backend", order.backend.clone()), ("--gpu", order.gpu.to_string())];
    command.args(pairs.iter().flat_map(|(flag, value)| [*flag, value.as_str()])).args(&order.flags);
    command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
    detach(&mut command);
    let not_started = |source| SpawnError::NotStarted { name: program.name, path: program.path.clone(), source };
    let mut child = command.spawn().map_err(not_started)?;
    // Until it is waited for below, its number is its own, also when it has ended: then there is no start time, and no worker.
    let Some(process) = ProcessId::of(child.id()) else {
        let exit = child.wait().map_or_else(|problem| problem.to_string(), |status| status.to_string());
        return Err(SpawnError::Died { id: id.to_owned(), exit, tail: logs::tail_text(&log, TAIL), log });
    };
    let info = WorkerInfo {
        worker_id: id.to_owned(),
        process,
        started_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        backend: order.backend.clone(),
        gpu: order.gpu,
        model_id: model.id.clone(),
        port,
        drain_sec: drain_of(&order.flags),
    };
    let mut started = Started { child, info, log };
    if let Err(source) = workers.write(&started.info) {
        started.undo(workers);
        return Err(failed(source));
    }
    Ok(started)
}

/// What the worker is told about its drain, by flag or variable.
fn drain_of(flags: &[String]) -> u64 {
    let by_flag = flags.iter().enumerate().find_map(|(at, flag)| match flag.strip_prefix("--drain-sec") {
        Some("") => flags.get(at + 1).cloned(),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    });
    let said = by_flag.or_else(|| std::env::var("LLORCH_DRAIN_SEC").ok());
    said.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(default_drain)
}

/// A session of its own: neither the terminal's hang-up nor its interrupt reaches the worker.
fn detach(command: &mut Command) {
    let leave = || nix::unistd::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec the closure makes one system call, which is safe there, and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(leave);
    }
}

impl Started {
    fn settle(&mut self, wait: Option<Duration>) -> Result<(), SpawnError> {
        let patience = wait.unwrap_or(FIRST_STEPS);
        let until = Instant::now() + patience;
        loop {
            let io = |source| SpawnError::Io { id: self.info.worker_id.clone(), source };
            if let Some(status) = self.child.try_wait().map_err(io)? {
                let (id, log) = (self.info.worker_id.clone(), self.log.clone());
                return Err(SpawnError::Died { id, exit: status.to_string(), tail: logs::tail_text(&log, TAIL), log });
            }
            if wait.is_some() && self.is_ready() {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(LOOK);
        }
        match wait {
            None => Ok(()),
            Some(waited) => {
                let (id, log) = (self.info.worker_id.clone(), self.log.clone());
                Err(SpawnError::NotReady { id, waited, tail: logs::tail_text(&log, TAIL), log })
            }
        }
    }

    /// Its own `/health`, by its id: another process may have taken the port before it.
    fn is_ready(&self) -> bool {
        health(self.info.port)
            .is_some_and(|health| health["worker_id"] == self.info.worker_id.as_str() && health["status"] == "healthy")
    }

    /// Nothing of it stays, its log aside.
    fn undo(&mut self, workers: &Workers) {
        // Already ended where it died by itself; both fail then, and nothing is to be done.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let id = &self.info.worker_id;
        let Ok(_lock) = workers.lock(id) else { return };
        // Only its own file: another may have been started here since it died.
        if matches!(workers.read(id), Ok(Some(super::info::Record::Readable(info))) if info.process == self.info.process)
        {
            let _ = workers.remove(id);
        }
    }
}

/// What a worker on this machine says about itself; none where it does not answer, or not in JSON.
pub fn health(port: u16) -> Option<serde_json::Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let client = crate::http::client().no_proxy().redirect(reqwest::redirect::Policy::none()).build().ok()?;
    runtime.block_on(async {
        let url = format!("http://127.0.0.1:{port}/health");
        let answer = client.get(url).timeout(HEALTH_PATIENCE).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    })
}
