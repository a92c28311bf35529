//! What the routes of workers and pools are asked: read by hand, so that every field that is wrong is told, by its name.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::HeaderMap;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::body;
use crate::http::fields::{self, Fields};
use crate::pool::error::PoolError;
use crate::pool::models::reference::ModelReference;
use crate::pool::node::Node;
use crate::worker::error::ApiError;

const LONGEST_DRAIN_MS: u64 = 86_400_000;

/// The body of `/v2/workers/start`, and of a pool's preload, where each field may be left out.
#[derive(Clone, Debug, Default, ToSchema)]
pub struct StartRequest {
    /// `file:/absolute/path`, `hf:org/repo[@rev][::file=path]`, or an id of the node's catalog. The stub needs none.
    pub model_ref: Option<String>,
    /// `cpu`, `stub`, `llamacpp`, `cuda`, `metal`, or one that this node's configuration names; its default where it is
    /// left out.
    pub backend: Option<String>,
    pub gpu_id: Option<u32>,
    /// The first pool, where it is left out.
    pub pool_id: Option<String>,
    /// Started again when it fails.
    pub supervise: Option<bool>,
}

/// The body of a drain.
#[derive(Clone, Copy, Debug, Default, ToSchema)]
pub struct DrainRequest {
    /// When running jobs are cancelled; this node's default where it is left out.
    #[schema(minimum = 0, maximum = 86_400_000)]
    pub deadline_ms: Option<u64>,
}

/// The body of a reload: what to serve from then on; what is left out stays as it is.
#[derive(Clone, Debug, Default, ToSchema)]
pub struct ReloadRequest {
    pub model_ref: Option<String>,
    pub backend: Option<String>,
    pub gpu_id: Option<u32>,
    #[schema(minimum = 0, maximum = 86_400_000)]
    pub deadline_ms: Option<u64>,
}

/// A request of this kind, from its fields.
pub trait Asked: Sized {
    const FIELDS: &'static [&'static str];

    fn of(fields: &mut Fields<'_>) -> Self;

    fn read(object: &Map<String, Value>) -> Result<Self, PoolError> {
        let mut fields = Fields::of(object, &[]);
        let asked = Self::of(&mut fields);
        fields.refuse_unknown(Self::FIELDS);
        if fields.errors.is_empty() { Ok(asked) } else { Err(ApiError::Invalid(fields.errors).into()) }
    }
}

/// Reads a body.
pub async fn read<T: Asked>(headers: &HeaderMap, body: Body) -> Result<T, PoolError> {
    let bytes = body::read_json(headers, body).await.map_err(ApiError::from)?;
    T::read(&fields::object(&bytes).map_err(ApiError::from)?)
}

/// Reads a body that may be left out.
pub async fn read_optional<T: Asked>(headers: &HeaderMap, body: Body) -> Result<T, PoolError> {
    let bytes = body::read_optional_json(headers, body).await.map_err(ApiError::from)?;
    T::read(&fields::optional_object(bytes.as_deref()).map_err(ApiError::from)?)
}

impl Asked for StartRequest {
    const FIELDS: &'static [&'static str] = &["model_ref", "backend", "gpu_id", "pool_id", "supervise"];

    fn of(fields: &mut Fields<'_>) -> Self {
        Self {
            model_ref: fields.model_name(),
            backend: fields.text("backend").map(str::to_owned),
            gpu_id: fields.gpu(),
            pool_id: fields.text("pool_id").map(str::to_owned),
            supervise: fields.switch("supervise"),
        }
    }
}

impl Asked for DrainRequest {
    const FIELDS: &'static [&'static str] = &["deadline_ms"];

    fn of(fields: &mut Fields<'_>) -> Self {
        Self { deadline_ms: fields.integer("deadline_ms", 0, LONGEST_DRAIN_MS) }
    }
}

impl Asked for ReloadRequest {
    const FIELDS: &'static [&'static str] = &["model_ref", "backend", "gpu_id", "deadline_ms"];

    fn of(fields: &mut Fields<'_>) -> Self {
        Self {
            model_ref: fields.model_name(),
            backend: fields.text("backend").map(str::to_owned),
            gpu_id: fields.gpu(),
            deadline_ms: fields.integer("deadline_ms", 0, LONGEST_DRAIN_MS),
        }
    }
}

impl Fields<'_> {
    fn model_name(&mut self) -> Option<String> {
        let text = self.text("model_ref")?;
        match ModelReference::parse(text) {
            Ok(_) => Some(text.to_owned()),
            Err(refusal) => {
                self.refuse("model_ref", "pattern", refusal);
                None
            }
        }
    }

    fn gpu(&mut self) -> Option<u32> {
        self.integer("gpu_id", 0, u32::MAX.into()).map(|gpu| gpu as u32)
    }
}

/// When a drain that is asked for now cancels what still runs.
pub fn deadline(asked_ms: Option<u64>, node: &Node) -> Instant {
    Instant::now() + asked_ms.map_or(node.configuration.drain_deadline, Duration::from_millis)
}
