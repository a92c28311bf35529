//! `pool-managerd provision`: an engine by hand. It finds or builds the server, starts it on the model, writes the
//! handoff file, and watches it until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;
use tracing::{error, info};

use super::{build, server};
use crate::http::logs::Logs;
use crate::http::shutdown::Shutdown;
use crate::pool::catalog::Store;
use crate::pool::configuration::Configuration;
use crate::pool::models::{self, reference::ModelReference};
use crate::pool::preparation::{Preparation, StepKind};

/// Runs until the engine is stopped. 0 after a stop, or once the server is there with `build_only`; 1 for a failure.
pub fn run(configuration: Configuration, build_only: bool) -> ExitCode {
    let logs = match Logs::start(&[("node_id", &configuration.node_id)]) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("failed to start the log's thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match Builder::new_current_thread().enable_all().max_blocking_threads(4).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::default();
        let at_once = logs.clone();
        shutdown
            .on_signals(move || {
                at_once.flush();
                std::process::exit(130);
            })
            .map_err(|error| format!("failed to listen for signals: {error}"))?;
        provision(&configuration, build_only, &shutdown).await
    });
    if let Err(message) = &outcome {
        error!(event = "error", actor = "engine-provisioner", action = "provision_failed", "{message}");
    }
    logs.flush();
    runtime.shutdown_timeout(Duration::from_millis(100));
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn provision(configuration: &Configuration, build_only: bool, shutdown: &Shutdown) -> Result<(), String> {
    let prepared = tokio::select! {
        prepared = prepare(configuration, build_only) => prepared?,
        // Dropping what was begun takes it back.
        () = shutdown.asked() => return Err("stopped before the engine was ready".to_owned()),
    };
    let Some((plan, running)) = prepared else { return Ok(()) };
    info!(
        event = "ready",
        actor = "engine-provisioner",
        action = "handoff",
        target = %plan.handoff_path().display(),
        url = running.handoff.url,
        human = "An engine is ready",
        "An engine is ready"
    );
    tokio::select! {
        () = shutdown.asked() => {
            running.stop().await;
            Ok(())
        }
        exit = running.child.ended() => {
            let (log, tail) = (plan.log.display(), server::tail(&plan.log, 0));
            Err(format!("llama-server ended by itself ({exit}); {log}: {tail}"))
        }
    }
}

/// The server that was asked for, started on its model; none where only the server itself was wanted.
async fn prepare(
    configuration: &Configuration,
    build_only: bool,
) -> Result<Option<(server::Plan, server::Running)>, String> {
    let preparation = Preparation::default();
    let settings = &configuration.engine;
    let step = preparation.begin(StepKind::EngineProvision, "engine", "Provide llama-server");
    // Who runs this by hand has decided that it may build.
    let binary = build::provide(settings, Ok(()), &step).await?;
    info!(actor = "engine-provisioner", action = "engine_ready", target = %binary.display(), "llama-server is there");
    if build_only {
        step.complete();
        return Ok(None);
    }
    let model_ref = settings.model.clone().ok_or("engine.model is missing: what is the engine to serve?")?;
    let model_path = model(configuration, &model_ref, &preparation).await?;
    let pool_id = settings.pool_id.clone().or_else(|| configuration.pools.first().cloned()).unwrap_or_default();
    let replica_id = settings.replica_id.clone().unwrap_or_else(|| "r0".to_owned());
    let logs = configuration.runtime_dir.join("logs");
    std::fs::create_dir_all(&logs).map_err(|error| format!("{} can't be made: {error}", logs.display()))?;
    let plan = server::Plan {
        binary,
        model_ref,
        model_path,
        log: logs.join(format!("{pool_id}-{replica_id}.log")),
        pool_id,
        replica_id,
        runtime_dir: configuration.runtime_dir.clone(),
        settings: settings.clone(),
        gpu_id: None,
        provisioning_mode: "provision",
    };
    let running = server::start(&plan, &step).await?;
    step.complete();
    Ok(Some((plan, running)))
}

async fn model(configuration: &Configuration, model_ref: &str, preparation: &Preparation) -> Result<PathBuf, String> {
    let store = Store::new(&configuration.pool_dir);
    match ModelReference::parse(model_ref)? {
        ModelReference::File(path) => match std::fs::metadata(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(format!("{} can't be read: {error}", path.display())),
        },
        ModelReference::Alias(id) => models::listed(&store, &id),
        ModelReference::Hub(reference) => {
            let step = preparation.begin(StepKind::ModelFetch, "model", format!("Fetch {reference}"));
            models::fetch_listed(&store, &reference, &step).await
        }
    }
}
