//! The life of the daemon: bind, open the store, put everything back, serve, stop.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::catalog::Catalog;
use super::configuration::Configuration;
use super::metrics::Metrics;
use super::narration::narrate;
use super::nodes::{NodeState, Nodes};
use super::scheduler::Scheduler;
use super::service::Orchestrator;
use super::sessions::Sessions;
use super::store::TaskStore;
use super::store::log::{COMPACT_ABOVE, LogStore};
use super::task_request::ENGINES;
use super::tasks::Tasks;
use super::upstream::llamacpp::Binding;
use super::{recovery, server};
use crate::http::connections;
use crate::http::logs::Logs;
use crate::http::shutdown::Shutdown;

/// Connections that may be open; further ones wait in the system's backlog.
const CONNECTIONS: usize = 16_384;
/// What a stop leaves to tasks that run. What waits is kept for the next start.
const DRAIN: Duration = Duration::from_secs(10);
const DRAIN_LOOK: Duration = Duration::from_millis(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Idle connections to a node that are kept for the next order; a task's stream has one of its own.
const IDLE_CONNECTIONS: usize = 8;

/// Runs until it is told to stop. 0 after a graceful stop, 1 when it did not start, 130 at a second signal.
pub fn run(configuration: Configuration) -> ExitCode {
    let logs = match Logs::of_daemon(&[("service", "orchestratord")]) {
        Ok(logs) => logs,
        Err(code) => return code,
    };
    let outcome = live(configuration, &logs);
    if let Err(message) = &outcome {
        error!(event = "error", code = "START_FAILED", "{message}");
    }
    logs.flush();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn live(configuration: Configuration, logs: &Logs) -> Result<(), String> {
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(text)?;
    let shutdown = Shutdown::default();
    let outcome = runtime.block_on(async {
        let at_once = logs.clone();
        shutdown
            .on_signals(move || {
                warn!(event = "shutdown", "Second signal: stopping at once");
                at_once.flush();
                std::process::exit(130);
            })
            .map_err(text)?;
        start_and_serve(configuration, shutdown.clone()).await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn start_and_serve(configuration: Configuration, shutdown: Shutdown) -> Result<(), String> {
    info!(event = "startup", address = %configuration.address, version = env!("CARGO_PKG_VERSION"), "orchestratord starting");
    for (scope, tokens) in [("clients", &configuration.client_tokens), ("nodes", &configuration.node_tokens)] {
        info!(event = "startup", scope, fingerprints = tokens.fingerprints().join(","), "Tokens in use");
    }
    raise_file_limit();
    let listener = connections::bind(configuration.address)
        .map_err(|error| format!("can't listen on {}: {error}", configuration.address))?;
    let address = listener.local_addr().map_err(text)?;
    let folder = state_dir(&configuration, address);
    let (store, records) = LogStore::open(&folder, COMPACT_ABOVE).map_err(text)?;
    let service = build(configuration, Arc::new(store), shutdown.clone())?;
    let found = recovery::restore(&service, records);
    info!(
        event = "startup",
        state_dir = %folder.display(),
        finished = found.finished,
        queued = found.queued,
        lost = found.lost,
        nodes = found.nodes,
        "State restored"
    );
    let (close, closing) = watch::channel(false);
    let router = server::router(service.clone());
    let serving = tokio::spawn(connections::serve(listener, router, CONNECTIONS, closing));
    let keeping = tokio::spawn(keep_house(service.clone()));
    if let Some(binding) = service.binding.clone() {
        tokio::spawn(binding.keep(service.scheduler.clone()));
    }
    info!(event = "ready", port = address.port(), uri = format!("http://{address}"), "Ready");
    shutdown.asked().await;
    info!(event = "shutdown", running = service.scheduler.running(), "Stopping: no new work");
    service.scheduler.stop_dispatching();
    let started = Instant::now();
    while service.scheduler.running() > 0 && started.elapsed() < DRAIN {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
    close.send_replace(true);
    let _ = serving.await;
    keeping.abort();
    service.store.flush();
    info!(event = "shutdown", running = service.scheduler.running(), "Stopped");
    Ok(())
}

/// By the port, where nothing else is said: a daemon that comes back on its port finds what it left.
fn state_dir(configuration: &Configuration, address: SocketAddr) -> PathBuf {
    let default = || PathBuf::from(".runtime/orchestratord").join(address.port().to_string());
    configuration.state_dir.clone().unwrap_or_else(default)
}

/// Everything that the routes need, with nothing in it yet.
pub fn build(
    configuration: Configuration,
    store: Arc<dyn TaskStore>,
    shutdown: Shutdown,
) -> Result<Arc<Orchestrator>, String> {
    let metrics = Arc::new(Metrics::new(&ENGINES).map_err(text)?);
    let client = crate::http::client()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_PATIENCE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .tcp_nodelay(true)
        .build()
        .map_err(text)?;
    let scheduler = Arc::new(Scheduler::new(
        Nodes::new(configuration.node_timeout),
        configuration.capacity,
        configuration.policy,
        configuration.strategy,
        metrics.clone(),
    ));
    Ok(Arc::new(Orchestrator {
        tasks: Tasks::new(configuration.retention),
        sessions: Sessions::default(),
        catalog: Catalog::default(),
        scheduler,
        store,
        binding: configuration.llamacpp.clone().map(|settings| Arc::new(Binding::new(settings))),
        metrics,
        client,
        shutdown,
        configuration,
    }))
}

/// Looks for nodes that went silent, and tells the story of those that did.
async fn keep_house(service: Arc<Orchestrator>) {
    let mut known: HashMap<String, NodeState> = HashMap::new();
    loop {
        tokio::time::sleep(service.configuration.stale_check_interval).await;
        let now: HashMap<String, NodeState> = {
            let state = service.scheduler.state();
            let (instant, timeout) = (Instant::now(), state.nodes.timeout);
            let of = |node: &super::nodes::Node| (node.registration.node_id.clone(), node.state(instant, timeout));
            state.nodes.iter().map(of).collect()
        };
        for (id, _) in now.iter().filter(|(id, state)| {
            **state == NodeState::Offline && known.get(*id).is_some_and(|before| *before != NodeState::Offline)
        }) {
            narrate("node_offline", id, "", &format!("Hears nothing from node {id} and takes it out of use"));
        }
        known = now;
        service.scheduler.dispatch();
    }
}

/// A stream takes a socket on either side: as many as the system lets this process have.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(reason) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn!(event = "startup", reason = %reason, soft, hard, "The limit of open files stays as it is");
    }
}
