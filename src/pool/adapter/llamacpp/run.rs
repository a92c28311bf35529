//! One job on the engine: its stream, as the contract's events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{EngineError, EngineJob, LlamaCpp, PATIENCE, Running, refusal};
use crate::backend::StopReason;
use crate::http::event_stream::{EventReader, Received};
use crate::http::post;
use crate::pool::error::{Code, Failure};
use crate::pool::registry::Cause;
use crate::worker::events::{End, Started};

/// The longest event that is read.
const EVENT_BYTES: usize = 4 * 1024 * 1024;
/// The longest refusal that is read.
const REFUSAL_BYTES: usize = 64 * 1024;
/// The contract's hard limit for a cancelled job.
const IDLE_PATIENCE: Duration = Duration::from_secs(5);
const IDLE_LOOK: Duration = Duration::from_millis(20);
/// A request that was cut before its first word may still be on its way to a slot: idle has to last this long.
const UNSEEN_IDLE: Duration = Duration::from_millis(150);
/// What the server puts for bytes that are no character.
const REPLACEMENT: char = '\u{FFFD}';

/// One piece of text, with what the engine said of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Token {
    pub t: String,
    pub i: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
    /// As the engine spells them, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<Value>,
}

#[derive(Clone, Debug)]
pub enum Event {
    Started(Box<Started>),
    Token(Box<Token>),
}

#[derive(Clone, Debug)]
pub enum Ending {
    End(End),
    Error(Failure),
}

impl Ending {
    fn error(code: Code, message: impl Into<String>) -> Self {
        Self::Error(Failure::new(code, message))
    }
}

/// What goes wrong with the engine, in the contract's codes.
impl From<&EngineError> for Failure {
    fn from(error: &EngineError) -> Self {
        let code = match error {
            EngineError::Unreachable(_) => Code::WorkerReset,
            EngineError::Loading => Code::PoolUnready,
            EngineError::Refused { status: 400, .. } => Code::InvalidRequest,
            EngineError::Refused { status: 429 | 503, .. } => Code::Busy,
            EngineError::Unauthorized | EngineError::Refused { .. } | EngineError::Garbled(_) => Code::Internal,
        };
        Failure::new(code, error.to_string())
    }
}

impl LlamaCpp {
    /// Runs a job to its ending. `stopped` resolves when it is to stop; a receiver that is dropped stops it too.
    pub async fn run(
        &self,
        job: &EngineJob,
        limit: Duration,
        stopped: impl Future<Output = Cause>,
        events: &mpsc::Sender<Event>,
    ) -> Ending {
        let running = Running::begin(self);
        let seen = AtomicBool::new(false);
        let ending = tokio::select! {
            // Dropping the other arm closes its connection: that is the engine's cancel.
            cause = stopped => Err(cause),
            () = events.closed() => Err(Cause::Cancelled),
            ending = timeout(limit, self.stream(job, events, &seen)) => Ok(ending),
        };
        match ending {
            Ok(Ok(Ok(ending))) => ending,
            Ok(Ok(Err(error))) => Ending::Error(Failure::from(&error)),
            Ok(Err(_)) => {
                self.prove_idle(&running, job, seen.into_inner()).await;
                Ending::error(Code::InferenceTimeout, "the job ran longer than this node allows")
            }
            Err(cause) => {
                self.prove_idle(&running, job, seen.into_inner()).await;
                Ending::error(
                    Code::Cancelled,
                    if cause == Cause::Draining { "the node stops this engine" } else { "the job was cancelled" },
                )
            }
        }
    }

    /// Waits until no slot works for this job any more.
    async fn prove_idle(&self, running: &Running<'_>, job: &EngineJob, seen: bool) {
        let closed = Instant::now();
        let needed = if seen { Duration::ZERO } else { UNSEEN_IDLE };
        let mut idle_since: Option<Instant> = None;
        let mut last = String::new();
        while closed.elapsed() < IDLE_PATIENCE {
            match self.working_slots().await {
                Ok(working) if working <= running.others() => {
                    if idle_since.get_or_insert_with(Instant::now).elapsed() < needed {
                        sleep(IDLE_LOOK).await;
                        continue;
                    }
                    let idle_after_ms = closed.elapsed().as_millis() as u64;
                    info!(
                        actor = "llamacpp-http",
                        action = "slot_idle",
                        target = job.job.job_id,
                        idle_after_ms,
                        human = "The slot of a stopped job is idle",
                        "The slot of a stopped job is idle"
                    );
                    return;
                }
                Ok(working) => {
                    idle_since = None;
                    last = format!("{working} slots work");
                }
                // An engine that is gone works for nobody.
                Err(EngineError::Unreachable(_)) => return,
                Err(error) => last = error.to_string(),
            }
            sleep(IDLE_LOOK).await;
        }
        warn!(
            actor = "llamacpp-http",
            action = "slot_not_idle",
            target = job.job.job_id,
            reason = last,
            human = "The slot of a stopped job was not seen idle",
            "The slot of a stopped job was not seen idle"
        );
    }

    /// `seen` turns true with the engine's first word.
    async fn stream(
        &self,
        job: &EngineJob,
        events: &mpsc::Sender<Event>,
        seen: &AtomicBool,
    ) -> Result<Ending, EngineError> {
        let mut reading = Reading::new(job, events);
        reading.started(&self.properties.model_alias).await;
        let gone = |reason: &dyn std::fmt::Display| EngineError::Unreachable(reason.to_string());
        let body = serde_json::to_vec(&job.completion(self.properties.context_length)).unwrap_or_default();
        let headers = post::headers(None, self.api_key.as_deref());
        let answer = post::post(&self.route("completion"), &headers, &body, PATIENCE).await;
        let mut answer = answer.map_err(|error| gone(&error))?;
        if !answer.status.is_success() {
            return Err(refusal(answer.status, &answer.rest(REFUSAL_BYTES).await.unwrap_or_default()));
        }
        let mut reader = EventReader::new(EVENT_BYTES);
        loop {
            let chunk = answer.chunk().await.map_err(|error| gone(&error))?;
            let Some(bytes) = chunk else { return Err(gone(&"its stream ended before the job did")) };
            seen.store(true, Ordering::Relaxed);
            reader.feed(&bytes).map_err(|error| EngineError::Garbled(error.to_string()))?;
            while let Some(event) = reader.next_event() {
                if let Some(ending) = reading.take(&event).await? {
                    return Ok(ending);
                }
            }
        }
    }
}

/// What has been read of a stream so far.
struct Reading<'a> {
    job: &'a EngineJob,
    events: &'a mpsc::Sender<Event>,
    next: u32,
    /// Tokens whose text has not come yet, or may still turn out to be half a character.
    ids: Vec<u32>,
    probabilities: Vec<Value>,
    began: Instant,
}

impl<'a> Reading<'a> {
    fn new(job: &'a EngineJob, events: &'a mpsc::Sender<Event>) -> Self {
        Self { job, events, next: 0, ids: Vec::new(), probabilities: Vec::new(), began: Instant::now() }
    }

    async fn started(&self, model: &str) {
        let started = Started {
            job_id: self.job.job.job_id.clone(),
            model: model.to_owned(),
            started_at: format!("{:.3}", jiff::Timestamp::now()),
            seed: self.job.job.sampling.seed,
        };
        let _ = self.events.send(Event::Started(started.into())).await; // a receiver that is gone stops the job elsewhere
    }

    /// One event of the engine: text, the end, or an error.
    async fn take(&mut self, event: &Received) -> Result<Option<Ending>, EngineError> {
        if event.data == "[DONE]" {
            return Ok(None);
        }
        let data: Value =
            serde_json::from_str(&event.data).map_err(|error| EngineError::Garbled(format!("no JSON: {error}")))?;
        if let Some(error) = data.get("error") {
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            let message = error["message"].as_str().unwrap_or("no reason given").to_owned();
            return Err(EngineError::Refused { status, message });
        }
        self.ids.extend(data["tokens"].as_array().into_iter().flatten().filter_map(Value::as_u64).map(|id| id as u32));
        self.probabilities.extend(data["completion_probabilities"].as_array().into_iter().flatten().cloned());
        let stopped = data["stop"] == true;
        let text: String = data["content"].as_str().unwrap_or_default().chars().filter(|c| *c != REPLACEMENT).collect();
        if !text.is_empty() {
            let token = Token {
                t: text,
                i: self.next,
                ids: std::mem::take(&mut self.ids),
                probabilities: std::mem::take(&mut self.probabilities),
            };
            self.next += 1;
            let _ = self.events.send(Event::Token(token.into())).await;
        }
        Ok(stopped.then(|| self.end(&data)))
    }

    fn end(&self, data: &Value) -> Ending {
        let tokens_out = data["tokens_predicted"].as_u64().and_then(|count| u32::try_from(count).ok());
        let Some(tokens_out) = tokens_out else {
            return Ending::error(Code::Internal, "the engine does not say how many tokens it made");
        };
        let word = data["stopping_word"].as_str().filter(|word| !word.is_empty());
        let (stop_reason, stop_sequence_matched) = match data["stop_type"].as_str() {
            Some("eos") => (StopReason::Eos, None),
            Some("word") => (StopReason::StopSequence, word.map(str::to_owned)),
            Some("limit") => (StopReason::MaxTokens, None),
            other => {
                let message = format!("the engine stopped for a reason that is not known here: {other:?}");
                return Ending::error(Code::Internal, message);
            }
        };
        let measured = data["timings"]["predicted_ms"].as_f64().filter(|ms| ms.is_finite() && *ms >= 0.0);
        let decode_time_ms = measured.map_or_else(|| self.began.elapsed().as_millis() as u64, |ms| ms.round() as u64);
        Ending::End(End {
            tokens_out,
            decode_time_ms,
            stop_reason,
            stop_sequence_matched,
            seed: self.job.job.sampling.seed,
        })
    }
}
