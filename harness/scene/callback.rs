//! The ready callback: the pool manager that waits for it, and what it saw.

use std::time::Duration;

use super::Scene;
use super::calls::message_called;
use crate::harness::Finding;
use crate::harness::contract;
use crate::harness::http::excerpt;
use crate::harness::pool_manager::{Attempt, Behaviour, CRITERIA, Expected, PoolManager};
use crate::harness::session::SPAWN_TOKEN;

/// How long after it answers a worker may take to call back, and how long another attempt may still follow.
const CALLS_WITHIN: Duration = Duration::from_secs(30);

impl Scene {
    pub fn open_pool_manager(&mut self, manner: &str) -> Result<(), Finding> {
        let behaviour = match manner {
            "accepts" => Behaviour::Answer(200),
            "fails once" => Behaviour::FailFirst(1),
            "always fails" => Behaviour::Answer(500),
            "refuses the connection" => Behaviour::Refuse,
            "never answers" => Behaviour::Hang,
            other => match other.strip_prefix("answers ").and_then(|status| status.parse().ok()) {
                Some(status) => Behaviour::Answer(status),
                None => return Err(Finding::error("a manner of pool manager", other)),
            },
        };
        self.pool_manager = Some(PoolManager::start(behaviour)?);
        Ok(())
    }

    fn manager(&self) -> Result<&PoolManager, Finding> {
        self.pool_manager.as_ref().ok_or_else(|| Finding::error("a pool manager", "the scenario has none"))
    }

    fn callback(&self) -> Result<Attempt, Finding> {
        let attempts = self.manager()?.wait_for_attempts(1, CALLS_WITHIN)?;
        attempts.into_iter().next_back().ok_or_else(|| Finding::fail("a callback", "none came"))
    }

    pub fn callback_matches(&mut self, message: &str) -> Result<(), Finding> {
        let attempt = self.callback()?;
        let body = attempt.json();
        let body = body.ok_or_else(|| Finding::fail("a callback in JSON", excerpt(&attempt.body, 200)))?;
        contract::check(message_called(message)?, &body).map_err(|finding| finding.with("callback", body.to_string()))
    }

    /// Grades the callback by one criterion.
    fn grade(&self, criterion: &str) -> Result<(), Finding> {
        let attempt = self.callback()?;
        let worker = self.worker()?;
        let expected = Expected {
            worker_id: worker.worker_id().unwrap_or_default().into(),
            port: worker.base().port,
            spawn_token: Some(SPAWN_TOKEN.into()),
            has_model: false,
        };
        let found = CRITERIA.iter().find(|(name, _)| *name == criterion);
        let (_, grade) = found.ok_or_else(|| Finding::error("a criterion of the callback", criterion))?;
        grade(&attempt, &expected).map_err(|finding| finding.with("callback", excerpt(&attempt.body, 2000)))
    }

    pub fn callback_carries_id(&mut self) -> Result<(), Finding> {
        self.grade("worker-id")
    }

    pub fn callback_uri_answers(&mut self) -> Result<(), Finding> {
        self.grade("port")?;
        self.grade("reachable")
    }

    pub fn answered_before_callback(&mut self) -> Result<(), Finding> {
        self.grade("reachable")
    }

    pub fn callback_carries_token(&mut self) -> Result<(), Finding> {
        self.grade("token")
    }

    /// This many attempts, and no further one by the time the worker works or has gone.
    pub fn called_back(&mut self, times: usize) -> Result<(), Finding> {
        let attempts = self.manager()?.wait_for_attempts(times, CALLS_WITHIN)?;
        if let Some(worker) = &self.worker {
            // Whatever would still be tried is tried while the worker is already at work.
            let _ = crate::harness::recognise::look(worker)?;
        }
        let found = self.manager()?.attempts().len().max(attempts.len());
        if found == times {
            return Ok(());
        }
        Err(Finding::fail(format!("{times} callbacks in all"), format!("{found} callbacks")))
    }

    pub fn attempts_back_off(&mut self) -> Result<(), Finding> {
        let times: Vec<Duration> = self.manager()?.attempts().iter().map(|attempt| attempt.at).collect();
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        let grow = gaps.len() == 2 && gaps[0] >= Duration::from_millis(50) && gaps[1] > gaps[0];
        if grow {
            return Ok(());
        }
        Err(Finding::fail("three attempts, the second pause longer than the first", format!("pauses {gaps:.0?}")))
    }
}
