//! What this orchestrator is and can do; its health, and what it counts.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::catalog::ModelState;
use super::error::{ApiError, Code};
use super::metrics::Gauges;
use super::nodes::NodeState;
use super::service::Orchestrator;
use super::task::Priority;
use super::task_request::{ENGINES, MAX_TOKENS};

pub const API_VERSION: &str = "v2";

#[derive(Debug, Serialize, ToSchema)]
pub struct Capabilities {
    api_version: &'static str,
    workloads: [&'static str; 1],
    engines: [&'static str; 2],
    priorities: [&'static str; 2],
    placement_modes: [&'static str; 3],
    placement_strategy: &'static str,
    admission_policy: &'static str,
    /// Tasks that may wait; null is without bound.
    #[schema(required)]
    admission_capacity: Option<usize>,
    max_tokens: u32,
    /// Streams go on from `Last-Event-ID`, and those of tasks that are over are replayed.
    resume: bool,
    disconnect_grace_ms: u64,
}

/// What tasks may ask for here.
#[utoipa::path(get, path = "/v2/meta/capabilities", responses((status = 200, description = "What there is", body = Capabilities)))]
pub async fn capabilities(State(service): State<Arc<Orchestrator>>) -> Json<Capabilities> {
    let configuration = &service.configuration;
    Json(Capabilities {
        api_version: API_VERSION,
        workloads: ["completion"],
        engines: ENGINES,
        priorities: [Priority::Interactive.word(), Priority::Batch.word()],
        placement_modes: ["pin", "prefer", "auto"],
        placement_strategy: configuration.strategy.word(),
        admission_policy: configuration.policy.word(),
        admission_capacity: configuration.capacity,
        max_tokens: MAX_TOKENS,
        resume: true,
        disconnect_grace_ms: configuration.disconnect_grace.as_millis() as u64,
    })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    name: &'static str,
    version: &'static str,
    api_version: &'static str,
}

/// Which program this is.
#[utoipa::path(get, path = "/v2/meta/version", responses((status = 200, description = "The version", body = Version)))]
pub async fn version() -> Json<Version> {
    Json(Version { name: "orchestratord", version: env!("CARGO_PKG_VERSION"), api_version: API_VERSION })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    nodes_online: usize,
    pools_available: usize,
    queued: usize,
    running: usize,
}

fn gauges(service: &Orchestrator) -> Gauges {
    let state = service.scheduler.state();
    let now = Instant::now();
    let mut gauges = Gauges {
        interactive: state.depth(Priority::Interactive),
        batch: state.depth(Priority::Batch),
        models_active: service.catalog.count(ModelState::Active),
        models_retired: service.catalog.count(ModelState::Retired),
        ..Gauges::default()
    };
    let online = state.nodes.iter().filter(|node| node.state(now, state.nodes.timeout) == NodeState::Online);
    for node in online {
        gauges.nodes_online += 1;
        let available = |pool: &&super::nodes::Pool| pool.report.ready && !pool.report.draining;
        gauges.pools_available += node.pools.values().filter(available).count();
    }
    gauges
}

/// Whether the orchestrator answers, and what it has to work with.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "It answers", body = Health)))]
pub async fn health(State(service): State<Arc<Orchestrator>>) -> Json<Health> {
    let gauges = gauges(&service);
    Json(Health {
        status: "healthy",
        version: env!("CARGO_PKG_VERSION"),
        nodes_online: gauges.nodes_online,
        pools_available: gauges.pools_available,
        queued: gauges.interactive + gauges.batch,
        running: service.scheduler.running(),
    })
}

/// What the orchestrator counts, in Prometheus text.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "Prometheus text", content_type = "text/plain", body = String))
)]
pub async fn metrics(State(service): State<Arc<Orchestrator>>) -> Result<impl IntoResponse, ApiError> {
    let text = service.metrics.render(gauges(&service));
    let text = text.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
