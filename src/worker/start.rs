//! The life of a worker: load, bind, accept, look at its own health, report, serve, drain, end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::configuration::Configuration;
use super::events::Cause;
use super::metrics::Metrics;
use super::service::{Held, Service};
use super::shutdown::Shutdown;
use super::{callback, inference, server};
use crate::backend::{BackendKind, Encode, StartError, load};
use crate::http::connections;
use crate::http::failure::describe;
use crate::http::logs::Logs;

/// Connections that may be open; further ones wait in the system's backlog.
const CONNECTIONS: usize = 2048;
const SELF_CHECK_PATIENCE: Duration = Duration::from_secs(5);
/// A cancelled job ends within this, or the process ends without it: the contract's hard limit.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// How often a stop looks whether the last stream is written.
const STREAMS_LOOK: Duration = Duration::from_millis(5);

/// Runs a worker until it is told to stop. 0 after a graceful stop, 1 when it did not start, 130 at a second signal.
pub fn run(configuration: Configuration) -> ExitCode {
    let logs =
        match Logs::of_daemon(&[("worker_id", &configuration.worker_id), ("model_ref", &configuration.model_ref)]) {
            Ok(logs) => logs,
            Err(code) => return code,
        };
    let (model_ref, started) = (configuration.model_ref.clone(), Instant::now());
    let outcome = live(configuration, &logs, started);
    if let Err(error) = &outcome {
        error!(
            event = "error",
            code = error.code,
            model = model_ref,
            device = "cpu",
            required_bytes = error.required_bytes,
            available_bytes = error.available_bytes,
            "{}",
            error.message
        );
    }
    logs.flush();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn live(configuration: Configuration, logs: &Logs, started: Instant) -> Result<(), StartError> {
    // One thread serves, one checks long requests in the order of their arrival, one computes.
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().map_err(internal)?;
    let shutdown = Shutdown::default();
    let outcome = runtime.block_on(async {
        let at_once = logs.clone();
        shutdown
            .on_signals(move || {
                warn!(event = "shutdown", "Second signal: stopping at once");
                at_once.flush();
                std::process::exit(130);
            })
            .map_err(internal)?;
        start_and_serve(configuration, &shutdown, started).await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn start_and_serve(
    configuration: Configuration,
    shutdown: &Shutdown,
    started: Instant,
) -> Result<(), StartError> {
    info!(
        event = "startup",
        model = configuration.model_ref,
        port = configuration.port,
        version = env!("CARGO_PKG_VERSION"),
        "CPU worker starting"
    );
    // Made now, so that a folder that can't be is no surprise of the first job.
    let refuses_captures = configuration.backend.kind == BackendKind::Stub;
    if let Some(directory) = configuration.checkpoint_dir.as_ref().filter(|_| !refuses_captures) {
        std::fs::create_dir_all(directory).map_err(|error| {
            StartError::new("INTERNAL", format!("--checkpoint-dir {}: {error}", directory.display()))
        })?;
    }
    let loading = async {
        let inference = Inference::load(&configuration).map_err(internal)?;
        inference.loaded().await
    };
    let (loaded, inference) = tokio::select! {
        loaded = loading => loaded?,
        () = shutdown.asked() => {
            info!(event = "shutdown", "Stopped while loading");
            return Ok(());
        }
    };
    info!(
        event = "model_load_complete",
        memory_bytes = loaded.held.description.memory_bytes,
        "{}",
        if configuration.backend.kind == BackendKind::Stub { "Model loaded (stub)" } else { "Model loaded" }
    );
    let requested = SocketAddr::new(configuration.bind, configuration.port);
    let listener = connections::bind(requested)
        .map_err(|error| StartError::new("INTERNAL", format!("can't listen on {requested}: {error}")))?;
    let address = listener.local_addr().map_err(internal)?;
    let metrics = Metrics::new().map_err(internal)?;
    let service =
        Arc::new(Service::new(configuration, loaded.held, loaded.tokenizer, metrics, shutdown.clone(), started));
    let mut inference = inference.begin(&service)?;
    info!(event = "startup", port = address.port(), address = %address, "Worker ready, starting HTTP server");
    let (close, closing) = watch::channel(false);
    let serving = tokio::spawn(connections::serve(listener, server::router(service.clone()), CONNECTIONS, closing));
    tokio::select! {
        ready = announce(&service, address) => ready?,
        () = shutdown.asked() => {}
    }
    tokio::select! {
        biased; // a stop is asked for before it lets the inference thread end
        () = shutdown.asked() => {}
        _ = &mut inference => return Err(StartError::new("INTERNAL", "the inference thread ended")),
    }
    drain(&service, inference).await;
    close.send_replace(true);
    let _ = serving.await;
    info!(event = "shutdown", uptime_ms = started.elapsed().as_millis() as u64, "Stopped");
    Ok(())
}

/// Looks at its own health over the socket, then tells the pool manager: whoever hears of it can connect at once.
async fn announce(service: &Service, address: SocketAddr) -> Result<(), StartError> {
    let client = crate::http::client().no_proxy().redirect(Policy::none()).build().map_err(internal)?;
    let url = format!("http://{}/health", SocketAddr::new(callback::loopback(address), address.port()));
    let answer = client.get(&url).timeout(SELF_CHECK_PATIENCE).send().await;
    answer.and_then(reqwest::Response::error_for_status).map_err(|error| {
        StartError::new("INTERNAL", format!("its own /health did not answer: {}", describe(&error)))
    })?;
    callback::report_ready(service, &client, address).await?;
    info!(event = "ready", port = address.port(), uri = format!("http://{address}"), "Ready");
    Ok(())
}

/// Lets the running job end, until the deadline; then cancels it. Streams are written to their end meanwhile.
async fn drain(service: &Service, mut inference: oneshot::Receiver<()>) {
    let allowed = service.configuration.drain;
    let deadline = tokio::time::Instant::now() + allowed;
    info!(event = "shutdown", drain_sec = allowed.as_secs(), "Stopping: no new work");
    service.drain();
    // The job is cancelled a little before the deadline, so that the process has ended by then.
    let cancel_at = deadline - (allowed / 10).min(Duration::from_millis(500));
    if tokio::time::timeout_at(cancel_at, &mut inference).await.is_err() {
        warn!(event = "shutdown", "Deadline: cancelling the running job");
        service.jobs.stop_running(Cause::Draining);
        if tokio::time::timeout(CANCEL_PATIENCE, inference).await.is_err() {
            warn!(event = "shutdown", "The running job did not end");
        }
    }
    let written = async {
        while service.open_streams() > 0 {
            tokio::time::sleep(STREAMS_LOOK).await;
        }
    };
    let last_words = deadline.max(tokio::time::Instant::now() + Duration::from_millis(100));
    let _ = tokio::time::timeout_at(last_words, written).await;
}

/// What the inference thread says once the model is there.
struct Loaded {
    held: Held,
    tokenizer: Option<Arc<dyn Encode>>,
}

/// The inference thread: the backend is loaded on it, lives on it and never leaves it.
struct Inference {
    loaded: oneshot::Receiver<Result<Loaded, StartError>>,
    thread: InferenceThread,
}

struct InferenceThread {
    service: oneshot::Sender<Arc<Service>>,
    ended: oneshot::Receiver<()>,
}

impl Inference {
    fn load(configuration: &Configuration) -> std::io::Result<Self> {
        info!(event = "model_load_start", "Loading model...");
        let settings = configuration.backend.clone();
        let (loaded, loaded_out) = oneshot::channel();
        let (service, service_in) = oneshot::channel::<Arc<Service>>();
        let (end, ended) = oneshot::channel();
        let runtime = Handle::current();
        let _: JoinHandle<()> = std::thread::Builder::new().name("inference".to_owned()).spawn(move || {
            let mut progress = Progress::default();
            let mut backend = match load(&settings, &mut |percent| progress.reach(percent)) {
                Ok(backend) => backend,
                Err(error) => return drop(loaded.send(Err(error))),
            };
            progress.reach(100);
            let held = inference::held(backend.as_ref());
            if loaded.send(Ok(Loaded { held, tokenizer: backend.tokenizer() })).is_err() {
                return;
            }
            if let Ok(service) = service_in.blocking_recv() {
                inference::serve(backend.as_mut(), &service, &runtime);
            }
            drop(backend); // the memory is free before the end is told
            let _ = end.send(());
        })?;
        Ok(Self { loaded: loaded_out, thread: InferenceThread { service, ended } })
    }

    async fn loaded(self) -> Result<(Loaded, InferenceThread), StartError> {
        let loaded = self.loaded.await.map_err(|_| StartError::model("loading the model panicked"))??;
        Ok((loaded, self.thread))
    }
}

impl InferenceThread {
    /// Hands the thread what it serves; the answer resolves when its last job is over.
    fn begin(self, service: &Arc<Service>) -> Result<oneshot::Receiver<()>, StartError> {
        let sent = self.service.send(service.clone());
        sent.map_err(|_| StartError::new("INTERNAL", "the inference thread ended"))?;
        Ok(self.ended)
    }
}

/// Logs each quarter of the loading once, in order.
struct Progress {
    next: u8,
}

impl Default for Progress {
    fn default() -> Self {
        let mut progress = Self { next: 0 };
        progress.reach(0);
        progress
    }
}

impl Progress {
    fn reach(&mut self, percent: u8) {
        while self.next <= percent.min(100) {
            info!(event = "model_load_progress", percent = self.next, "Loading model: {} %", self.next);
            self.next += 25;
        }
    }
}

fn internal(error: impl std::fmt::Display) -> StartError {
    StartError::new("INTERNAL", error.to_string())
}
