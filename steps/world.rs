//! What a scenario carries from step to step, and the session that it shares with all others of its run.

use std::sync::Arc;

use crate::harness::case::{Case, Lane};
use crate::harness::runner::{self, Actor, TargetSummary};
use crate::harness::selection::{BuiltInBackend, TargetKind, TargetRequest};
use crate::harness::verdict::Finding;

/// The target of a run, ready to be asked.
#[derive(Debug)]
pub struct Session {
    pub request: TargetRequest,
}

/// The target would not start, or does not answer.
#[derive(Debug, thiserror::Error)]
#[error("failed to start the target: {0}")]
pub struct TargetError(pub String);

impl Session {
    pub fn open(request: TargetRequest) -> Result<Self, TargetError> {
        Ok(Session { request })
    }

    /// How many cases this target bears at a time.
    pub fn jobs(&self) -> usize {
        if matches!(self.request.kind, TargetKind::BuiltIn { .. }) { 8 } else { 1 }
    }
}

impl runner::Session for Session {
    fn is_ours(&self) -> bool {
        matches!(self.request.kind, TargetKind::BuiltIn { .. })
    }

    fn is_stub(&self) -> bool {
        self.request.kind == TargetKind::BuiltIn { backend: Some(BuiltInBackend::Stub) }
    }

    fn lane(&self, lane: Lane) -> Result<(), String> {
        Err(format!("not looked for; set {}=1 where it is", lane.variable()))
    }

    fn summary(&self) -> TargetSummary {
        let sentence = match &self.request.kind {
            TargetKind::BuiltIn { .. } => "worker: built-in llorch-cpud".to_owned(),
            TargetKind::Spawn { command } => format!("worker: {command}"),
            TargetKind::Url { url } => format!("worker: {url}"),
        };
        TargetSummary { sentence, warning: None }
    }
}

#[derive(Debug, cucumber::World)]
#[world(init = Self::unattached)]
pub struct World {
    pub session: Arc<Session>,
    pub case: Arc<Case>,
}

impl World {
    fn unattached() -> Result<Self, TargetError> {
        Err(TargetError("a world is made by the runner, which knows its session".to_owned()))
    }
}

impl Actor for World {
    type Session = Session;

    fn enter(session: Arc<Session>, case: Arc<Case>) -> Result<Self, Finding> {
        Ok(World { session, case })
    }
}
