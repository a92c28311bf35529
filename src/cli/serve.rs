//! `llorch serve`: an orchestrator, a pool manager and a worker on this machine, in one command.
//!
//! The daemons are this binary under their own names, in process groups of their own; they end with this command,
//! however it ends. What they write goes to a folder that goes too, unless `--keep` names one.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::harness::selection::ModelFormat;
use crate::harness::tiny_model;
use crate::http::shutdown::Shutdown;
use crate::pool::children::{Child, Command, Output};

const READY_PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);
const REQUEST_PATIENCE: Duration = Duration::from_secs(3);
/// A daemon that drains lets its running job end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);
/// Given to the daemons: without them a guarded machine would be open.
const PASSED_ON: [&str; 2] = ["LLORCH_API_TOKEN", "LLORCH_NODE_TOKEN"];
/// Of a log, in an error.
const TAIL_LINES: usize = 20;

#[derive(Debug, clap::Args)]
pub struct Flags {
    /// The orchestrator's port on loopback; 0 chooses a free one
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    port: u16,
    /// A model of your own instead of the embedded one: a .gguf or .safetensors file, or a folder
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// What runs it: cpu, llamacpp, or another backend that is installed
    #[arg(long, default_value = "cpu", value_name = "NAME")]
    backend: String,
    /// Keep state and logs in this folder; without it, they go when the command ends
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub fn main(flags: &Flags) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("failed to start the runtime: {error}")),
    };
    match runtime.block_on(serve(flags)) {
        Ok(code) => code,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("llorch serve: {message}");
    ExitCode::FAILURE
}

/// Where everything is written. Removed at the end where nobody named it.
enum Place {
    Kept {
        path: PathBuf,
        /// Held: two of these commands in one folder would write over each other.
        _lock: File,
    },
    Scratch(tempfile::TempDir),
}

impl Drop for Place {
    /// What was killed just now may be in the middle of writing a last file.
    fn drop(&mut self) {
        let Place::Scratch(folder) = self else { return };
        let until = Instant::now() + REMOVE_PATIENCE;
        while std::fs::remove_dir_all(folder.path()).is_err() && folder.path().exists() && Instant::now() < until {
            std::thread::park_timeout(LOOK);
        }
    }
}

impl Place {
    fn open(keep: Option<&Path>) -> Result<Self, String> {
        let Some(folder) = keep else {
            let folder = tempfile::Builder::new().prefix("llorch-serve-").tempdir();
            return folder.map(Place::Scratch).map_err(|error| format!("failed to make a folder: {error}"));
        };
        let refuse = |error: std::io::Error| format!("the folder {} can't be used: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(refuse)?;
        let folder = std::path::absolute(folder).map_err(refuse)?;
        let lock = File::create(folder.join("serve.lock")).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => Ok(Place::Kept { path: folder, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(format!("another llorch serve uses {}; give each its own --keep", folder.display()))
            }
            Err(TryLockError::Error(error)) => Err(refuse(error)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Place::Kept { path, .. } => path,
            Place::Scratch(folder) => folder.path(),
        }
    }
}

/// Until a signal, or until a daemon ends. At a second signal what was begun is dropped, which ends it.
async fn serve(flags: &Flags) -> Result<ExitCode, String> {
    let (shutdown, at_once) = (Shutdown::default(), Arc::new(Notify::new()));
    let second = at_once.clone();
    shutdown
        .on_signals(move || second.notify_one())
        .map_err(|error| format!("failed to listen for signals: {error}"))?;
    let place = Place::open(flags.keep.as_deref())?;
    tokio::select! {
        outcome = live(flags, &place, &shutdown) => outcome.map(|()| ExitCode::SUCCESS),
        () = at_once.notified() => Ok(ExitCode::from(130)),
    }
}

async fn live(flags: &Flags, place: &Place, shutdown: &Shutdown) -> Result<(), String> {
    let (orchestrator, manager) = tokio::select! {
        started = start(flags, place.path()) => started?,
        // While it starts: dropping what was begun ends it.
        () = shutdown.asked() => return Ok(()),
    };
    tokio::select! {
        () = shutdown.asked() => {}
        exit = orchestrator.child.ended() => return Err(orchestrator.died(&exit.to_string())),
        exit = manager.child.ended() => return Err(manager.died(&exit.to_string())),
    }
    eprintln!("llorch serve: stopping");
    // The node first: it signs off, and its job may end.
    manager.child.stop(STOP_PATIENCE).await;
    orchestrator.child.stop(STOP_PATIENCE).await;
    Ok(())
}

/// From nothing to a pool that takes tasks: the orchestrator and the pool manager.
async fn start(flags: &Flags, place: &Path) -> Result<(Daemon, Daemon), String> {
    let model = match &flags.model {
        Some(path) => std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => {
            let format = if flags.backend == "llamacpp" { ModelFormat::Gguf } else { ModelFormat::Safetensors };
            tiny_model::write(place, format).map_err(|error| format!("failed to write the embedded model: {error}"))?
        }
    };
    if !model.exists() {
        return Err(format!("there is no {}", model.display()));
    }
    let model_ref = format!("file:{}", model.display());
    let front = address(flags.port)?;
    let node = address(0)?;
    let configuration = json!({"workers": [{"model_ref": model_ref, "backend": flags.backend, "supervise": true}]});
    // JSON is YAML too.
    let file = place.join("pool-managerd.yaml");
    std::fs::write(&file, configuration.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;

    let orchestrator = Daemon::start(
        place,
        "orchestratord",
        &[],
        &[("ORCHD_ADDR", front.to_string()), ("ORCHD_STATE_DIR", place.join("state").display().to_string())],
    )?;
    let manager = Daemon::start(
        place,
        "pool-managerd",
        &["--config".to_owned(), file.display().to_string()],
        &[
            ("POOL_MANAGERD_ADDR", node.to_string()),
            ("POOL_MANAGERD_RUNTIME_DIR", place.join("engines").display().to_string()),
            ("POOL_MANAGERD_NODE_ID", "local".to_owned()),
            ("ORCHESTRATORD_URL", format!("http://{front}")),
        ],
    )?;
    let client = crate::http::client().no_proxy().build().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + READY_PATIENCE;
    wait_for(&client, &orchestrator, &format!("http://{front}/health"), deadline, |_| true).await?;
    let pool = format!("http://{front}/v2/pools/pool-0/health");
    tokio::select! {
        ready = wait_for(&client, &manager, &pool, deadline, is_ready) => ready?,
        trouble = manager.trouble() => return Err(trouble),
        exit = orchestrator.child.ended() => return Err(orchestrator.died(&exit.to_string())),
    }
    announce(front, node, &model_ref, &flags.backend, place);
    Ok((orchestrator, manager))
}

/// The port asked for, or a free one. Between this look and the daemon's bind somebody else may take it: the daemon then
/// says so and ends.
fn address(port: u16) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|error| format!("port {port} can't be had: {error}; choose another with --port"))?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// A daemon of this command.
struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Where this life's log begins: a kept folder has those of earlier ones.
    log_begins: usize,
}

impl Daemon {
    fn start(
        place: &Path,
        name: &'static str,
        arguments: &[String],
        environment: &[(&str, String)],
    ) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("failed to find this program: {error}"))?;
        let log = place.join(format!("{name}.log"));
        let log_begins = std::fs::metadata(&log).map_or(0, |log| log.len() as usize);
        let mut words = vec![name.to_owned()];
        words.extend(arguments.iter().cloned());
        let passed = PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let given = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let child = Child::spawn(Command {
            program,
            arguments: words,
            environment: passed.chain(given).collect(),
            directory: Some(place.to_owned()),
            output: Output::Log(log.clone()),
        })
        .map_err(|error| format!("failed to start {name}: {error}"))?;
        Ok(Self { name, child, log, log_begins })
    }

    fn died(&self, how: &str) -> String {
        format!("{} ended ({how}); the end of its log:\n{}", self.name, tail(&self.log, self.log_begins))
    }

    /// Resolves when a pool manager says that its worker can't start, with the reason. At the first try: whoever waits for
    /// it to be ready wants to mend the command.
    async fn trouble(&self) -> String {
        loop {
            let text = read(&self.log, self.log_begins);
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            for line in lines {
                let told = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                match line["action"].as_str() {
                    Some("worker_refused") => return format!("the worker can't start: {}", told("reason")),
                    Some("worker_failed") => {
                        let log = self.log.with_file_name("engines/logs").join(told("target")).with_extension("log");
                        return format!(
                            "the worker did not start: {}; the end of its log:\n{}",
                            told("reason"),
                            tail(&log, 0)
                        );
                    }
                    _ => {}
                }
            }
            sleep(LOOK).await;
        }
    }
}

fn read(log: &Path, from: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
}

fn tail(log: &Path, from: usize) -> String {
    let text = read(log, from);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Waits until a route answers as it should, for as long as the daemon lives and the deadline allows.
async fn wait_for(
    client: &Client,
    daemon: &Daemon,
    url: &str,
    deadline: Instant,
    good: impl Fn(&Value) -> bool,
) -> Result<(), String> {
    let asking = async {
        loop {
            let mut request = client.get(url).timeout(REQUEST_PATIENCE);
            if let Some(token) = first_token() {
                request = request.bearer_auth(token);
            }
            if let Ok(answer) = request.send().await
                && answer.status().is_success()
                && answer.json().await.is_ok_and(|body: Value| good(&body))
            {
                return;
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = asking => Ok(()),
        exit = daemon.child.ended() => Err(daemon.died(&exit.to_string())),
        () = tokio::time::sleep_until(deadline.into()) => {
            Err(daemon.died(&format!("was not ready within {} s", READY_PATIENCE.as_secs())))
        }
    }
}

/// What a client shows: the first of the tokens.
fn first_token() -> Option<String> {
    let tokens = std::env::var("LLORCH_API_TOKEN").ok()?;
    Some(tokens.split(',').next()?.trim().to_owned()).filter(|token| !token.is_empty())
}

fn is_ready(pool: &Value) -> bool {
    pool["ready"] == true
}

fn announce(front: SocketAddr, node: SocketAddr, model_ref: &str, backend: &str, place: &Path) {
    let engine = if backend == "llamacpp" { "llamacpp" } else { "llorch" };
    let task = json!({
        "task_id": uuid::Uuid::new_v4(), "session_id": uuid::Uuid::new_v4(), "workload": "completion",
        "model_ref": model_ref, "engine": engine, "ctx": 128, "priority": "interactive",
        "prompt": tiny_model::REQUEST, "max_tokens": 64, "deadline_ms": 30000,
    });
    let bearer = if first_token().is_some() { " -H \"Authorization: Bearer $LLORCH_API_TOKEN\"" } else { "" };
    let text = format!(
        "ready: orchestrator http://{front} · pool manager http://{node} · model {model_ref}\n\
         logs: {}\n\n\
         Try it (Ctrl-C here stops everything):\n\
         \x20 curl -s http://{front}/v2/tasks -H 'Content-Type: application/json'{bearer} \\\n\
         \x20   -d {}\n\
         \x20 curl -N http://{front}/v2/tasks/{}/events{bearer}\n",
        place.display(),
        crate::pool::local::spawn::shell_word(&task.to_string()),
        task["task_id"].as_str().unwrap_or_default(),
    );
    let mut out = std::io::stdout();
    // A reader that went away is no reason to stop serving.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
