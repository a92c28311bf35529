//! Preparation steps: what has to happen before a pool can work, and how far it has come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    EngineProvision,
    ModelFetch,
    PoolWarmup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    Pending,
    Running,
    Completed,
    Failed,
}

/// One step, as `preparation.steps` has it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Step {
    pub id: String,
    pub kind: StepKind,
    /// Steps of one group belong to one preload, reload or start.
    pub group: String,
    pub description: String,
    pub status: StepStatus,
    /// Whole percents, where the end is known.
    pub pct: Option<u8>,
    pub bytes_done: u64,
    pub bytes_total: Option<u64>,
    /// What is being done: `find`, `configure`, `build`, `download`, `check`, `start`, …
    pub phase: String,
    /// The same for people.
    pub human: String,
}

/// Finished steps that are kept.
const KEPT: usize = 32;

/// The steps of a pool, the newest last.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Preparation {
    pub fn steps(&self) -> Vec<Step> {
        lock(&self.steps).clone()
    }

    /// Opens a step that runs from here on.
    pub fn begin(&self, kind: StepKind, group: &str, description: impl Into<String>) -> Progress {
        let mut steps = lock(&self.steps);
        let description = description.into();
        let id = uuid::Uuid::new_v4().to_string();
        steps.push(Step {
            id: id.clone(),
            kind,
            group: group.to_owned(),
            human: description.clone(),
            description,
            status: StepStatus::Running,
            pct: None,
            bytes_done: 0,
            bytes_total: None,
            phase: String::new(),
        });
        while steps.len() > KEPT {
            steps.remove(0);
        }
        Progress { steps: self.steps.clone(), id, ended: false }
    }
}

/// The hand that moves one step. Dropped without an end, the step has failed.
#[derive(Debug)]
pub struct Progress {
    steps: Arc<Mutex<Vec<Step>>>,
    id: String,
    ended: bool,
}

impl Progress {
    pub fn id(&self) -> &str {
        &self.id
    }

    fn change(&self, change: impl FnOnce(&mut Step)) {
        if let Some(step) = lock(&self.steps).iter_mut().find(|step| step.id == self.id) {
            change(step);
        }
    }

    pub fn phase(&self, phase: &str, human: impl Into<String>) {
        let human = human.into();
        tracing::info!(actor = "pool-managerd", action = "prepare", target = self.id, phase, human, "{human}");
        self.change(|step| {
            step.phase = phase.to_owned();
            step.human = human;
        });
    }

    pub fn bytes(&self, done: u64, total: Option<u64>) {
        self.change(|step| {
            step.bytes_done = done;
            step.bytes_total = total;
            step.pct = total.filter(|total| *total > 0).map(|total| (done.min(total) * 100 / total) as u8);
        });
    }

    pub fn percent(&self, percent: u8) {
        self.change(|step| step.pct = Some(percent.min(100)));
    }

    pub fn complete(mut self) {
        self.ended = true;
        self.change(|step| {
            step.status = StepStatus::Completed;
            step.pct = Some(100);
        });
    }

    pub fn fail(mut self, human: impl Into<String>) {
        self.ended = true;
        let human = human.into();
        self.change(|step| {
            step.status = StepStatus::Failed;
            step.human = human;
        });
    }

    /// The step ends as what it was for did.
    pub fn end<T>(self, outcome: Result<T, String>) -> Result<T, String> {
        match &outcome {
            Ok(_) => self.complete(),
            Err(reason) => self.fail(reason),
        }
        outcome
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.ended {
            self.change(|step| step.status = StepStatus::Failed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
