//! Nodes: they register, report themselves, and leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::configuration::is_name;
use super::error::{ApiError, Code, Envelope};
use super::narration::narrate;
use super::nodes::{ListedModel, NodeState, PoolReport, Registration};
use super::server::Id;
use super::service::Orchestrator;
use super::store::Record;
use super::task::{now_ms, rfc_3339};
use super::task_request::objects;
use super::upstream::llamacpp;
use crate::http::body;
use crate::http::correlation::CorrelationId;
use crate::http::fields::{self, FieldError, Fields, kind, whole};

/// When a node should report itself next.
const LONGEST_PACE_MS: u64 = 10_000;
const TEXT_CHARACTERS: usize = 256;
/// Of one pool.
const MOST_SLOTS: u64 = 65_536;

/// The body of a registration. Read by hand, so that every failure is listed; this type describes it.
#[derive(ToSchema)]
#[schema(example = json!({
    "node_id": "node-1", "machine_id": "m-1", "address": "http://127.0.0.1:9200", "pools": ["pool-0"],
    "capabilities": {"gpus": [], "cpu_cores": 2, "ram_total_bytes": 8589934592_u64}, "version": "0.1.0"
}))]
#[allow(dead_code)] // only its schema is used
pub struct RegisterRequest {
    node_id: String,
    #[schema(min_length = 1, max_length = 256)]
    machine_id: String,
    /// The pool manager's base URL.
    address: String,
    pools: Vec<String>,
    capabilities: Option<Capabilities>,
    #[schema(max_length = 256)]
    version: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = NodeCapabilities)]
#[allow(dead_code)] // only its schema is used
pub struct Capabilities {
    gpus: Option<Vec<Gpu>>,
    cpu_cores: Option<u64>,
    ram_total_bytes: Option<u64>,
}

#[derive(ToSchema)]
#[allow(dead_code)] // only its schema is used
pub struct Gpu {
    device_id: Option<u64>,
    name: Option<String>,
    vram_total_bytes: Option<u64>,
    compute_capability: Option<String>,
}

/// The body of a heartbeat.
#[derive(ToSchema)]
#[allow(dead_code)] // only its schema is used
pub struct HeartbeatRequest {
    timestamp: Option<String>,
    pools: Vec<HeartbeatPool>,
    /// Workers that failed since the last heartbeat that was taken: they are told in the log.
    failures: Option<Vec<Failure>>,
}

/// A worker that failed, with its exit code or the signal that ended it.
#[derive(ToSchema)]
#[schema(as = WorkerFailure)]
#[allow(dead_code)] // only its schema is used
pub struct Failure {
    worker_id: String,
    pool_id: Option<String>,
    model_ref: Option<String>,
    exit_code: Option<u64>,
    signal: Option<u64>,
    message: Option<String>,
}

#[derive(ToSchema)]
#[allow(dead_code)] // only its schema is used
pub struct HeartbeatPool {
    pool_id: String,
    replica_id: Option<String>,
    ready: bool,
    draining: Option<bool>,
    #[schema(maximum = 65536)]
    slots_free: u32,
    #[schema(maximum = 65536)]
    slots_total: u32,
    vram_free_bytes: Option<u64>,
    #[schema(max_length = 256)]
    engine: Option<String>,
    #[schema(max_length = 256)]
    engine_version: Option<String>,
    #[schema(max_length = 256)]
    device_mask: Option<String>,
    /// Each a name, or an object with `id` and `context_length`.
    models: Option<Vec<Value>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    success: bool,
    node_id: String,
    /// When to send the first heartbeat: at once.
    next_heartbeat_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Heard {
    success: bool,
    next_heartbeat_ms: u64,
}

/// Registers a node, or registers it again.
#[utoipa::path(
    post,
    path = "/v2/nodes/register",
    request_body(content = RegisterRequest, content_type = "application/json"),
    responses((status = 200, description = "Registered", body = Registered))
)]
pub async fn register(
    State(service): State<Arc<Orchestrator>>,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
) -> Result<Json<Registered>, ApiError> {
    let (head, body) = request.into_parts();
    let object = fields::object(&body::read_json(&head.headers, body).await?)?;
    let registration = read_registration(&object)?;
    let node_id = registration.node_id.clone();
    service.store(&Record::Node(registration.clone())).await?;
    let human = format!("Registers node {node_id} with {} pools", registration.pools.len());
    service.scheduler.state().nodes.register(registration);
    service.metrics.registered();
    narrate("node_register", &node_id, correlation.as_str(), &human);
    Ok(Json(Registered { success: true, node_id, next_heartbeat_ms: 0 }))
}

fn read_registration(object: &Map<String, Value>) -> Result<Registration, ApiError> {
    let mut fields = Fields::of(object, &[]);
    let node_id = fields.node_name("node_id");
    let machine_id = fields.short_text("machine_id").filter(|id| !id.is_empty());
    if machine_id.is_none() && fields.errors.iter().all(|error| error.field != "machine_id") {
        fields.refuse("machine_id", "required", "machine_id is missing");
    }
    let address = fields.required_text("address");
    if address.is_some_and(|address| !is_address(address)) {
        fields.refuse("address", "format", "expected http://HOST[:PORT][/PATH]");
    }
    if node_id.as_deref() == Some(llamacpp::NODE) {
        fields.refuse("node_id", "reserved", "it is the orchestrator's own, for the engine that it binds");
    }
    let pools = fields.pool_ids();
    let capabilities = match fields.get("capabilities") {
        None => json!({}),
        Some(Value::Object(object)) => {
            let mut inner = Fields::of(object, &[]);
            inner.integer("cpu_cores", 0, u64::MAX);
            inner.integer("ram_total_bytes", 0, u64::MAX);
            for gpu in objects(&mut inner, "gpus") {
                let mut gpu = Fields::of(gpu, &[]);
                gpu.integer("device_id", 0, u64::MAX);
                gpu.integer("vram_total_bytes", 0, u64::MAX);
                gpu.text("name");
                gpu.text("compute_capability");
                inner.errors.extend(gpu.errors);
            }
            let errors = inner.errors;
            fields.errors.extend(
                errors.into_iter().map(|error| FieldError { field: format!("capabilities.{}", error.field), ..error }),
            );
            Value::Object(object.clone())
        }
        Some(other) => {
            fields.refuse_type("capabilities", "an object", other);
            json!({})
        }
    };
    let version = fields.short_text("version").unwrap_or_default();
    match (node_id, machine_id, address.map(|address| address.trim_end_matches('/').to_owned())) {
        (Some(node_id), Some(machine_id), Some(address)) if fields.errors.is_empty() => {
            Ok(Registration { node_id, machine_id, address, pools, capabilities, version, registered_at_ms: now_ms() })
        }
        _ => Err(ApiError::invalid(&fields.errors)),
    }
}

/// A pool manager's base URL, as the OpenAPI document has it.
pub const ADDRESS: &str = "^http://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:.]+\\])\
    (:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[A-Za-z0-9._~-]+)*/?$";

/// The same by hand.
fn is_address(text: &str) -> bool {
    let Some(rest) = text.strip_suffix('/').unwrap_or(text).strip_prefix("http://") else { return false };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let made_of = |text: &str, marks: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
    };
    let sound_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)),
        None => made_of(host, b".-"),
    };
    let sound_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0') && port.parse::<u16>().is_ok()
    };
    let sound_path = path.is_empty() || path[1..].split('/').all(|part| made_of(part, b"._~-"));
    sound_host && port.is_none_or(sound_port) && sound_path
}

/// Takes a node's account of its pools.
#[utoipa::path(
    post,
    path = "/v2/nodes/{id}/heartbeat",
    params(("id" = String, Path, description = "The node's id")),
    request_body(content = HeartbeatRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "Taken", body = Heard),
        (status = 404, description = "Not registered: register again", body = Envelope),
    )
)]
pub async fn heartbeat(
    State(service): State<Arc<Orchestrator>>,
    Extension(correlation): Extension<CorrelationId>,
    Id(id): Id,
    request: Request,
) -> Result<Json<Heard>, ApiError> {
    let (head, body) = request.into_parts();
    let object = fields::object(&body::read_json(&head.headers, body).await?)?;
    let (reports, failures) = read_heartbeat(&object)?;
    let before = service.scheduler.state().nodes.state(&id);
    if !service.scheduler.state().nodes.heartbeat(&id, reports) {
        service.metrics.heartbeat("unknown_node");
        return Err(ApiError::not_found("node", &id));
    }
    service.metrics.heartbeat("ok");
    if matches!(before, Some(NodeState::Registering | NodeState::Offline | NodeState::Failed)) {
        narrate("node_online", &id, correlation.as_str(), &format!("Takes node {id} into use"));
    }
    for (worker, how) in failures {
        narrate(
            "worker_failed",
            &worker,
            correlation.as_str(),
            &format!("Hears that a worker of node {id} failed: {how}"),
        );
    }
    service.scheduler.dispatch();
    let next_heartbeat_ms = pace(service.configuration.node_timeout);
    Ok(Json(Heard { success: true, next_heartbeat_ms }))
}

/// Three heartbeats fit into the time after which a silent node is offline: one may be lost, and one late.
fn pace(node_timeout: Duration) -> u64 {
    LONGEST_PACE_MS.min(u64::try_from(node_timeout.as_millis()).unwrap_or(u64::MAX) / 3).max(10)
}

/// Workers, each with how it ended.
type Failures = Vec<(String, String)>;

/// What the pools are, and which workers failed, each with how it ended.
fn read_heartbeat(object: &Map<String, Value>) -> Result<(Vec<PoolReport>, Failures), ApiError> {
    let mut fields = Fields::of(object, &[]);
    match fields.get("timestamp") {
        None | Some(Value::String(_) | Value::Number(_)) => {}
        Some(other) => fields.refuse_type("timestamp", "a time", other),
    }
    if fields.get("pools").is_none() {
        fields.refuse("pools", "required", "pools is missing");
    }
    let mut reports: Vec<PoolReport> = Vec::new();
    for (index, pool) in objects(&mut fields, "pools").into_iter().enumerate() {
        let mut inner = Fields::of(pool, &[]);
        let report = inner.report();
        let named = |error: FieldError| FieldError { field: format!("pools[{index}].{}", error.field), ..error };
        fields.errors.extend(inner.errors.into_iter().map(named));
        reports.extend(report);
    }
    let mut failures = Vec::new();
    for (index, failure) in objects(&mut fields, "failures").into_iter().enumerate() {
        let mut inner = Fields::of(failure, &[]);
        let worker = inner.required_text("worker_id").map(str::to_owned);
        for name in ["pool_id", "model_ref"] {
            inner.text(name);
        }
        let message = inner.text("message").map(str::to_owned);
        let code = inner.integer("exit_code", 0, u64::MAX).map(|code| format!("exit code {code}"));
        let signal = inner.integer("signal", 0, u64::MAX).map(|signal| format!("signal {signal}"));
        let named = |error: FieldError| FieldError { field: format!("failures[{index}].{}", error.field), ..error };
        fields.errors.extend(inner.errors.into_iter().map(named));
        // What never ran, or never answered, has no exit: its node says what happened.
        let how = code.or(signal).or(message).unwrap_or_else(|| "its node does not say how".to_owned());
        failures.extend(worker.map(|worker| (worker, how)));
    }
    if fields.errors.is_empty() { Ok((reports, failures)) } else { Err(ApiError::invalid(&fields.errors)) }
}

impl Fields<'_> {
    fn node_name(&mut self, field: &str) -> Option<String> {
        let text = self.required_text(field)?;
        if is_name(text) {
            return Some(text.to_owned());
        }
        self.refuse(field, "pattern", "expected 1 to 64 of A-Z a-z 0-9 . _ -, and neither '.' nor '..'");
        None
    }

    fn short_text(&mut self, field: &str) -> Option<String> {
        let text = self.text(field)?;
        if text.chars().count() > TEXT_CHARACTERS {
            self.refuse(field, "length", format!("expected at most {TEXT_CHARACTERS} characters"));
            return None;
        }
        Some(text.to_owned())
    }

    /// Names, or objects that have one.
    fn pool_ids(&mut self) -> Vec<String> {
        let items = match self.get("pools") {
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.refuse_type("pools", "an array", other);
                return Vec::new();
            }
            None => {
                self.refuse("pools", "required", "pools is missing");
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str().or_else(|| item.get("pool_id")?.as_str()) {
                Some(name) if is_name(name) => names.push(name.to_owned()),
                Some(_) => {
                    self.refuse("pools", "pattern", format!("item {index}: expected 1 to 64 of A-Z a-z 0-9 . _ -"))
                }
                None => self.refuse("pools", "type", format!("item {index}: expected a name, found {}", kind(item))),
            }
        }
        names
    }

    fn report(&mut self) -> Option<PoolReport> {
        let slots = MOST_SLOTS;
        let pool_id = self.node_name("pool_id");
        let replica_id = if self.get("replica_id").is_some() { self.node_name("replica_id") } else { None };
        if self.get("ready").is_none() {
            self.refuse("ready", "required", "ready is missing");
        }
        let ready = self.switch("ready");
        let draining = self.switch("draining").unwrap_or(false);
        let slots_free = self.required_integer("slots_free", 0, slots).map(|free| free as u32);
        let slots_total = self.required_integer("slots_total", 0, slots).map(|total| total as u32);
        let vram_free_bytes = self.integer("vram_free_bytes", 0, u64::MAX).unwrap_or(0);
        let engine = self.short_text("engine").unwrap_or_default();
        let engine_version = self.short_text("engine_version").unwrap_or_default();
        let device_mask = self.short_text("device_mask").unwrap_or_default();
        let models = self.models();
        if !self.errors.is_empty() {
            return None;
        }
        Some(PoolReport {
            pool_id: pool_id?,
            replica_id: replica_id.unwrap_or_else(|| "r0".to_owned()),
            ready: ready?,
            draining,
            slots_free: slots_free?.min(slots_total?), // more than there are can't be free
            slots_total: slots_total?,
            vram_free_bytes,
            engine,
            engine_version,
            device_mask,
            models,
        })
    }

    fn models(&mut self) -> Vec<ListedModel> {
        let items = match self.get("models") {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.refuse_type("models", "an array", other);
                return Vec::new();
            }
        };
        let mut models = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let name = item.as_str().or_else(|| item.get("id").or_else(|| item.get("model_ref"))?.as_str());
            match name {
                Some(id) => {
                    let given = item.get("context_length").filter(|length| !length.is_null());
                    let context_length = given.and_then(whole).and_then(|length| u32::try_from(length).ok());
                    if given.is_some() && context_length.is_none_or(|length| length == 0) {
                        self.refuse("models", "range", format!("item {index}: expected a context_length of 1 or more"));
                    }
                    models.push(ListedModel { id: id.to_owned(), context_length });
                }
                None => {
                    self.refuse("models", "type", format!("item {index}: expected a name, or an object with an id"))
                }
            }
        }
        models
    }
}

/// Takes a node out of use. What runs there may end.
#[utoipa::path(
    delete,
    path = "/v2/nodes/{id}",
    params(("id" = String, Path, description = "The node's id")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "No such node", body = Envelope),
        (status = 409, description = "It is the engine that this orchestrator binds", body = Envelope),
    )
)]
pub async fn remove(
    State(service): State<Arc<Orchestrator>>,
    Extension(correlation): Extension<CorrelationId>,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    if id == llamacpp::NODE && service.binding.is_some() {
        return Err(ApiError::new(Code::Conflict, "the engine at ORCHD_LLAMACPP_URL is no node that could leave"));
    }
    if !service.scheduler.state().nodes.remove(&id) {
        return Err(ApiError::not_found("node", &id));
    }
    service.store(&Record::NodeGone { node_id: id.clone() }).await?;
    narrate("node_deregister", &id, correlation.as_str(), &format!("Takes node {id} out of use"));
    Ok(StatusCode::NO_CONTENT)
}

/// A node as the list shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeView {
    node_id: String,
    machine_id: String,
    address: String,
    version: String,
    state: NodeState,
    capabilities: Value,
    #[schema(format = DateTime)]
    registered_at: String,
    #[schema(required, format = DateTime)]
    last_heartbeat: Option<String>,
    pools: Vec<PoolView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolView {
    #[serde(flatten)]
    report: PoolReport,
    /// Slots that tasks of this orchestrator hold.
    leases: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NodeList {
    nodes: Vec<NodeView>,
}

/// Every node, as it reported itself last.
#[utoipa::path(get, path = "/v2/nodes", responses((status = 200, description = "All nodes", body = NodeList)))]
pub async fn list(State(service): State<Arc<Orchestrator>>) -> Json<NodeList> {
    let state = service.scheduler.state();
    let now = Instant::now();
    let view = |node: &super::nodes::Node| NodeView {
        node_id: node.registration.node_id.clone(),
        machine_id: node.registration.machine_id.clone(),
        address: node.registration.address.clone(),
        version: node.registration.version.clone(),
        state: node.state(now, state.nodes.timeout),
        capabilities: node.registration.capabilities.clone(),
        registered_at: rfc_3339(node.registration.registered_at_ms),
        last_heartbeat: node.last_heartbeat_ms.map(rfc_3339),
        pools: node.pools.values().map(|pool| PoolView { report: pool.report.clone(), leases: pool.leases }).collect(),
    };
    Json(NodeList { nodes: state.nodes.iter().map(view).collect() })
}
