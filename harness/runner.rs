//! Plays cases against a target and judges them.
//!
//! Cucumber's three parts are here with their own names: the parser is the `catalogue`, the runner is the `stage`, which
//! plays every case on a thread of its own, and the writer is the `judge`, which turns eight verdicts out of cucumber's
//! three outcomes and tells the reporters. `run` joins them. A run may be played inside another: see `run_collect`.

mod judge;
pub mod panics;
mod stage;
pub mod units;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use cucumber::codegen::WorldInventory;
use cucumber::{Runner as _, Writer as _, step};
use futures::StreamExt as _;
use serde::{Serialize, Serializer};

use super::case::{Case, Lane, Place};
use super::catalogue::Script;
use super::checkpoints::engines::Compared;
use super::verdict::{Finding, Verdict};
use super::writers::Desk;
use judge::Judge;
use stage::Stage;

/// What the runner asks of whoever holds the target.
pub trait Session: Send + Sync + 'static {
    /// The target is the built-in worker: `@ours` is then a MUST.
    fn is_ours(&self) -> bool;

    /// Whether a lane is on this machine; if not, why, and how to get it.
    fn lane(&self, lane: Lane) -> Result<(), String>;

    /// Other reasons, known before the case is played, for which it can't be asked of this target.
    fn gate(&self, _case: &Case) -> Result<(), Finding> {
        Ok(())
    }

    /// One sentence for the end: what the target is, and what it proved to be.
    fn summary(&self) -> TargetSummary;

    /// The run has been interrupted: end whatever was started for it, now.
    fn abandon(&self) {}
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetSummary {
    pub sentence: String,
    /// Said loudly where the sentence has to warn: the worker is a stub.
    pub warning: Option<String>,
}

/// A world of steps that can be put before a target.
pub trait Actor: cucumber::World + WorldInventory + Debug {
    type Session: Session;

    /// Before the first step. What goes wrong here is the case's verdict.
    fn enter(session: Arc<Self::Session>, case: Arc<Case>) -> Result<Self, Finding>;
}

/// How a case ended, and what it has to show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseOutcome {
    #[serde(flatten, serialize_with = "through")]
    pub case: Arc<Case>,
    pub verdict: Verdict,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Where it ended, unless it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepAt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
}

/// A step as it stands in its feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepAt {
    /// With its keyword: `Then the status is 400`.
    pub text: String,
    pub place: Place,
}

/// One run, over.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    pub target: TargetSummary,
    pub outcomes: Vec<CaseOutcome>,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Stopped by a signal; cases without an outcome were not finished.
    pub interrupted: bool,
    /// How many cases there would have been.
    pub planned: usize,
    /// Engines that were held against each other.
    #[serde(skip)]
    pub compared: Vec<Compared>,
}

fn through<S: Serializer>(case: &Arc<Case>, serializer: S) -> Result<S::Ok, S::Error> {
    case.as_ref().serialize(serializer)
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e6)
}

impl RunResult {
    pub fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict == verdict).count()
    }
}

/// How to play.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How many cases at a time; one, where the target is shared.
    pub jobs: usize,
    /// After which a case is ended, wherever it hangs.
    pub deadline: Duration,
    /// Lanes whose absence is a failure.
    pub required: BTreeSet<Lane>,
}

impl Default for Terms {
    fn default() -> Self {
        Terms { jobs: 8, deadline: Duration::from_secs(60), required: BTreeSet::new() }
    }
}

/// What has been played when the run ended or was stopped.
#[derive(Debug)]
pub struct Played {
    pub outcomes: Vec<CaseOutcome>,
    pub interrupted: bool,
}

/// Plays the script with the steps that the world's modules registered.
pub async fn run<W: Actor>(
    session: Arc<W::Session>,
    script: Script,
    terms: Terms,
    desk: &mut Desk,
    stop: impl Future<Output = ()>,
) -> Played {
    run_with_steps::<W>(session, W::collection(), script, terms, desk, stop).await
}

/// Plays the script with these steps; `stop` ends it early.
pub async fn run_with_steps<W: Actor>(
    session: Arc<W::Session>,
    steps: step::Collection<W>,
    script: Script,
    terms: Terms,
    desk: &mut Desk,
    stop: impl Future<Output = ()>,
) -> Played {
    panics::install();
    let is_ours = session.is_ours();
    let Script { cases, features } = script;
    let stage = Stage::new(Arc::clone(&session), steps, &cases, terms);
    let mut events = stage.run(futures::stream::iter(features.into_iter().map(Ok)), cucumber::cli::Empty);
    let mut judge = Judge::new(&cases, is_ours, desk);
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    let mut stop = std::pin::pin!(stop);
    let interrupted = loop {
        tokio::select! {
            biased;
            () = &mut stop => break true,
            event = events.next() => match event {
                Some(event) => judge.handle_event(event, &cucumber::cli::Empty).await,
                None => break false,
            },
            _ = beat.tick() => judge.beat(),
        }
    };
    if interrupted {
        session.abandon();
    }
    Played { outcomes: judge.into_outcomes(), interrupted }
}

/// Plays a script inside a step of another run, or anywhere else, and hands the outcomes back without a word printed.
///
/// Blocks; has a thread and a runtime of its own, so that it may be called from any thread and inside any runtime.
pub fn run_collect<W: Actor>(session: Arc<W::Session>, script: Script, terms: Terms) -> Vec<CaseOutcome> {
    run_collect_with_steps::<W>(session, W::collection(), script, terms)
}

/// The same with other steps than the world's own.
pub fn run_collect_with_steps<W: Actor>(
    session: Arc<W::Session>,
    steps: step::Collection<W>,
    script: Script,
    terms: Terms,
) -> Vec<CaseOutcome> {
    let play = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime of one thread needs a few file descriptors");
        let mut desk = Desk::default();
        runtime.block_on(run_with_steps::<W>(session, steps, script, terms, &mut desk, std::future::pending())).outcomes
    };
    match std::thread::Builder::new().name("nested run".to_owned()).spawn(play).map(|thread| thread.join()) {
        Ok(Ok(outcomes)) => outcomes,
        Ok(Err(payload)) => std::panic::resume_unwind(payload),
        Err(problem) => Finding::error("a thread for a run inside this one", problem.to_string()).raise(),
    }
}

/// Whether a case is ruled out before it is played, and by what.
pub fn gate(session: &dyn Session, case: &Case, required: &BTreeSet<Lane>) -> Option<Gated> {
    // A lane that needs nothing but time is there when it is asked for.
    let asked = |lane: &&Lane| **lane != Lane::Storm || !required.contains(&Lane::Storm);
    for lane in case.lanes.iter().filter(asked) {
        if let Err(reason) = session.lane(*lane) {
            let expected = format!("the lane {} on this machine", lane.word());
            return Some(if required.contains(lane) {
                Gated::Required(Finding::fail(format!("{expected}, which was asked for"), reason))
            } else {
                Gated::Out(Finding::skipped(expected, reason))
            });
        }
    }
    if case.stub && !session.is_ours() {
        let how = "asked only of the built-in worker, which has one (`llorch verify`)";
        return Some(Gated::Out(Finding::skipped("the built-in stub", how)));
    }
    session.gate(case).err().map(Gated::Out)
}

/// A case that is not played.
#[derive(Clone, Debug)]
pub enum Gated {
    /// Outside the scope.
    Out(Finding),
    /// A lane that was asked for and is not there: a failure at any level.
    Required(Finding),
}
