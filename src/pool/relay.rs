//! A job on a worker: its stream is passed on frame by frame, as it comes.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::error::{Code, Failure, PoolError};
use super::execute::{Errand, Frames, Gone, stopped, streaming};
use super::metrics::Outcome;
use crate::http::event_stream::{EventReader, Received};
use crate::http::post::{self, Answer};

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// The contract's hard limit for a cancelled job.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// The longest event that a worker may send.
const EVENT_BYTES: usize = 1024 * 1024;
/// The longest refusal that is passed on.
const REFUSAL_BYTES: usize = 1024 * 1024;

pub async fn execute(
    mut errand: Errand,
    uri: &Url,
    token: Option<String>,
    body: Vec<u8>,
) -> Result<Response, PoolError> {
    let worker = Worker { uri: uri.clone(), token };
    let (url, headers) = (worker.route("execute"), worker.headers(&errand));
    // A worker may hold its head back until the job starts.
    let answered = tokio::select! {
        answered = post::post(&url, &headers, &body, CONNECT_PATIENCE) => answered,
        _ = stopped(&mut errand.lease.stop) => {
            worker.cancel(&errand).await;
            errand.ended(Outcome::Cancelled, 0);
            return Err(PoolError::refused(Code::Cancelled, "the job was cancelled before it started"));
        }
    };
    let upstream = answered.map_err(|error| {
        warn!(actor = "pool-managerd", action = "worker_unreachable", target = errand.lease.replica.id, reason = %error);
        errand.node.registry.changed.notify_one();
        PoolError::refused(Code::WorkerReset, "the worker did not answer")
    })?;
    if upstream.status != StatusCode::OK {
        errand.ended(Outcome::Refused, 0);
        return pass_on(upstream).await;
    }
    let (frames, response) = streaming();
    tokio::spawn(async move {
        let (outcome, tokens_out) =
            Relay { errand: &mut errand, worker: &worker, frames, withheld: false }.run(upstream).await;
        errand.ended(outcome, tokens_out);
    });
    Ok(response)
}

/// A refusal, as the worker spelled it.
async fn pass_on(mut upstream: Answer) -> Result<Response, PoolError> {
    let mut response = Response::builder().status(upstream.status);
    for name in [CONTENT_TYPE, RETRY_AFTER] {
        if let Some(value) = upstream.headers.get(&name) {
            response = response.header(name, value);
        }
    }
    let body = upstream
        .rest(REFUSAL_BYTES)
        .await
        .map_err(|error| PoolError::refused(Code::WorkerReset, format!("the worker broke off its refusal: {error}")))?;
    response.body(Body::from(body)).map_err(|error| PoolError::refused(Code::Internal, error.to_string()))
}

/// The worker's side of a job.
struct Worker {
    uri: Url,
    token: Option<String>,
}

impl Worker {
    fn route(&self, name: &str) -> Url {
        let mut url = self.uri.clone();
        url.set_path(name);
        url
    }

    fn headers(&self, errand: &Errand) -> HeaderMap {
        post::headers(Some(errand.correlation.as_str()), self.token.as_deref())
    }

    /// Tells the worker; a worker that does not answer is cut off by closing its stream.
    async fn cancel(&self, errand: &Errand) {
        let Some(job_id) = &errand.lease.job_id else { return };
        let request = errand.node.client.post(self.route("cancel")).headers(self.headers(errand));
        let request = request.json(&json!({"job_id": job_id}));
        if let Err(error) = request.timeout(CANCEL_PATIENCE).send().await {
            warn!(actor = "pool-managerd", action = "cancel_failed", target = errand.lease.replica.id, reason = %error.without_url());
        }
    }
}

struct Relay<'a> {
    errand: &'a mut Errand,
    worker: &'a Worker,
    frames: Frames,
    /// A token came after the cancel, and was not passed on.
    withheld: bool,
}

/// Where a stream stands after some of it.
enum Step {
    On,
    Ended(Outcome, u64),
}

impl Relay<'_> {
    /// How the job ended, and its tokens.
    async fn run(mut self, mut upstream: Answer) -> (Outcome, u64) {
        let mut reader = EventReader::new(EVENT_BYTES);
        let mut stop = self.errand.lease.stop.clone();
        // Before: the job runs as it may. After: it ends, at the latest then.
        let mut forced: Option<Instant> = None;
        loop {
            let chunk = tokio::select! {
                () = self.frames.gone() => return (Outcome::Disconnected, 0),
                _ = stopped(&mut stop), if forced.is_none() => {
                    forced = Some(Instant::now() + CANCEL_PATIENCE);
                    self.worker.cancel(self.errand).await;
                    continue;
                }
                () = sleep_until(forced.unwrap_or_else(Instant::now)), if forced.is_some() => {
                    return self.fail(Code::Cancelled, "the job was cancelled", Outcome::Cancelled).await;
                }
                chunk = upstream.chunk() => chunk,
            };
            let Ok(Some(bytes)) = chunk else {
                return self
                    .fail(Code::WorkerReset, "the worker went away before the job ended", Outcome::WorkerReset)
                    .await;
            };
            if let Err(error) = reader.feed(&bytes) {
                return self
                    .fail(Code::WorkerReset, &format!("the worker's stream broke: {error}"), Outcome::WorkerReset)
                    .await;
            }
            while let Some(event) = reader.next_event() {
                match self.pass(&event, forced.is_some()).await {
                    Ok(Step::On) => {}
                    Ok(Step::Ended(outcome, tokens)) => return (outcome, tokens),
                    Err(Gone) => return (Outcome::Disconnected, 0),
                }
            }
        }
    }

    async fn pass(&mut self, event: &Received, stopping: bool) -> Result<Step, Gone> {
        match event.name.as_str() {
            "end" if self.withheld => {
                let (outcome, tokens) = self.fail(Code::Cancelled, "the job was cancelled", Outcome::Cancelled).await;
                return Ok(Step::Ended(outcome, tokens));
            }
            "end" => {
                self.send(event).await?;
                let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
                return Ok(Step::Ended(Outcome::End, data["tokens_out"].as_u64().unwrap_or(0)));
            }
            "error" => {
                self.send(event).await?;
                return Ok(Step::Ended(if stopping { Outcome::Cancelled } else { Outcome::Error }, 0));
            }
            _ if stopping => self.withheld = true,
            _ => self.send(event).await?,
        }
        Ok(Step::On)
    }

    async fn send(&self, event: &Received) -> Result<(), Gone> {
        self.frames.send_while(&self.errand.lease.stop, &event.name, &event.data).await
    }

    /// The last frame of a stream that the worker did not end itself.
    async fn fail(&self, code: Code, message: &str, outcome: Outcome) -> (Outcome, u64) {
        let failure = Failure::new(code, message);
        match self.frames.send_json(&self.errand.lease.stop, "error", &failure).await {
            Ok(()) => (outcome, 0),
            Err(Gone) => (Outcome::Disconnected, 0),
        }
    }
}
