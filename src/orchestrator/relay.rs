//! One attempt at a task: dispatched to a slot, its events passed on one by one as they arrive, in their order.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_stream::StreamExt;

use super::error::Code;
use super::life::Life;
use super::metrics::Labels;
use super::narration::narrate;
use super::nodes::NodeState;
use super::preparation;
use super::scheduler::Lease;
use super::task::{Cause, Phase, now_ms};
use super::upstream::{EndData, ErrorData, Events, Job, Refusal, TokenData, Upstream, UpstreamEvent};

/// How long a worker may take to stop before its connection is closed.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether a node that a silent stream comes from is still there.
const LOOK: Duration = Duration::from_secs(1);
/// After the last event, for the end of the answer: by then the slot is free at the node too.
const LAST_BYTES: Duration = Duration::from_millis(500);

pub enum Outcome {
    /// The ending is written.
    Over,
    /// Nothing came of it: back to the queue. `shun`: rather not to the same place.
    Again { shun: bool },
}

/// Why an attempt is cut short.
enum Interruption {
    Stopped(Cause),
    OutOfTime(Code),
}

/// Runs the task on this slot.
pub async fn run(life: &mut Life, lease: Lease) -> Outcome {
    let job_id = life.job_id();
    let task = life.task.clone();
    let job =
        Job { body: task.execute_body(&job_id, &lease.model), job_id, correlation: task.admitted.correlation.clone() };
    narrate(
        "dispatch",
        &format!("{}/{}", lease.node_id, lease.pool_id),
        &job.correlation,
        &format!("Sends task {} to pool {} of node {}", task.id(), lease.pool_id, lease.node_id),
    );
    let upstream = life.service.upstream(&lease);
    let mut attempt = Attempt {
        timer: Box::pin(sleep_until(task.deadline)),
        dispatched: Instant::now(),
        first_token: None,
        tokens: 0,
        life,
        lease,
        upstream,
        job,
    };
    match attempt.taken().await {
        Ok(events) => attempt.relay(events).await,
        Err(outcome) => outcome,
    }
}

struct Attempt<'a> {
    life: &'a mut Life,
    lease: Lease,
    upstream: Arc<dyn Upstream>,
    job: Job,
    dispatched: Instant,
    first_token: Option<Instant>,
    /// Token events of this attempt.
    tokens: u64,
    /// Runs out with the deadline or the session's time, whichever is first.
    timer: Pin<Box<Sleep>>,
}

impl Attempt<'_> {
    /// Sets the timer, and says what it means when it runs out.
    fn set_timer(&mut self) -> Code {
        let deadline = self.life.task.deadline;
        let left = self.life.session.remaining().time_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let (limit, code) = match left {
            Some(budget) if budget < deadline => (budget, Code::BudgetExceeded),
            _ => (deadline, Code::DeadlineUnmet),
        };
        if self.timer.deadline() != limit {
            self.timer.as_mut().reset(limit);
        }
        code
    }

    /// Waits until the job is taken.
    async fn taken(&mut self) -> Result<Events, Outcome> {
        let code = self.set_timer();
        let task = self.life.task.clone();
        let (upstream, job) = (self.upstream.clone(), self.job.clone());
        let answer = tokio::select! {
            biased;
            cause = task.stopped() => Err(Interruption::Stopped(cause)),
            () = self.timer.as_mut() => Err(Interruption::OutOfTime(code)),
            answer = upstream.execute(&job) => Ok(answer),
        };
        match answer {
            Ok(Ok(events)) => Ok(events),
            Ok(Err(refusal)) => Err(self.refused(refusal)),
            Err(interruption) => {
                self.interrupt(interruption);
                // The connection was given up, which stops the job; the cancel says so once more.
                self.upstream.cancel(&self.job).await;
                Err(Outcome::Over)
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Outcome {
        let place = format!("pool {} of node {}", self.lease.pool_id, self.lease.node_id);
        let engine = self.lease.engine.clone();
        match refusal {
            Refusal::Busy { pause, message } => {
                narrate(
                    "requeue",
                    &self.lease.pool_id,
                    &self.job.correlation,
                    &format!("Finds {place} busy: {message}"),
                );
                self.life.service.scheduler.hold_off(&self.lease, pause);
                Outcome::Again { shun: false }
            }
            Refusal::Duplicate => Outcome::Again { shun: false },
            Refusal::Unreachable(reason) => {
                narrate("node_failed", &self.lease.node_id, &self.job.correlation, &format!("Can't reach {place}"));
                self.life.service.scheduler.state().nodes.mark_failed(&self.lease.node_id);
                if self.life.may_be_replaced() {
                    return Outcome::Again { shun: true };
                }
                self.fail(Code::NodeUnavailable, &format!("{place} can't be reached: {reason}"), &engine)
            }
            Refusal::Broken(reason) => self.lost(&reason),
            Refusal::Invalid { message, errors } => {
                let reasons: Vec<&str> = errors
                    .as_array()
                    .map(|errors| errors.iter().filter_map(|error| error["message"].as_str()).collect())
                    .unwrap_or_default();
                let reasons = if reasons.is_empty() { message } else { reasons.join("; ") };
                self.fail(Code::InvalidParams, &format!("the worker refuses the task: {reasons}"), &engine)
            }
            Refusal::Failed { code, message } => {
                if self.life.may_be_replaced() {
                    return Outcome::Again { shun: true };
                }
                let code = if code == "UNAUTHORIZED" { Code::PoolUnavailable } else { Code::WorkerReset };
                self.fail(code, &format!("{place} did not take the task: {message}"), &engine)
            }
        }
    }

    fn fail(&mut self, code: Code, message: &str, engine: &str) -> Outcome {
        self.life.fail(code, message, Some(engine));
        Outcome::Over
    }

    fn interrupt(&mut self, interruption: Interruption) {
        match interruption {
            Interruption::Stopped(cause) => {
                narrate(
                    "cancel",
                    &self.life.task.id().to_string(),
                    &self.job.correlation,
                    &format!("Stops the task on pool {} of node {}", self.lease.pool_id, self.lease.node_id),
                );
                self.life.stopped(cause);
            }
            Interruption::OutOfTime(code) => {
                let message = match code {
                    Code::BudgetExceeded => "the session has no time left",
                    _ => "the deadline passed while the task ran",
                };
                let engine = self.lease.engine.clone();
                self.life.fail(code, message, Some(&engine));
            }
        }
    }

    /// Passes events on until one is the last.
    async fn relay(&mut self, mut events: Events) -> Outcome {
        let silence = self.life.service.configuration.node_timeout;
        let mut quiet = Box::pin(sleep_until(Instant::now() + silence));
        let task = self.life.task.clone();
        let stopped = task.stopped();
        let mut stopped = std::pin::pin!(stopped);
        loop {
            let code = self.set_timer();
            let event = tokio::select! {
                biased;
                cause = &mut stopped => {
                    return self.cut_short(Interruption::Stopped(cause), events).await;
                }
                () = self.timer.as_mut() => {
                    return self.cut_short(Interruption::OutOfTime(code), events).await;
                }
                event = events.next() => event,
                () = quiet.as_mut() => {
                    // Nothing came for as long as it takes to call a node lost. It may only be thinking.
                    quiet.as_mut().reset(Instant::now() + silence.min(LOOK));
                    let node = self.life.service.scheduler.state().nodes.state(&self.lease.node_id);
                    if matches!(node, Some(NodeState::Offline) | None) {
                        return self.lost("its node is gone");
                    }
                    continue;
                }
            };
            quiet.as_mut().reset(Instant::now() + silence);
            match event {
                Some(Ok(UpstreamEvent::Started(data))) => self.started(&data),
                Some(Ok(UpstreamEvent::Token(token))) => {
                    if token.i != self.tokens {
                        let message = format!("its token {} came where {} was due", token.i, self.tokens);
                        return self.lost(&message);
                    }
                    if !self.life.session.spend_token() {
                        let engine = self.lease.engine.clone();
                        self.life.fail(Code::BudgetExceeded, "the session has no tokens left", Some(&engine));
                        return self.wind_down(events).await;
                    }
                    self.token(token);
                }
                Some(Ok(UpstreamEvent::Metrics(data))) => self.metrics(data),
                Some(Ok(UpstreamEvent::End(end))) => {
                    self.end(end);
                    let _ = timeout(LAST_BYTES, events.next()).await;
                    return Outcome::Over;
                }
                Some(Ok(UpstreamEvent::Error(error))) => return self.failed(&error),
                Some(Err(broken)) => return self.lost(&broken.0),
                None => return self.lost("its stream ended without an end"),
            }
        }
    }

    /// The ending first, so that the client has it at once; then the worker is told, and its slot is free when it stops.
    async fn cut_short(&mut self, interruption: Interruption, events: Events) -> Outcome {
        self.interrupt(interruption);
        self.wind_down(events).await
    }

    async fn wind_down(&mut self, mut events: Events) -> Outcome {
        let cancelled = async {
            tokio::join!(self.upstream.cancel(&self.job), async { while let Some(Ok(_)) = events.next().await {} });
        };
        // Past this the connection is closed, with whatever the worker makes of that.
        let _ = timeout(CANCEL_PATIENCE, cancelled).await;
        Outcome::Over
    }

    fn labels(&self) -> Labels<'_> {
        Labels {
            engine: &self.life.task.spec().engine,
            engine_version: &self.lease.engine_version,
            pool_id: &self.lease.pool_id,
            replica_id: &self.lease.replica_id,
            priority: self.life.task.spec().priority,
        }
    }

    /// Now at the latest: the worker has begun, or sends tokens without having said so.
    fn started(&mut self, data: &Map<String, Value>) {
        if !std::mem::replace(&mut self.life.begun, true) {
            self.life.service.metrics.started(self.labels());
        }
        self.life.start(data.get("seed").and_then(Value::as_u64));
        let human = format!("Runs on pool {} of node {}", self.lease.pool_id, self.lease.node_id);
        narrate("stream_start", &self.life.task.id().to_string(), &self.job.correlation, &human);
        self.life.remark(&human);
    }

    fn token(&mut self, token: TokenData) {
        if self.first_token.is_none() {
            let now = Instant::now();
            self.first_token = Some(now);
            let spec = self.life.task.spec();
            let waited = now_ms().saturating_sub(self.life.task.admitted.admitted_at_ms);
            self.life.service.metrics.first_token(&spec.engine, spec.priority, waited as f64);
            if !self.life.started {
                self.started(&Map::new()); // the worker forgot to say so
            }
        }
        self.tokens += 1;
        self.life.tokens += 1;
        self.life.task.progress().tokens = self.life.tokens;
        self.life.write("token", Some(json!({"t": token.t, "i": token.i})), None);
    }

    fn metrics(&mut self, data: Map<String, Value>) {
        if !self.life.started {
            return; // nothing comes before `started`
        }
        let rate = data.get("tokens_per_sec").and_then(Value::as_f64);
        let human = match rate {
            Some(rate) => format!("{} pieces of text so far, {rate:.1} tokens a second", self.life.tokens),
            None => format!("{} pieces of text so far", self.life.tokens),
        };
        let verbose = self.life.verbosely(data.clone(), &human);
        self.life.write("metrics", Some(Value::Object(data)), Some(verbose));
    }

    fn end(&mut self, end: EndData) {
        self.life.start(end.seed);
        let spec = self.life.task.spec();
        let (engine, priority, max_tokens) = (spec.engine.clone(), spec.priority, spec.max_tokens);
        let tokens_in = end.tokens_in.unwrap_or_else(|| preparation::estimated_tokens(&spec.prompt));
        let seed = end.seed.or(spec.seed);
        let first = self.first_token.unwrap_or_else(Instant::now);
        let decode = first.elapsed();
        let service = &self.life.service;
        service.metrics.tokens(&engine, tokens_in, end.tokens_out);
        service.metrics.decoded(&engine, priority, decode.as_secs_f64() * 1000.0);
        service.scheduler.measured(first - self.dispatched, decode, end.tokens_out, max_tokens);
        self.life.session.spend_unseen(end.tokens_out.saturating_sub(self.tokens));
        let data = json!({
            "tokens_out": end.tokens_out,
            "decode_ms": end.decode_time_ms,
            "decode_time_ms": end.decode_time_ms,
            "stop_reason": end.stop_reason,
            "stop_sequence_matched": end.stop_sequence_matched,
            "seed": seed,
        });
        self.life.finish(Phase::Completed, "end", data);
        narrate(
            "stream_end",
            &self.life.task.id().to_string(),
            &self.job.correlation,
            &format!("The task ends after {} tokens", end.tokens_out),
        );
    }

    /// The worker ended the job itself.
    fn failed(&mut self, error: &ErrorData) -> Outcome {
        let code = match error.code.as_str() {
            "INFERENCE_TIMEOUT" | "DECODE_TIMEOUT" => Code::DecodeTimeout,
            "INVALID_REQUEST" | "INVALID_PARAMS" => Code::InvalidParams,
            // Nobody here asked for it: the worker is going away, or its engine is.
            "CANCELLED" | "DRAINING" | "BUSY" | "WORKER_RESET" => return self.lost(&error.message),
            _ => Code::Internal,
        };
        let engine = self.lease.engine.clone();
        let message = if error.message.is_empty() { &error.code } else { &error.message };
        self.fail(code, &format!("the worker ended the task with {}: {message}", error.code), &engine)
    }

    /// The worker is gone, or has broken its contract, which is as good.
    fn lost(&mut self, reason: &str) -> Outcome {
        let place = format!("pool {} of node {}", self.lease.pool_id, self.lease.node_id);
        narrate("worker_lost", &self.lease.pool_id, &self.job.correlation, &format!("Loses the worker on {place}"));
        if self.life.may_be_replaced() {
            return Outcome::Again { shun: true };
        }
        let engine = self.lease.engine.clone();
        self.fail(Code::WorkerReset, &format!("the worker on {place} was lost: {reason}"), &engine)
    }
}
