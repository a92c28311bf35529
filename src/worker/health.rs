//! `GET /health` and `GET /metrics`: the worker's account of itself, from cached state.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, Code, Refusal};
use super::metrics::Gauges;
use super::openapi::{Capability, MemoryArchitecture, Protocol, TokenizerKind, WorkerType};
use super::service::Service;

/// What this build can do, here and in the ready callback.
pub const CAPABILITIES: [&str; 1] = ["text-gen"];
pub const PROTOCOL: &str = "sse";

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Healthy,
    Unhealthy,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `unhealthy` after an out-of-memory, until the next job that succeeds.
    status: Status,
    /// A worker that answers has loaded its model.
    model_loaded: bool,
    model: String,
    /// All weights are in the memory that `memory_type` names.
    resident: bool,
    /// As stored: `F32`, `F16`, `Q8_0`, …; `none` for the stub.
    quant_kind: String,
    memory_bytes: u64,
    vram_bytes: u64,
    vram_bytes_used: u64,
    #[schema(value_type = MemoryArchitecture)]
    memory_type: &'static str,
    #[schema(value_type = MemoryArchitecture)]
    memory_architecture: &'static str,
    #[schema(value_type = Vec<Capability>, min_items = 1)]
    capabilities: [&'static str; 1],
    #[schema(value_type = Protocol)]
    protocol: &'static str,
    #[schema(value_type = WorkerType)]
    worker_type: &'static str,
    /// `none` for the stub.
    #[schema(value_type = TokenizerKind)]
    tokenizer_kind: &'static str,
    vocab_size: u32,
    context_length: u32,
    uptime_seconds: u64,
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    worker_id: String,
    version: &'static str,
    /// A CUDA device's compute capability.
    #[serde(skip_serializing_if = "Option::is_none")]
    sm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cuda_runtime_version: Option<String>,
}

/// Whether the worker can work, and what with.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "The worker answers", body = Health)))]
pub async fn health(State(service): State<Arc<Service>>) -> Json<Health> {
    let held = service.held();
    let model = held.description;
    let (sm, cuda_runtime_version) = model.cuda.map(|cuda| (cuda.sm, cuda.runtime_version)).unzip();
    Json(Health {
        status: if service.is_healthy() { Status::Healthy } else { Status::Unhealthy },
        model_loaded: true,
        model: model.model,
        resident: held.resident,
        quant_kind: model.quant_kind,
        memory_bytes: model.memory_bytes,
        vram_bytes: model.vram_bytes,
        vram_bytes_used: model.vram_bytes,
        memory_type: model.memory_architecture,
        memory_architecture: model.memory_architecture,
        capabilities: CAPABILITIES,
        protocol: PROTOCOL,
        worker_type: model.worker_type,
        tokenizer_kind: model.tokenizer_kind,
        vocab_size: model.vocab_size,
        context_length: model.context_length,
        uptime_seconds: service.started.elapsed().as_secs(),
        worker_id: service.configuration.worker_id.clone(),
        version: env!("CARGO_PKG_VERSION"),
        sm,
        cuda_runtime_version,
    })
}

/// What the worker counts, in Prometheus text.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "Prometheus text", content_type = "text/plain", body = String),
        (status = 500, description = "This worker failed", body = Refusal),
    )
)]
pub async fn metrics(State(service): State<Arc<Service>>) -> Result<impl IntoResponse, ApiError> {
    let model = service.held().description;
    let text = service
        .metrics
        .render(Gauges {
            memory_bytes: model.memory_bytes,
            vram_bytes: model.vram_bytes,
            queue_depth: service.jobs.waiting(),
            uptime_seconds: service.started.elapsed().as_secs_f64(),
        })
        .map_err(|error| ApiError::Refused(Code::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
