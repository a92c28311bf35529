//! One scenario at work: the worker that it has, the jobs and requests that it has sent, and what came of them. Each
//! sentence of the features is a method here, in the file of its noun; all of them block, none of them sleeps.

mod api;
mod callback;
pub mod calls;
mod cell;
pub mod chain;
mod checkpoint;
mod counters;
mod described;
mod document;
mod fault;
mod fleet;
mod haiku;
mod job;
pub mod jobs;
mod ladder;
mod logs;
mod model;
mod ordinary_client;
mod parity_log;
pub mod pool_cli;
mod provision;
mod real_engine;
mod scripted;
mod shows;
pub mod start;
pub mod stops;
mod task;
pub mod texts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::Finding;
use crate::harness::chain::mistakes::Slip;
use crate::harness::exposition::Scrape;
use crate::harness::http::{Answer, Request};
use crate::harness::pool_manager::PoolManager;
use crate::harness::process::Process;
use crate::harness::runner::CaseOutcome;
use crate::harness::session::Session;
use crate::harness::target::Worker;
use job::Job;

pub struct Scene {
    session: Arc<Session>,
    /// The worker that serves this scenario.
    worker: Option<Arc<Worker>>,
    /// How it was started, to start it so again.
    started: start::Started,
    /// A worker that was started and not waited for.
    launched: Option<start::Launched>,
    pool_manager: Option<PoolManager>,
    /// The answers to single requests, the last one last.
    answers: Vec<Answer>,
    /// The jobs in the order they were sent, each under its label.
    jobs: Vec<Job>,
    scrapes: Vec<Scrape>,
    runs: Vec<texts::Run>,
    /// Two ways to start a worker, and what each wrote.
    compared: model::Compared,
    haiku: haiku::Haiku,
    climb: ladder::Climb,
    captures: checkpoint::Captures,
    /// A fault in the reference, on several models.
    kills: Vec<crate::parity::faults::Kill>,
    transplant: Option<fault::Transplant>,
    /// A machine of a pool, where the scenario is about the pool's tool.
    pool: pool_cli::PoolCli,
    /// Daemons of a whole chain, where the scenario is about more than a worker.
    chain: chain::ChainScene,
    /// The session of each task, by its label.
    sessions: Vec<(String, String)>,
    /// When admission said that a task would start, by its label.
    predicted: Vec<(String, u64)>,
    /// Machines of their own, where the scenario is about these.
    fleet: fleet::FleetScene,
    ordinary: Option<Vec<String>>,
    /// Held until the scenario ends: a port that is taken, a half-sent request.
    held: Vec<Held>,
    /// Which worker is on trial, as words after `llorch`.
    on_trial: Vec<String>,
    /// Where that is an engine: in which role.
    engine_role: Option<scripted::EngineRole>,
    /// Or which mistake an orchestrator on trial makes.
    slip: Option<Slip>,
    outcomes: Vec<CaseOutcome>,
    /// What became of the slot of an answer that nobody waits for.
    abandoned: api::Abandoned,
    /// A real one, behind the scenario's chain.
    real: real_engine::RealEngine,
}

/// What a scenario keeps open and never reads.
#[allow(dead_code, reason = "held for its effect on the machine, until the scenario ends")]
enum Held {
    Listener(std::net::TcpListener),
    Connection(std::net::TcpStream),
    Folder(tempfile::TempDir),
}

impl fmt::Debug for Scene {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scene").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Scene {
    pub fn new(session: Arc<Session>) -> Scene {
        Scene {
            session,
            worker: None,
            started: start::Started::default(),
            launched: None,
            pool_manager: None,
            answers: Vec::new(),
            jobs: Vec::new(),
            scrapes: Vec::new(),
            runs: Vec::new(),
            compared: model::Compared::default(),
            haiku: haiku::Haiku::default(),
            climb: ladder::Climb::default(),
            captures: checkpoint::Captures::default(),
            kills: Vec::new(),
            transplant: None,
            pool: pool_cli::PoolCli::default(),
            chain: chain::ChainScene::default(),
            sessions: Vec::new(),
            predicted: Vec::new(),
            fleet: fleet::FleetScene::default(),
            ordinary: None,
            held: Vec::new(),
            on_trial: Vec::new(),
            engine_role: None,
            slip: None,
            outcomes: Vec::new(),
            abandoned: api::Abandoned::default(),
            real: real_engine::RealEngine::default(),
        }
    }

    fn worker(&self) -> Result<&Arc<Worker>, Finding> {
        self.worker.as_ref().ok_or_else(|| Finding::error("a worker that the scenario has", "it has none"))
    }

    /// The process of the worker, started with or without waiting.
    fn process(&self) -> Result<&Process, Finding> {
        match (&self.launched, &self.worker) {
            (Some(launched), _) => Ok(&launched.process),
            (None, Some(worker)) => worker.process(),
            (None, None) => Err(Finding::error("a worker that the scenario has", "it has none")),
        }
    }

    fn answer(&self) -> Result<&Answer, Finding> {
        self.answers.last().ok_or_else(|| Finding::error("an answer to speak of", "no request was sent"))
    }

    fn job(&mut self, label: &str) -> Result<&mut Job, Finding> {
        let missing = || Finding::error(format!("a job called {label:?}"), "no such job was sent");
        self.jobs.iter_mut().rev().find(|job| job.label == label).ok_or_else(missing)
    }

    /// To the worker, or to the orchestrator of the scenario's chain.
    fn send(&mut self, request: &Request) -> Result<&Answer, Finding> {
        if self.has_chain() {
            self.ask_chain(request)?;
        } else {
            let answer = self.worker()?.send(request)?;
            self.answers.push(answer);
        }
        self.answer()
    }
}

/// Leaves nothing behind: a worker of the scenario's own is ended with it, a shared one is freed of its jobs.
impl Drop for Scene {
    fn drop(&mut self) {
        if self.jobs.iter().any(Job::was_given_up) {
            self.session.note_that_a_stream_hangs();
            // Its job may still hold the worker's one place.
            if let Some(worker) = &self.worker {
                self.session.give_up_shared(worker);
            }
        }
        let unfinished: Vec<String> =
            self.jobs.iter().filter(|job| !job.has_ended()).map(|job| job.job_id.clone()).collect();
        if let Some(worker) = &self.worker
            && !unfinished.is_empty()
            && self.session.shares(worker)
        {
            for job_id in &unfinished {
                let _ = worker.cancel(job_id);
            }
            for job in &mut self.jobs {
                job.disconnect();
            }
            self.session.give_up_shared(worker);
        }
    }
}

/// Waits until `look` gives a value, looking again and again until the deadline; gives the last reason when it never does.
fn wait_for<T>(deadline: Duration, mut look: impl FnMut() -> Result<T, Finding>) -> Result<T, Finding> {
    let until = std::time::Instant::now() + deadline;
    loop {
        match look() {
            Err(_) if std::time::Instant::now() < until => std::thread::park_timeout(Duration::from_millis(5)),
            outcome => return outcome,
        }
    }
}
