//! The inference thread: takes one job after the other, lets the backend compute it, and passes on what comes out.
//!
//! Nothing here touches the runtime that serves, except for the alarm of a job that takes too long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{error, info};

use super::error::Code;
use super::events::{self, Cause, Ending, Event, Failure};
use super::jobs::Admitted;
use super::metrics::Outcome;
use super::service::{Held, Service};
use crate::backend::{BackendError, CancelFlag, CaptureRequest, Finished, InferenceBackend, Prompt, TokenSink};
use crate::model::digest::hex;

/// Only the first jobs leave a capture.
const CAPTURES: u32 = 16;
/// How often a `metrics` event may come between tokens.
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// How long to wait for a slow client before looking again.
const SLOW_CLIENT_PAUSE: Duration = Duration::from_millis(2);

/// Runs jobs until the table says that there will be none.
pub fn serve(backend: &mut dyn InferenceBackend, service: &Arc<Service>, runtime: &Handle) {
    let mut captures_left = CAPTURES;
    while let Some(mut admitted) = service.jobs.next() {
        if let Some(directory) = service.configuration.checkpoint_dir.as_ref().filter(|_| captures_left > 0) {
            captures_left -= 1;
            // an id is checked to be a plain name (`validate::is_job_id`)
            let directory = directory.join(&admitted.job.job_id);
            let scope = service.configuration.backend.capture.unwrap_or_default();
            admitted.job.capture = Some(CaptureRequest { directory, scope });
        }
        run(backend, admitted, service, runtime);
    }
}

/// What is read of the backend for `/health`.
pub fn held(backend: &dyn InferenceBackend) -> Held {
    Held { description: backend.describe(), resident: backend.resident() }
}

fn run(backend: &mut dyn InferenceBackend, admitted: Admitted, service: &Arc<Service>, runtime: &Handle) {
    let Admitted { ticket, job, correlation, accepted, cancel, events, ending } = admitted;
    let started = Instant::now();
    let alarm = {
        let service = service.clone();
        runtime.spawn(async move {
            tokio::time::sleep(service.configuration.inference_timeout).await;
            service.jobs.stop_ticket(ticket, Cause::TimedOut);
        })
    };
    let (prompt_chars, prompt_sha256) = fingerprint(&job.prompt);
    info!(
        event = "execute_start",
        job_id = job.job_id,
        correlation_id = correlation.as_str(),
        prompt_chars,
        prompt_sha256,
        max_tokens = job.max_tokens,
        seed = job.sampling.seed,
        waited_ms = accepted.elapsed().as_millis() as u64,
        "Job started"
    );
    let mut sink = StreamSink::new(service, &events, &cancel, accepted, started);
    sink.send(Event::Started(events::Started {
        job_id: job.job_id.clone(),
        model: sink.held.description.model.clone(),
        started_at: now(),
        seed: job.sampling.seed,
    }));
    let result = catch_unwind(AssertUnwindSafe(|| backend.run(&job, &mut sink, &cancel)))
        .unwrap_or_else(|_| Err(BackendError::Internal("the backend panicked".to_owned())));
    alarm.abort();
    if let Ok(held) = catch_unwind(AssertUnwindSafe(|| held(backend))) {
        service.hold(held);
    }

    let result = settle(result, service.jobs.finish(&job.job_id));
    let outcome = outcome(&result);
    match outcome {
        Outcome::Success => service.set_healthy(true),
        Outcome::Error if matches!(&result, Err(failure) if failure.code == Code::VramOom) => {
            service.set_healthy(false)
        }
        _ => {}
    }
    let tokens_out = result.as_ref().map_or(sink.tokens_out, |finished| finished.tokens_out);
    service.metrics.tokens_generated.inc_by(tokens_out.into());
    service.metrics.duration_ms.observe(milliseconds(started.elapsed()));
    service.metrics.ended(outcome);
    if let Err(failure) = &result
        && outcome == Outcome::Error
    {
        error!(
            event = "error",
            job_id = job.job_id,
            correlation_id = correlation.as_str(),
            code = failure.code.word(),
            "{}",
            failure.message
        );
    }
    info!(
        event = "execute_end",
        job_id = job.job_id,
        correlation_id = correlation.as_str(),
        outcome = outcome.word(),
        code = result.as_ref().err().map(|failure| failure.code.word()),
        tokens_in = sink.tokens_in,
        tokens_out,
        text_bytes = sink.text_bytes,
        text_sha256 = hex(&sink.text.finalize()),
        duration_ms = started.elapsed().as_millis() as u64,
        "Job ended"
    );
    // Everything is counted and the id is free before the client hears of the end. Closing the channel comes first: the
    // stream reads the ending when the events are over.
    drop(events);
    let _ = ending.send(match result {
        Ok(finished) => Ending::End(events::End {
            tokens_out: finished.tokens_out,
            decode_time_ms: finished.decode_time_ms,
            stop_reason: finished.stop_reason,
            stop_sequence_matched: finished.stop_sequence_matched,
            seed: job.sampling.seed,
        }),
        Err(failure) => Ending::Error(failure),
    });
}

/// How the job ends: a job that was stopped in time ends as stopped, whatever the backend still made of it.
fn settle(result: Result<Finished, BackendError>, cause: Option<Cause>) -> Result<Finished, Failure> {
    if let Some(cause) = cause {
        return Err(Failure::stopped(cause));
    }
    result.map_err(|error| match error {
        BackendError::Cancelled => Failure::stopped(Cause::Cancelled),
        BackendError::OutOfMemory { .. } | BackendError::DeviceFull(_) => {
            Failure::new(Code::VramOom, error.to_string())
        }
        BackendError::Internal(message) => Failure::new(Code::Internal, message),
    })
}

fn outcome(result: &Result<Finished, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(failure) => match failure.code {
            Code::Cancelled => Outcome::Cancelled,
            Code::InferenceTimeout => Outcome::Timeout,
            _ => Outcome::Error,
        },
    }
}

/// From the backend's pieces to events in the channel.
struct StreamSink<'a> {
    service: &'a Service,
    events: &'a mpsc::Sender<Event>,
    cancel: &'a CancelFlag,
    held: Held,
    accepted: Instant,
    started: Instant,
    last_piece: Option<Instant>,
    last_metrics: Instant,
    tokens_in: u32,
    /// Tokens behind the pieces so far; the backend's own count may be higher at the end, never lower.
    tokens_out: u32,
    /// Token events so far.
    pieces: u32,
    text_bytes: usize,
    text: Sha256,
}

impl<'a> StreamSink<'a> {
    fn new(
        service: &'a Service,
        events: &'a mpsc::Sender<Event>,
        cancel: &'a CancelFlag,
        accepted: Instant,
        started: Instant,
    ) -> Self {
        Self {
            service,
            events,
            cancel,
            held: service.held(),
            accepted,
            started,
            last_piece: None,
            last_metrics: started,
            tokens_in: 0,
            tokens_out: 0,
            pieces: 0,
            text_bytes: 0,
            text: Sha256::new(),
        }
    }

    /// Waits for a slow client, and gives up when the job is stopped: its stream then skips to the ending anyway.
    fn send(&self, event: Event) {
        let mut event = event;
        while let Err(TrySendError::Full(returned)) = self.events.try_send(event) {
            if self.cancel.wait(SLOW_CLIENT_PAUSE) {
                return;
            }
            event = returned;
        }
    }

    fn metrics(&self, now: Instant) -> events::Metrics {
        let elapsed = now - self.started;
        events::Metrics {
            tokens_per_sec: f64::from(self.tokens_out) / elapsed.as_secs_f64().max(f64::EPSILON),
            tokens_out: self.tokens_out,
            memory_bytes: self.held.description.memory_bytes,
            vram_bytes: self.held.description.vram_bytes,
            decode_time_ms: elapsed.as_millis() as u64,
        }
    }
}

impl TokenSink for StreamSink<'_> {
    fn prompt_read(&mut self, tokens_in: u32) {
        self.tokens_in = tokens_in;
        self.service.metrics.tokens_in.inc_by(tokens_in.into());
    }

    fn piece(&mut self, text: &str, ids: &[u32]) {
        let now = Instant::now();
        match self.last_piece.replace(now) {
            None => self.service.metrics.first_token_ms.observe(milliseconds(now - self.accepted)),
            Some(last) => {
                self.service.metrics.inter_token_ms.observe(milliseconds(now - last));
                if now - self.last_metrics >= METRICS_EVERY {
                    self.last_metrics = now;
                    self.send(Event::Metrics(self.metrics(now)));
                }
            }
        }
        self.tokens_out += u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.text_bytes += text.len();
        self.text.update(text);
        self.send(Event::Token(events::Token { t: text.to_owned(), i: self.pieces, ids: ids.to_vec() }));
        self.pieces += 1;
    }
}

/// What a log may know of a prompt: its length and its digest.
fn fingerprint(prompt: &Prompt) -> (usize, String) {
    match prompt {
        Prompt::Text(text) => (text.chars().count(), hex(&Sha256::digest(text))),
        Prompt::Ids(ids) => {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            (ids.len(), hex(&Sha256::digest(bytes)))
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// RFC 3339, UTC, to the millisecond.
pub fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
