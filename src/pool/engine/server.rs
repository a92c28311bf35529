//! One `llama-server`: started on a model, watched until it is well, described in a handoff file, stopped.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::{Instant, sleep};

use super::settings::{EngineSettings, Gpu};
use crate::pool::adapter::llamacpp::{EngineError, LlamaCpp};
use crate::pool::children::{Child, Command, Output};
use crate::pool::handoff::{Handoff, Model};
use crate::pool::preparation::Progress;

const LOOK: Duration = Duration::from_millis(500);
pub const READY_PATIENCE: Duration = Duration::from_secs(120);
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// A port that was free may be taken before the server binds it.
const PORTS: u32 = 3;
/// Of the log, in an error.
const TAIL_BYTES: u64 = 4096;

/// What to start, and under which name.
#[derive(Clone, Debug)]
pub struct Plan {
    pub binary: PathBuf,
    pub model_ref: String,
    pub model_path: PathBuf,
    pub pool_id: String,
    pub replica_id: String,
    pub runtime_dir: PathBuf,
    pub log: PathBuf,
    pub settings: EngineSettings,
    pub gpu_id: Option<u32>,
    pub provisioning_mode: &'static str,
}

/// A server that is well, and bound by its handoff file.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    pub engine: Arc<LlamaCpp>,
    pub handoff: Handoff,
    traces: Traces,
}

/// What a start leaves on disk; taken back by dropping it. The log stays.
#[derive(Debug)]
struct Traces {
    paths: Vec<PathBuf>,
}

impl Drop for Traces {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = std::fs::remove_file(path); // what was never written is gone already
        }
    }
}

impl Plan {
    pub fn handoff_path(&self) -> PathBuf {
        self.runtime_dir.join(format!("{}-{}.json", self.pool_id, self.replica_id))
    }

    fn key_path(&self) -> PathBuf {
        self.runtime_dir.join(format!("{}-{}.key", self.pool_id, self.replica_id))
    }

    /// The server's command line.
    pub fn arguments(&self, port: u16, key_file: &Path) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "--model",
            &self.model_path.display().to_string(),
            "--alias",
            &self.model_ref,
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--parallel",
            &self.settings.slots().to_string(),
            "--no-webui",
            "--metrics",
            "--api-key-file",
            &key_file.display().to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        if self.settings.gpu != Gpu::None {
            arguments.extend(["--n-gpu-layers", "999"].map(str::to_owned));
        }
        arguments.extend(self.settings.flags.iter().cloned());
        arguments
    }
}

/// Starts the server and waits until it is well. What fails is cleaned up; the refusal carries the end of the log.
pub async fn start(plan: &Plan, progress: &Progress) -> Result<Running, String> {
    let mut failure = String::new();
    for _ in 0..PORTS {
        match start_once(plan, progress).await {
            Ok(running) => return Ok(running),
            Err(Failed::PortTaken(message)) => failure = message,
            Err(Failed::Other(message)) => return Err(message),
        }
    }
    Err(failure)
}

enum Failed {
    PortTaken(String),
    Other(String),
}

async fn start_once(plan: &Plan, progress: &Progress) -> Result<Running, Failed> {
    let other = |message: String| Failed::Other(message);
    std::fs::create_dir_all(&plan.runtime_dir)
        .map_err(|error| other(format!("{} can't be made: {error}", plan.runtime_dir.display())))?;
    let traces = Traces { paths: vec![plan.handoff_path(), plan.key_path()] };
    let key = crate::pool::workers::life::token();
    let key_file = std::path::absolute(plan.key_path()).map_err(|error| other(error.to_string()))?;
    write_secret(&key_file, &key)
        .map_err(|error| other(format!("{} can't be written: {error}", key_file.display())))?;
    let port = free_port().map_err(|error| other(format!("no port is free: {error}")))?;
    progress.phase("start", format!("Starting llama-server on port {port}"));
    let log_from = std::fs::metadata(&plan.log).map_or(0, |data| data.len());
    let environment = plan.gpu_id.map(|gpu| ("CUDA_VISIBLE_DEVICES".to_owned(), gpu.to_string()));
    let child = Child::spawn(Command {
        program: plan.binary.clone(),
        arguments: plan.arguments(port, &key_file),
        environment: environment.into_iter().collect(),
        directory: None,
        output: Output::Log(plan.log.clone()),
    })
    .map_err(|error| other(format!("{} can't be started: {error}", plan.binary.display())))?;
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).map_err(|error| other(error.to_string()))?;
    let deadline = Instant::now() + READY_PATIENCE;
    let engine = loop {
        let met = tokio::select! {
            met = LlamaCpp::connect(url.clone(), Some(key.clone())) => met,
            exit = child.ended() => {
                let tail = tail(&plan.log, log_from);
                let message = format!("llama-server ended at its start ({exit}); {}: {tail}", plan.log.display());
                return Err(if tail.contains("bind") { Failed::PortTaken(message) } else { Failed::Other(message) });
            }
        };
        match met {
            Ok(engine) => break engine,
            // Somebody else got the port: the server does not have it.
            Err(EngineError::Unauthorized) => {
                child.stop(STOP_PATIENCE).await;
                return Err(Failed::PortTaken(format!("another server answers on port {port}")));
            }
            Err(error) if Instant::now() >= deadline => {
                child.stop(STOP_PATIENCE).await;
                let message = format!("llama-server was not well within {} s: {error}", READY_PATIENCE.as_secs());
                return Err(Failed::Other(message));
            }
            Err(_) => sleep(LOOK).await,
        }
    };
    let properties = engine.properties();
    let handoff = Handoff {
        pool_id: plan.pool_id.clone(),
        replica_id: plan.replica_id.clone(),
        engine: "llamacpp".to_owned(),
        engine_version: properties.version.clone(),
        provisioning_mode: plan.provisioning_mode.to_owned(),
        url: url.as_str().trim_end_matches('/').to_owned(),
        model: Model { id: plan.model_ref.clone(), path: Some(plan.model_path.clone()) },
        device_mask: plan.gpu_id.map(|gpu| gpu.to_string()),
        slots_total: Some(properties.slots),
        slots_free: Some(properties.slots),
        pid: Some(child.id()),
        flags: plan.settings.flags.clone(),
        api_key_file: Some(key_file),
    };
    handoff.write(&plan.handoff_path()).map_err(|error| {
        other(format!("the handoff file {} can't be written: {error}", plan.handoff_path().display()))
    })?;
    Ok(Running { child, engine: Arc::new(engine), handoff, traces })
}

impl Running {
    /// TERM, 5 s, KILL; and nothing of it stays but the log.
    pub async fn stop(self) {
        let Self { child, traces, .. } = self;
        drop(traces); // first: nobody is to be sent to a server that ends
        child.stop(STOP_PATIENCE).await;
    }
}

/// A file that only the owner reads, from its first byte on.
fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, secret.as_bytes())
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The end of a log, from where this start began to write.
pub fn tail(log: &Path, from: u64) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}
