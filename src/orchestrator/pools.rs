//! Pools, over all nodes that have one of the name: their health, and what their pool managers are told to do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use utoipa::ToSchema;

use super::error::{ApiError, Code, Envelope};
use super::narration::narrate;
use super::nodes::{NodeState, PoolReport};
use super::server::Id;
use super::service::Orchestrator;
use crate::http::correlation::CorrelationId;
use crate::http::failure::describe;
use crate::http::{body, fields, post};

/// A pool manager answers when it has begun.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a pool manager takes.
const LONGEST_DRAIN_MS: u64 = 86_400_000;

/// A pool, as its nodes reported it last.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolHealth {
    pool_id: String,
    /// A node that has it is online.
    live: bool,
    /// It takes work.
    ready: bool,
    draining: bool,
    slots_free: u32,
    slots_total: u32,
    /// Tasks of this orchestrator that hold a slot.
    leases: u32,
    replicas: Vec<ReplicaHealth>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReplicaHealth {
    node_id: String,
    node_state: NodeState,
    #[serde(flatten)]
    report: PoolReport,
}

/// The nodes that have the pool, by what they registered or reported.
fn nodes_with(service: &Orchestrator, pool_id: &str) -> Vec<(String, String)> {
    let state = service.scheduler.state();
    let has = |node: &&super::nodes::Node| {
        node.registration.pools.iter().any(|pool| pool == pool_id) || node.pools.keys().any(|(pool, _)| pool == pool_id)
    };
    let place = |node: &super::nodes::Node| (node.registration.node_id.clone(), node.registration.address.clone());
    state.nodes.iter().filter(has).map(place).collect()
}

/// Whether a pool takes work.
#[utoipa::path(
    get,
    path = "/v2/pools/{id}/health",
    params(("id" = String, Path, description = "The pool's id")),
    responses((status = 200, description = "The pool", body = PoolHealth), (status = 404, description = "No node has it", body = Envelope))
)]
pub async fn health(State(service): State<Arc<Orchestrator>>, Id(id): Id) -> Result<Json<PoolHealth>, ApiError> {
    if nodes_with(&service, &id).is_empty() {
        return Err(ApiError::not_found("pool", &id));
    }
    let state = service.scheduler.state();
    let now = Instant::now();
    let mut health = PoolHealth {
        pool_id: id.clone(),
        live: false,
        ready: false,
        draining: true,
        slots_free: 0,
        slots_total: 0,
        leases: 0,
        replicas: Vec::new(),
    };
    for node in state.nodes.iter() {
        let node_state = node.state(now, state.nodes.timeout);
        let online = matches!(node_state, NodeState::Online | NodeState::Draining);
        for pool in node.pools.values().filter(|pool| pool.report.pool_id == id) {
            let ready = node_state == NodeState::Online && pool.report.ready && !pool.report.draining;
            health.live |= online;
            health.ready |= ready;
            health.draining &= pool.report.draining;
            health.slots_free += if ready { pool.free(now) } else { 0 };
            health.slots_total += pool.report.slots_total;
            health.leases += pool.leases;
            let node_id = node.registration.node_id.clone();
            health.replicas.push(ReplicaHealth { node_id, node_state, report: pool.report.clone() });
        }
    }
    health.draining &= !health.replicas.is_empty();
    Ok(Json(health))
}

/// Nodes have been told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Told {
    pool_id: String,
    nodes: Vec<String>,
    /// Nodes that have the pool and were not reached, or refused, each with the reason.
    failures: BTreeMap<String, String>,
}

/// How long a drain may take.
#[derive(ToSchema)]
#[allow(dead_code)] // only its schema is used
pub struct DrainRequest {
    #[schema(minimum = 0, maximum = 86_400_000)]
    deadline_ms: Option<u64>,
}

/// The model to load, where it is another one.
#[derive(ToSchema)]
#[allow(dead_code)] // only its schema is used
pub struct ReloadRequest {
    #[schema(min_length = 1, max_length = 512)]
    model_ref: Option<String>,
}

/// Lets the pool finish what it runs, and take nothing more.
#[utoipa::path(
    post,
    path = "/v2/pools/{id}/drain",
    params(("id" = String, Path, description = "The pool's id")),
    request_body(content = Option<DrainRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "It drains", body = Told),
        (status = 404, description = "No node has it", body = Envelope),
        (status = 409, description = "It is in the middle of something else", body = Envelope),
        (status = 503, description = "Its node can't be reached", body = Envelope),
    )
)]
pub async fn drain(
    State(service): State<Arc<Orchestrator>>,
    Extension(correlation): Extension<CorrelationId>,
    Id(id): Id,
    request: Request,
) -> Result<(StatusCode, Json<Told>), ApiError> {
    let object = optional_object(request).await?;
    let mut fields = fields::Fields::of(&object, &[]);
    fields.integer("deadline_ms", 0, LONGEST_DRAIN_MS);
    fields.refuse_unknown(&["deadline_ms"]);
    if !fields.errors.is_empty() {
        return Err(ApiError::invalid(&fields.errors));
    }
    let told = tell(&service, &correlation, &id, "drain", object).await?;
    // No task goes there from now on, whatever the heartbeat that is under way says of a moment ago.
    for pool in service.scheduler.state().nodes.replicas_mut(&id) {
        pool.report.draining = true;
    }
    Ok(told)
}

/// Drains the pool and starts it again, with another model where one is named.
#[utoipa::path(
    post,
    path = "/v2/pools/{id}/reload",
    params(("id" = String, Path, description = "The pool's id")),
    request_body(content = Option<ReloadRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "It reloads", body = Told),
        (status = 404, description = "No node has it", body = Envelope),
        (status = 409, description = "It is in the middle of something else", body = Envelope),
        (status = 503, description = "Its node can't be reached", body = Envelope),
    )
)]
pub async fn reload(
    State(service): State<Arc<Orchestrator>>,
    Extension(correlation): Extension<CorrelationId>,
    Id(id): Id,
    request: Request,
) -> Result<(StatusCode, Json<Told>), ApiError> {
    let object = optional_object(request).await?;
    let mut fields = fields::Fields::of(&object, &[]);
    if fields.get("model_ref").is_some() {
        fields.model_ref("model_ref");
    }
    fields.refuse_unknown(&["model_ref"]);
    if !fields.errors.is_empty() {
        return Err(ApiError::invalid(&fields.errors));
    }
    tell(&service, &correlation, &id, "reload", object).await
}

/// Stops the pool's workers and lets go of what they hold.
#[utoipa::path(
    post,
    path = "/v2/pools/{id}/purge",
    params(("id" = String, Path, description = "The pool's id")),
    responses(
        (status = 202, description = "It is purged", body = Told),
        (status = 404, description = "No node has it", body = Envelope),
        (status = 409, description = "It is in the middle of something else", body = Envelope),
        (status = 503, description = "Its node can't be reached", body = Envelope),
    )
)]
pub async fn purge(
    State(service): State<Arc<Orchestrator>>,
    Extension(correlation): Extension<CorrelationId>,
    Id(id): Id,
) -> Result<(StatusCode, Json<Told>), ApiError> {
    tell(&service, &correlation, &id, "purge", Map::new()).await
}

/// The object of a body that may be left out.
async fn optional_object(request: Request) -> Result<Map<String, Value>, ApiError> {
    let (head, body) = request.into_parts();
    Ok(fields::optional_object(body::read_optional_json(&head.headers, body).await?.as_deref())?)
}

/// Passes an order on to every node that has the pool, at once: one that can't be reached keeps nobody else from it.
async fn tell(
    service: &Arc<Orchestrator>,
    correlation: &CorrelationId,
    pool_id: &str,
    action: &'static str,
    body: Map<String, Value>,
) -> Result<(StatusCode, Json<Told>), ApiError> {
    let nodes = nodes_with(service, pool_id);
    if nodes.is_empty() {
        return Err(ApiError::not_found("pool", pool_id));
    }
    let body = Value::Object(body);
    let mut telling = JoinSet::new();
    for (node_id, address) in nodes {
        let url = format!("{address}/pools/{pool_id}/{action}");
        let headers = post::headers(Some(correlation.as_str()), service.configuration.node_bearer.as_deref());
        let request = service.client.post(url).timeout(PATIENCE).headers(headers).json(&body);
        narrate(action, pool_id, correlation.as_str(), &format!("Tells node {node_id} to {action} pool {pool_id}"));
        let place = format!("node {node_id} does not {action} pool {pool_id}");
        telling.spawn(async move { (node_id, told(request, &place).await) });
    }
    let (mut reached, mut failures, mut first) = (BTreeSet::new(), BTreeMap::new(), None);
    while let Some(Ok((node_id, answer))) = telling.join_next().await {
        match answer {
            Ok(()) => _ = reached.insert(node_id),
            Err(error) => {
                failures.insert(node_id, error.message.clone());
                first = first.or(Some(error));
            }
        }
    }
    match first {
        Some(error) if reached.is_empty() => Err(error),
        _ => {
            let nodes = reached.into_iter().collect();
            Ok((StatusCode::ACCEPTED, Json(Told { pool_id: pool_id.to_owned(), nodes, failures })))
        }
    }
}

async fn told(request: reqwest::RequestBuilder, place: &str) -> Result<(), ApiError> {
    let answer = request.send().await.map_err(|error| {
        let reason = describe(&error.without_url());
        ApiError::new(Code::NodeUnavailable, format!("{place}: it can't be reached: {reason}"))
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body: Value = answer.json().await.unwrap_or_default();
    let body = body.get("error").filter(|inner| inner.is_object()).unwrap_or(&body);
    let reason = body["message"].as_str().map_or_else(|| status.to_string(), str::to_owned);
    let code = match status {
        StatusCode::CONFLICT => Code::Conflict,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::BAD_REQUEST => Code::InvalidParams,
        _ => Code::PoolUnavailable,
    };
    Err(ApiError::new(code, format!("{place}: {reason}")))
}
