//! The life of the daemon: bind, accept, start what the configuration names, report, serve, stop.

use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::configuration::Configuration;
use super::error::PoolError;
use super::metrics::Metrics;
use super::node::Node;
use super::workers::Order;
use super::workers::routes::{check, start_worker};
use super::{handoff, heartbeat, routes};
use crate::http::connections;
use crate::http::logs::Logs;
use crate::http::shutdown::Shutdown;
use crate::worker::error::ApiError;

/// Connections that may be open; further ones wait in the system's backlog.
const CONNECTIONS: usize = 8192;
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// An orchestrator that was cut off must not hold a slot until its job ends by itself.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// What a stop leaves to workers, beyond the drain's deadline.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
const SIGN_OFF_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop. 0 after a graceful stop, 1 when it did not start, 130 at a second signal.
pub fn run(configuration: Configuration) -> ExitCode {
    let logs = match Logs::of_daemon(&[("node_id", &configuration.node_id)]) {
        Ok(logs) => logs,
        Err(code) => return code,
    };
    let outcome = live(configuration, &logs);
    if let Err(message) = &outcome {
        error!(event = "error", code = "INTERNAL", "{message}");
    }
    logs.flush();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn live(configuration: Configuration, logs: &Logs) -> Result<(), String> {
    // One thread relays; the others hash files and ask name servers.
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
    let runtime = runtime.map_err(|error| format!("failed to start the runtime: {error}"))?;
    let shutdown = Shutdown::default();
    let outcome = runtime.block_on(async {
        let at_once = logs.clone();
        shutdown
            .on_signals(move || {
                warn!(event = "shutdown", "Second signal: stopping at once");
                at_once.flush();
                std::process::exit(130);
            })
            .map_err(|error| format!("failed to listen for signals: {error}"))?;
        serve(configuration, shutdown).await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(configuration: Configuration, shutdown: Shutdown) -> Result<(), String> {
    let requested = configuration.addr;
    let listener = connections::bind(requested).map_err(|error| format!("failed to listen on {requested}: {error}"))?;
    connections::notice_the_lost(&listener, LOST_AFTER).map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| format!("failed to find this program: {error}"))?;
    let metrics = Metrics::new(&configuration.pools).map_err(|error| error.to_string())?;
    let client = crate::http::client()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_PATIENCE)
        .pool_max_idle_per_host(0)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| format!("failed to make a client: {error}"))?;
    let node = Arc::new(Node::new(configuration, address, program, metrics, client, shutdown.clone()));
    let (close, closing) = watch::channel(false);
    let serving = tokio::spawn(connections::serve(listener, routes::router(node.clone()), CONNECTIONS, closing));
    info!(
        event = "ready",
        actor = "pool-managerd",
        action = "ready",
        target = node.configuration.node_id,
        address = node.public_address(),
        port = address.port(),
        pools = node.configuration.pools.join(","),
        version = env!("CARGO_PKG_VERSION"),
        human = "The pool manager listens",
        "The pool manager listens"
    );
    let beating = tokio::spawn(heartbeat::beat(node.clone()));
    let watching = tokio::spawn(handoff::watch(node.clone()));
    start_configured(&node).await;
    shutdown.asked().await;
    info!(event = "shutdown", actor = "pool-managerd", action = "stop", "Stopping: no new work");
    for pool in node.registry.pools() {
        pool.set_draining(true);
    }
    beating.abort();
    if timeout(SIGN_OFF_PATIENCE, heartbeat::sign_off(&node)).await.is_err() {
        warn!(event = "shutdown", "The orchestrator did not hear the end of this node");
    }
    stop_workers(&node).await;
    watching.abort();
    close.send_replace(true);
    let _ = serving.await;
    info!(event = "shutdown", uptime_ms = node.started.elapsed().as_millis() as u64, "Stopped");
    Ok(())
}

/// What the configuration names. One that can't start is said, and the others start.
async fn start_configured(node: &Arc<Node>) {
    for settings in node.configuration.workers.clone() {
        let model_ref = settings.model_ref.clone();
        let started = match check(node, settings.into()).await {
            Ok(spec) => start_worker(node, spec).map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            let code = error.code();
            // Whoever wrote the configuration has no answer to read: every reason is in this line.
            let reason = match &error {
                PoolError::Invalid(ApiError::Invalid(errors)) => {
                    errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
                }
                other => other.to_string(),
            };
            error!(
                event = "error",
                actor = "pool-managerd",
                action = "worker_refused",
                target = model_ref,
                code,
                reason,
                "A worker can't start"
            );
        }
    }
}

/// Lets running jobs end until the deadline, then ends every worker.
async fn stop_workers(node: &Arc<Node>) {
    let allowed = node.configuration.drain_deadline;
    let deadline = std::time::Instant::now() + allowed;
    for worker in node.workers.all() {
        worker.order(Order::Drain(deadline));
    }
    let mut lives = std::mem::take(&mut *node.lives.lock().unwrap_or_else(PoisonError::into_inner));
    let all_over = async { while lives.join_next().await.is_some() {} };
    if timeout(allowed + STOP_PATIENCE, all_over).await.is_err() {
        // Dropping what is left kills it.
        warn!(event = "shutdown", "A worker did not end in time");
    }
}
