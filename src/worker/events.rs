//! The events of a job's stream, as the contract spells them.

use serde::Serialize;
use utoipa::ToSchema;

use super::error::Code;
use crate::backend::StopReason;

/// The first event: the job has left the queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Started {
    pub job_id: String,
    pub model: String,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// The seed in use: the request's, or the one drawn for it.
    pub seed: u64,
}

/// One piece of text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Token {
    pub t: String,
    /// Counts token events: 0, 1, 2, …
    pub i: u32,
    /// The tokens that the text was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
}

/// How the job fares, about once a second.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Metrics {
    #[schema(minimum = 0)]
    pub tokens_per_sec: f64,
    pub tokens_out: u32,
    pub memory_bytes: u64,
    pub vram_bytes: u64,
    pub decode_time_ms: u64,
}

/// The last event of a job that ran to its end.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct End {
    /// Tokens sampled, the end-of-text token and those of a matched stop included.
    pub tokens_out: u32,
    pub decode_time_ms: u64,
    #[schema(value_type = StopReasonName)]
    pub stop_reason: StopReason,
    #[schema(required)]
    pub stop_sequence_matched: Option<String>,
    pub seed: u64,
}

/// `stop_reason` in the OpenAPI document; the backend's own type knows nothing of HTTP.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE", as = StopReason)]
#[allow(dead_code)] // only its schema is used
pub enum StopReasonName {
    MaxTokens,
    Eos,
    StopSequence,
}

/// The last event of a job that did not.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ErrorEvent)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    pub retriable: bool,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retriable: code.is_retriable() }
    }

    /// How a job ends that somebody stopped, or that ran out of time.
    pub fn stopped(cause: Cause) -> Self {
        match cause {
            Cause::Cancelled => Self::new(Code::Cancelled, "the job was cancelled"),
            Cause::Disconnected => Self::new(Code::Cancelled, "the client went away"),
            Cause::Draining => Self::new(Code::Cancelled, "the worker is shutting down"),
            Cause::TimedOut => Self::new(Code::InferenceTimeout, "the job ran longer than this worker allows"),
        }
    }
}

/// Why a job was stopped. The first cause stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Cancelled,
    Disconnected,
    Draining,
    TimedOut,
}

/// What may come before the ending.
#[derive(Clone, Debug)]
pub enum Event {
    Started(Started),
    Token(Token),
    Metrics(Metrics),
}

/// What comes last, exactly once.
#[derive(Clone, Debug)]
pub enum Ending {
    End(End),
    Error(Failure),
}
