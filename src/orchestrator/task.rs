//! One task: what was asked for, what was promised at admission, and how far it is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::Code;
use super::event_log::EventLog;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Interactive,
    Batch,
}

impl Priority {
    pub fn word(self) -> &'static str {
        match self {
            Priority::Interactive => "interactive",
            Priority::Batch => "batch",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Determinism {
    /// A seed is drawn where none is given, and a task that has started never starts again elsewhere.
    Strict,
    BestEffort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvHint {
    /// The pool that served this session last, where it can take the task, for the prefix that it may still hold.
    Reuse,
    /// No prefix of another task is reused.
    Cold,
}

impl KvHint {
    pub fn word(self) -> &'static str {
        match self {
            KvHint::Reuse => "reuse",
            KvHint::Cold => "cold",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Pin,
    Prefer,
    #[default]
    Auto,
}

/// Where the client wants its task to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    pub mode: Mode,
    pub pin_pool_id: Option<String>,
    pub prefer_pools: Vec<String>,
    pub avoid_pools: Vec<String>,
    pub require_device_mask: Option<String>,
    /// In mode `prefer`: whether other pools will do.
    pub allow_fallback: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            pin_pool_id: None,
            prefer_pools: Vec::new(),
            avoid_pools: Vec::new(),
            require_device_mask: None,
            allow_fallback: true,
        }
    }
}

/// A request that has passed every check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub task_id: Uuid,
    pub session_id: Uuid,
    /// As given: a reference, or an alias of the catalog.
    pub model_ref: String,
    pub engine: String,
    pub ctx: u32,
    pub priority: Priority,
    pub prompt: String,
    pub max_tokens: u32,
    pub deadline_ms: u64,
    /// The request's, or the one drawn for a strict task.
    pub seed: Option<u64>,
    /// `temperature`, `top_p`, `top_k`, `min_p`, `repetition_penalty`, `stop`: what was given of them, for the worker.
    pub sampling: Map<String, Value>,
    pub determinism: Determinism,
    pub expected_tokens: Option<u32>,
    pub kv_hint: Option<KvHint>,
    pub placement: Wish,
}

/// What admission said, which the stream's `started` repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admitted {
    pub spec: TaskSpec,
    /// Every name that a node may list the model under: as given, and what the catalog makes of it.
    pub model_names: Vec<String>,
    pub correlation: String,
    /// Milliseconds since 1970, UTC.
    pub admitted_at_ms: u64,
    pub queue_position: usize,
    pub predicted_start_ms: u64,
    /// The model is not there yet: it is fetched when the task's turn comes, into this pool.
    pub preparation: Option<Target>,
}

/// A pool of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Target {
    pub node_id: String,
    pub pool_id: String,
}

/// Why a task is stopped before its own end. The first cause stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Cancelled,
    Disconnected,
    /// The queue was full, and a newer task took its place.
    Dropped,
    /// What arrived could not be stored.
    Storage,
}

impl Cause {
    pub fn ending(self) -> (Code, &'static str) {
        match self {
            Cause::Cancelled => (Code::Cancelled, "the task was cancelled"),
            Cause::Disconnected => (Code::Cancelled, "the client went away and did not come back"),
            Cause::Dropped => (Code::QueueFullDropLru, "the queue was full, and a newer task took this one's place"),
            Cause::Storage => (Code::Internal, "the stream could not be stored"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Queued,
    /// The model is being fetched.
    Preparing,
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// How far a task is, for those who ask.
#[derive(Clone, Debug)]
pub struct Progress {
    pub phase: Phase,
    pub target: Option<Target>,
    pub attempts: u32,
    pub tokens: u64,
    pub started_at_ms: Option<u64>,
    pub ended_at_ms: Option<u64>,
    /// The data of the ending, as the stream has it.
    pub ending: Option<Value>,
}

#[derive(Debug)]
pub struct Task {
    pub admitted: Admitted,
    pub log: EventLog,
    pub deadline: Instant,
    stop: watch::Sender<Option<Cause>>,
    progress: Mutex<Progress>,
}

impl Task {
    pub fn new(admitted: Admitted, log: EventLog) -> Self {
        let waited = now_ms().saturating_sub(admitted.admitted_at_ms);
        let left = Duration::from_millis(admitted.spec.deadline_ms.saturating_sub(waited));
        let now = Instant::now();
        Self {
            deadline: now.checked_add(left).unwrap_or(now + FAR),
            admitted,
            log,
            stop: watch::Sender::new(None),
            progress: Mutex::new(Progress {
                phase: Phase::Queued,
                target: None,
                attempts: 0,
                tokens: 0,
                started_at_ms: None,
                ended_at_ms: None,
                ending: None,
            }),
        }
    }

    /// What stays of a task whose stream makes room for others: how it went, without its words.
    pub fn remains(&self) -> Self {
        let mut admitted = self.admitted.clone();
        admitted.spec.prompt = String::new();
        admitted.spec.sampling = Map::new();
        let remains = Self::new(admitted, self.log.remains());
        self.progress().clone_into(&mut remains.progress());
        remains
    }

    pub fn spec(&self) -> &TaskSpec {
        &self.admitted.spec
    }

    pub fn id(&self) -> Uuid {
        self.admitted.spec.task_id
    }

    /// Asks for the task's end; its `life` brings it about.
    pub fn stop(&self, cause: Cause) {
        self.stop.send_if_modified(|stop| stop.is_none().then(|| *stop = Some(cause)).is_some());
    }

    /// Resolves when somebody asked for the end.
    pub async fn stopped(&self) -> Cause {
        let mut stop = self.stop.subscribe();
        loop {
            if let Some(cause) = *stop.borrow_and_update() {
                return cause;
            }
            // The sender lives as long as `self`.
            let _ = stop.changed().await;
        }
    }

    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the worker is asked, under the id of this attempt.
    pub fn execute_body(&self, job_id: &str, model: &str) -> Value {
        let spec = self.spec();
        let mut body = Map::new();
        body.insert("job_id".to_owned(), job_id.into());
        body.insert("prompt".to_owned(), spec.prompt.clone().into());
        body.insert("max_tokens".to_owned(), spec.max_tokens.into());
        body.extend(spec.sampling.clone());
        if let Some(seed) = spec.seed {
            body.insert("seed".to_owned(), seed.into());
        }
        // For pools that serve more than one model, and engines that keep prefixes.
        body.insert("model_ref".to_owned(), model.into());
        if let Some(hint) = spec.kv_hint {
            body.insert("kv_hint".to_owned(), hint.word().into());
        }
        Value::Object(body)
    }
}

/// As good as never, and still an instant.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Milliseconds since 1970, UTC.
pub fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// RFC 3339, UTC, of such milliseconds.
pub fn rfc_3339(ms: u64) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", timestamp.unwrap_or_default())
}
