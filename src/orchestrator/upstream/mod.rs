//! Where a task is run: something that takes a job and streams events back, in the words of the worker contract.

pub mod llamacpp;
pub mod node;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_stream::Stream;

/// One attempt at a task.
#[derive(Clone, Debug)]
pub struct Job {
    pub job_id: String,
    /// The body of `/execute`.
    pub body: Value,
    pub correlation: String,
}

/// What a worker sends.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamEvent {
    Started(Map<String, Value>),
    Token(TokenData),
    Metrics(Map<String, Value>),
    End(EndData),
    Error(ErrorData),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TokenData {
    pub t: String,
    pub i: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EndData {
    pub tokens_out: u64,
    pub decode_time_ms: u64,
    pub stop_reason: String,
    #[serde(default)]
    pub stop_sequence_matched: Option<String>,
    #[serde(default)]
    pub seed: Option<u64>,
    /// Beyond the contract: what some engines count.
    #[serde(default)]
    pub tokens_in: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ErrorData {
    pub code: String,
    #[serde(default)]
    pub message: String,
}

/// The stream ended otherwise than the contract has it. The message is a whole clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// The job was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// No room, or going away: another time, or another place.
    Busy { pause: Duration, message: String },
    /// A job of this id is still there.
    Duplicate,
    /// The job breaks this worker's rules.
    Invalid { message: String, errors: Value },
    /// Nobody is there.
    Unreachable(String),
    /// Somebody was there, and went away without an answer.
    Broken(String),
    /// An answer that is none of the above.
    Failed { code: String, message: String },
}

pub type Events = Pin<Box<dyn Stream<Item = Result<UpstreamEvent, Broken>> + Send>>;
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A pool that runs jobs: on a node, or an engine at a URL.
pub trait Upstream: Send + Sync {
    /// Resolves when the job is taken; the stream then brings its events as they are computed. Dropping it gives the job up.
    fn execute<'a>(&'a self, job: &'a Job) -> Answer<'a, Result<Events, Refusal>>;

    /// Asks that the job be stopped. Its stream tells when it is.
    fn cancel<'a>(&'a self, job: &'a Job) -> Answer<'a, ()>;
}

/// An event by its name, or why it is none.
pub fn read_event(name: &str, data: &str) -> Result<Option<UpstreamEvent>, Broken> {
    fn read<'a, T: Deserialize<'a>>(name: &str, data: &'a str) -> Result<T, Broken> {
        serde_json::from_str(data)
            .map_err(|error| Broken(format!("its '{name}' event can't be read (column {})", error.column())))
    }
    Ok(Some(match name {
        "token" => UpstreamEvent::Token(read(name, data)?),
        "metrics" => UpstreamEvent::Metrics(read(name, data)?),
        "started" => UpstreamEvent::Started(read(name, data)?),
        "end" => UpstreamEvent::End(read(name, data)?),
        "error" => UpstreamEvent::Error(read(name, data)?),
        // An event of a later version says nothing that this one could pass on.
        _ => return Ok(None),
    }))
}
