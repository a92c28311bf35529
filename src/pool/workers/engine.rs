//! A worker whose backend is an engine: `llama-server`, found or built, started on the model, bound by its handoff file.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Worker, life};
use crate::pool::engine::{build, server};
use crate::pool::handoff::MANAGED;
use crate::pool::node::Node;
use crate::pool::preparation::StepKind;
use crate::pool::registry::Replica;

pub const BACKEND: &str = "llamacpp";

/// How long the watcher may take over a handoff file that it was told of.
const BIND_PATIENCE: Duration = Duration::from_secs(10);
const BIND_LOOK: Duration = Duration::from_millis(20);

/// From nothing to a replica that is ready. The refusal is a sentence.
pub async fn begin(node: &Arc<Node>, worker: &Arc<Worker>) -> Result<(server::Running, Arc<Replica>), String> {
    let pool = node.registry.find(&worker.spec.pool_id).ok_or("this node has no such pool")?.clone();
    let step = pool.preparation.begin(StepKind::EngineProvision, "engine", "Provide llama-server");
    let settings = &node.configuration.engine;
    let may_build = node.configuration.provisioning.permits_engine(&worker.spec.pool_id);
    let binary = build::provide(settings, may_build, &step).await;
    let binary = step.end(binary)?;
    let model_path = worker.life.borrow().model_path.clone().ok_or("an engine needs a model")?;
    let plan = server::Plan {
        binary,
        model_ref: worker.spec.model_ref.clone(),
        model_path,
        pool_id: worker.spec.pool_id.clone(),
        replica_id: worker.id.clone(),
        runtime_dir: node.configuration.runtime_dir.clone(),
        log: worker.log.clone(),
        settings: settings.clone(),
        gpu_id: worker.spec.gpu_id,
        provisioning_mode: MANAGED,
    };
    let human = format!("Load {} into pool {}", plan.model_ref, plan.pool_id);
    let step = pool.preparation.begin(StepKind::PoolWarmup, "engine", human);
    let running = server::start(&plan, &step).await;
    let running = step.end(running)?;
    node.look_again.notify_one();
    let bound = async {
        loop {
            if let Some(replica) = pool.replicas().into_iter().find(|replica| replica.id == worker.id) {
                return replica;
            }
            sleep(BIND_LOOK).await;
        }
    };
    let replica = timeout(BIND_PATIENCE, bound).await.map_err(|_| "the handoff file was not taken".to_owned())?;
    worker.life.send_modify(|life| life.pid = Some(running.child.id()));
    life::publish(node, worker, &replica);
    Ok((running, replica))
}
