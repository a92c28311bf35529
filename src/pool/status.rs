//! What the node says of itself: `/health`, `/pools/{id}/status`, `/v2/state`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Code, PoolError, Refusal};
use super::node::Node;
use super::preparation::Step;
use super::registry::{Pool, Replica};
use super::routes::Id;
use super::workers::WorkerView;

/// A pool in numbers, as heartbeats, metrics and the status have it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    pub pool_id: String,
    /// A replica could take a job.
    pub ready: bool,
    pub draining: bool,
    /// Of the ready replicas.
    pub slots_total: usize,
    pub slots_free: usize,
    pub engine: Option<String>,
    pub engine_version: Option<String>,
    pub replica_id: Option<String>,
    pub device_mask: Option<String>,
}

/// A model that a pool can take jobs for, under one of the names that are known here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct ServedModel {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u32>,
}

/// What the replicas that take jobs serve, each name once.
pub fn served(pool: &Pool) -> Vec<ServedModel> {
    let replicas = able(pool);
    let named = replicas.iter().flat_map(|replica| {
        replica.models.iter().map(|id| ServedModel { id: id.clone(), context_length: replica.context_length })
    });
    let mut models: Vec<ServedModel> = named.collect();
    models.sort();
    models.dedup_by(|one, other| one.id == other.id);
    models
}

fn able(pool: &Pool) -> Vec<Arc<Replica>> {
    pool.replicas().into_iter().filter(|replica| replica.is_ready() && !replica.is_draining()).collect()
}

impl Summary {
    pub fn of(pool: &Pool) -> Self {
        let able = able(pool);
        let first = able.first();
        Self {
            pool_id: pool.id.clone(),
            ready: !able.is_empty() && !pool.is_draining(),
            draining: pool.is_draining(),
            slots_total: able.iter().map(|replica| replica.slots_total).sum(),
            slots_free: able.iter().map(|replica| replica.slots_free()).sum(),
            engine: first.map(|replica| replica.engine.clone()),
            engine_version: first.map(|replica| replica.engine_version.clone()),
            replica_id: first.map(|replica| replica.id.clone()),
            device_mask: first.and_then(|replica| replica.device_mask.clone()),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReplicaView {
    pub replica_id: String,
    pub engine: String,
    pub engine_version: String,
    pub ready: bool,
    pub draining: bool,
    pub slots_total: usize,
    pub slots_free: usize,
    /// Jobs that run on it or wait in it.
    pub leases: usize,
    pub models: Vec<String>,
    pub device_mask: Option<String>,
    pub pid: Option<u32>,
}

impl ReplicaView {
    fn of(replica: &Replica) -> Self {
        Self {
            replica_id: replica.id.clone(),
            engine: replica.engine.clone(),
            engine_version: replica.engine_version.clone(),
            ready: replica.is_ready(),
            draining: replica.is_draining(),
            slots_total: replica.slots_total,
            slots_free: replica.slots_free(),
            leases: replica.leases(),
            models: replica.models.clone(),
            device_mask: replica.device_mask.clone(),
            pid: replica.pid,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PreparationView {
    pub steps: Vec<Step>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolStatus {
    #[serde(flatten)]
    pub summary: Summary,
    pub models: Vec<ServedModel>,
    pub replicas: Vec<ReplicaView>,
    pub preparation: PreparationView,
    pub last_error: Option<String>,
}

impl PoolStatus {
    pub fn of(pool: &Pool) -> Self {
        Self {
            summary: Summary::of(pool),
            models: served(pool),
            replicas: pool.replicas().iter().map(|replica| ReplicaView::of(replica)).collect(),
            preparation: PreparationView { steps: pool.preparation.steps() },
            last_error: pool.last_error(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NodeHealth {
    /// `healthy`: the daemon answers.
    status: &'static str,
    node_id: String,
    version: &'static str,
    uptime_seconds: u64,
    /// The orchestrator knows this node.
    registered: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NodeState {
    node_id: String,
    machine_id: String,
    address: String,
    pools: Vec<PoolStatus>,
    workers: Vec<WorkerView>,
}

/// Whether the daemon answers.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "It answers", body = NodeHealth)))]
pub async fn health(State(node): State<Arc<Node>>) -> Json<NodeHealth> {
    Json(NodeHealth {
        status: "healthy",
        node_id: node.configuration.node_id.clone(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: node.started.elapsed().as_secs(),
        registered: node.is_registered(),
    })
}

/// A pool as it stands.
#[utoipa::path(
    get,
    path = "/pools/{id}/status",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The pool", body = PoolStatus),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
        (status = 404, description = "No such pool", body = Refusal),
    )
)]
pub async fn pool(State(node): State<Arc<Node>>, Id(id): Id) -> Result<Json<PoolStatus>, PoolError> {
    Ok(Json(PoolStatus::of(node.registry.pool(&id)?)))
}

/// Everything: pools, replicas, workers.
#[utoipa::path(
    get,
    path = "/v2/state",
    responses(
        (status = 200, description = "The node", body = NodeState),
        (status = 401, description = "No token, or a wrong one", body = Refusal),
    )
)]
pub async fn state(State(node): State<Arc<Node>>) -> Json<NodeState> {
    Json(NodeState {
        node_id: node.configuration.node_id.clone(),
        machine_id: node.configuration.machine_id.clone(),
        address: node.public_address(),
        pools: node.registry.pools().iter().map(|pool| PoolStatus::of(pool)).collect(),
        workers: node.workers.all().iter().map(|worker| WorkerView::of(worker)).collect(),
    })
}

/// What the node counts, in Prometheus text.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "Prometheus text", content_type = "text/plain", body = String),
        (status = 500, description = "This node failed", body = Refusal),
    )
)]
pub async fn metrics(State(node): State<Arc<Node>>) -> Result<impl IntoResponse, PoolError> {
    let text = node.metrics.render(&node.registry, node.started.elapsed().as_secs_f64());
    let text = text.map_err(|error| PoolError::refused(Code::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
