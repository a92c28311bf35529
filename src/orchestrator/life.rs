//! The life of one task, as a straight line: prepare, wait for a slot, run there, once more elsewhere if nothing came of
//! it, end.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::time::sleep_until;

use super::error::Code;
use super::event_log::Frame;
use super::narration::narrate;
use super::preparation::{self, Step};
use super::relay::{self, Outcome};
use super::scheduler::{Lease, Turn};
use super::service::Orchestrator;
use super::sessions::{Budgets, Session};
use super::store::{Event, Record};
use super::stream;
use super::task::{Cause, Determinism, Phase, Task, now_ms};

/// A task under way: the only one who writes its events.
pub struct Life {
    pub service: Arc<Orchestrator>,
    pub task: Arc<Task>,
    pub session: Arc<Session>,
    /// Of the next event.
    next_id: u64,
    /// `started` has been written.
    pub started: bool,
    /// A worker has begun it.
    pub begun: bool,
    /// Token events written.
    pub tokens: u64,
    /// It has been placed a second time.
    replaced: bool,
    /// Admitted by a process before this one: a worker may still know its id.
    restored: bool,
    pub attempts: u32,
    pub steps: Vec<Step>,
}

/// Lives a task's life to its end.
pub fn begin(service: &Arc<Orchestrator>, task: Arc<Task>, session: Arc<Session>, turn: Turn, restored: bool) {
    let life = Life::of(service, task, session, restored);
    tokio::spawn(life.live(turn));
}

/// Ends a task whose worker was lost with the process that spoke to it.
pub fn end_lost(service: &Arc<Orchestrator>, task: Arc<Task>, tokens: u64) {
    let (session, _) = service.sessions.get_or_create(task.spec().session_id, Budgets::default());
    session.spend_unseen(tokens);
    service.session_changed(&session);
    let mut life = Life { tokens, started: true, ..Life::of(service, task, session, true) };
    life.fail(Code::WorkerReset, "the orchestrator was restarted while the task ran", None);
    tokio::spawn(life.over());
}

impl Life {
    fn of(service: &Arc<Orchestrator>, task: Arc<Task>, session: Arc<Session>, restored: bool) -> Self {
        Self {
            service: service.clone(),
            next_id: task.log.newest() + 1,
            task,
            session,
            started: false,
            begun: false,
            tokens: 0,
            replaced: false,
            restored,
            attempts: 0,
            steps: Vec::new(),
        }
    }

    async fn live(mut self, turn: Turn) {
        self.run(turn).await;
        self.over().await;
    }

    async fn over(self) {
        // The ending may still be on its way to the store.
        self.task.log.ended().await;
        self.service.finished(&self.task);
    }

    async fn run(&mut self, mut turn: Turn) {
        if let Some(target) = self.task.admitted.preparation.clone()
            && !preparation::prepare(self, &target).await
        {
            self.service.scheduler.leave_queue(self.task.id());
            return;
        }
        loop {
            let Some(lease) = self.wait(turn).await else { return };
            let target = lease.target();
            self.session.task_started(self.task.id(), target.clone());
            self.attempts += 1;
            {
                let mut progress = self.task.progress();
                (progress.phase, progress.target) = (Phase::Running, Some(target.clone()));
                progress.attempts = self.attempts;
            }
            let outcome = relay::run(self, lease).await;
            self.session.task_stopped(self.task.id());
            self.service.session_changed(&self.session);
            let Outcome::Again { shun } = outcome else { return };
            self.task.progress().phase = Phase::Queued;
            let shun = shun.then_some(target);
            turn = self.service.scheduler.readmit(&self.task, &self.session, shun, true);
        }
    }

    async fn wait(&mut self, turn: Turn) -> Option<Lease> {
        let task = self.task.clone();
        tokio::select! {
            biased;
            cause = task.stopped() => {
                self.service.scheduler.leave_queue(task.id());
                self.stopped(cause);
                None
            }
            () = sleep_until(task.deadline) => {
                self.service.scheduler.leave_queue(task.id());
                self.fail(Code::DeadlineUnmet, "the deadline passed while the task waited", None);
                None
            }
            Ok(lease) = turn => Some(lease),
        }
    }

    /// Whether a task whose worker was lost may be placed once more; it may not a second time.
    pub fn may_be_replaced(&mut self) -> bool {
        let strict = self.task.spec().determinism == Determinism::Strict;
        let may = self.tokens == 0 && !self.replaced && !(strict && self.started);
        self.replaced |= may;
        may
    }

    /// The worker's name for this attempt: the task's own at first, then one that no worker can still know.
    pub fn job_id(&self) -> String {
        let id = self.task.id();
        if self.attempts <= 1 && !self.restored {
            return id.to_string();
        }
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        format!("{id}:{}", &fresh[..8])
    }

    /// The stream's first event, once.
    pub fn start(&mut self, seed: Option<u64>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.task.progress().started_at_ms = Some(now_ms());
        let admitted = &self.task.admitted;
        let mut data = json!({
            "queue_position": admitted.queue_position,
            "predicted_start_ms": admitted.predicted_start_ms,
        });
        if let Some(seed) = seed.or(admitted.spec.seed) {
            data["seed"] = seed.into();
        }
        self.write("started", Some(data), None);
    }

    /// A remark for verbose readers, with how far the preparation is.
    pub fn remark(&mut self, human: &str) {
        let verbose = self.verbosely(Map::new(), human);
        self.write("metrics", None, Some(verbose));
    }

    /// Metrics as verbose readers see them.
    pub fn verbosely(&self, mut metrics: Map<String, Value>, human: &str) -> Value {
        metrics.insert("human".to_owned(), super::narration::shortened(human).into());
        metrics.insert("prep".to_owned(), preparation::progress(&self.steps));
        Value::Object(metrics)
    }

    /// How a task ends that somebody stopped.
    pub fn stopped(&mut self, cause: Cause) {
        let (code, message) = cause.ending();
        self.service.metrics.canceled(match cause {
            Cause::Cancelled => "cancelled",
            Cause::Disconnected => "disconnected",
            Cause::Dropped => "dropped",
            Cause::Storage => "storage",
        });
        self.fail(code, message, None);
    }

    /// The ending of a task that did not come to its own.
    pub fn fail(&mut self, code: Code, message: &str, engine: Option<&str>) {
        match code {
            Code::DeadlineUnmet => self.service.metrics.canceled("deadline"),
            Code::BudgetExceeded => self.service.metrics.canceled("budget"),
            _ => {}
        }
        let retriable = code.is_retriable();
        let data = json!({
            "code": code,
            "message": message,
            "engine": engine.unwrap_or(&self.task.spec().engine),
            "retriable": retriable,
            "retry_after_ms": retriable.then_some(1000),
        });
        let phase = if code == Code::Cancelled { Phase::Cancelled } else { Phase::Failed };
        self.finish(phase, "error", data);
        narrate(
            "stream_end",
            &self.task.id().to_string(),
            &self.task.admitted.correlation,
            &format!("The task ends with {} after {} token events", code.word(), self.tokens),
        );
    }

    /// The stream's last event.
    pub fn finish(&mut self, phase: Phase, name: &str, data: Value) {
        {
            let mut progress = self.task.progress();
            (progress.phase, progress.tokens) = (phase, self.tokens);
            (progress.ended_at_ms, progress.ending) = (Some(now_ms()), Some(data.clone()));
        }
        self.write(name, Some(data), None);
    }

    /// One event: to the store, and from there to whoever reads.
    pub fn write(&mut self, name: &str, plain: Option<Value>, verbose: Option<Value>) {
        let ends = matches!(name, "end" | "error");
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        let (plain, verbose) = (text(plain), text(verbose));
        let id = self.next_id;
        self.next_id += 1;
        let bytes = |data: &Option<String>| data.as_ref().map(|data| stream::frame(id, name, data));
        let frame = Frame { id, plain: bytes(&plain), verbose: bytes(&verbose) };
        let event = Event { task_id: self.task.id(), id, name: name.to_owned(), plain, verbose };
        let task = self.task.clone();
        self.service.store.append(
            &Record::Event(event),
            Box::new(move |stored| match stored {
                Ok(()) => task.log.publish(frame, ends),
                // An ending must reach whoever waits, even from a disk that is full.
                Err(_) if ends => task.log.publish(frame, true),
                Err(_) => task.stop(Cause::Storage),
            }),
        );
    }
}
