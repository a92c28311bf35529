//! The ready callback: the pool manager that waits for it, and what it saw.

use std::time::Duration;

use super::Scene;
use super::calls::message_called;
use crate::harness::Finding;
use crate::harness::contract;
use crate::harness::http::excerpt;
use crate::harness::pool_manager::{Attempt, Behaviour, CRITERIA, Expected, PoolManager};
use crate::harness::process::Line;
use crate::harness::session::SPAWN_TOKEN;

/// How often a worker calls a pool manager that does not accept.
const ATTEMPTS: usize = 3;
/// How long after the last of them it may take to leave.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
/// How long a worker that calls once too often is waited for.
const ONCE_MORE: Duration = Duration::from_secs(1);
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
        ["method", "path", "content-type"].into_iter().try_for_each(|criterion| self.grade(criterion))?;
        let attempt = self.callback()?;
        let body = attempt.json();
        let body = body.ok_or_else(|| Finding::fail("a callback in JSON", excerpt(&attempt.body, 200)))?;
        contract::check(message_called(message)?, &body).map_err(|finding| finding.with("callback", body.to_string()))
    }

    /// Grades the callback by one criterion.
    fn grade(&self, criterion: &str) -> Result<(), Finding> {
        let attempt = self.callback()?;
        let worker = self.worker.as_ref();
        let expected = Expected {
            worker_id: worker.and_then(|worker| worker.worker_id()).unwrap_or_default().into(),
            port: worker.map(|worker| worker.base().port).unwrap_or_default(),
            spawn_token: Some(SPAWN_TOKEN.into()),
            has_model: false,
        };
        let found = CRITERIA.iter().find(|(name, _)| *name == criterion);
        let (_, grade) = found.ok_or_else(|| Finding::error("a criterion of the callback", criterion))?;
        grade(&attempt, &expected).map_err(|finding| finding.with("callback", excerpt(&attempt.body, 2000)))
    }

    /// In the words of the features.
    pub fn callback_is_right_about(&mut self, what: &str) -> Result<(), Finding> {
        let criteria: &[&str] = match what {
            "the worker's id" => &["worker-id"],
            "the spawn token as its bearer" => &["token"],
            "a uri at which the worker answers" => &["port", "reachable"],
            "a worker that answered already" => &["reachable"],
            other => return Err(Finding::error("what a callback can be right about", other)),
        };
        criteria.iter().try_for_each(|criterion| self.grade(criterion))
    }

    /// This many attempts, and no further one by the time the worker works or has gone.
    pub fn called_back(&mut self, times: usize) -> Result<(), Finding> {
        // A worker that has left calls nobody any more.
        let gone = self.process().is_ok_and(|process| process.exit().is_some());
        let attempts = match gone {
            true => self.manager()?.attempts(),
            false => self.manager()?.wait_for_attempts(times, CALLS_WITHIN)?,
        };
        if self.worker.is_some() && !gone {
            // One that takes the answer for a refusal tries again within a moment, and never says that it was accepted.
            let process = self.process()?;
            let accepted = |line: &Line| line.text.contains("Callback sent to pool-managerd");
            let said = process.wait_for_line("that it was accepted", ONCE_MORE, accepted).is_ok();
            let patience = if said { ONCE_MORE / 5 } else { ONCE_MORE };
            let _ = self.manager()?.wait_for_attempts(times + 1, patience);
        }
        let found = self.manager()?.attempts().len().max(attempts.len());
        if found == times {
            return Ok(());
        }
        Err(Finding::fail(format!("callbacks in all: {times}"), format!("callbacks: {found}")))
    }

    /// Why the pool manager knows already that this worker won't leave in time, if it does.
    pub(super) fn calls_without_end(&self) -> Option<String> {
        let attempts = self.pool_manager.as_ref()?.attempts();
        let third = attempts.get(ATTEMPTS - 1)?.at;
        let since = self.pool_manager.as_ref()?.clock().saturating_sub(third);
        match attempts.len() {
            ATTEMPTS if since > LEAVES_WITHIN => Some(format!("it still runs {since:.0?} after its third attempt")),
            ATTEMPTS => None,
            count => Some(format!("{count} attempts, and it still runs")),
        }
    }

    /// A second attempt shows that the first was given up; so does the end of the worker.
    pub fn gives_up_waiting(&mut self, within: Duration) -> Result<(), Finding> {
        let process = self.process()?;
        let expected = format!("an attempt that is given up within {within:.0?} of silence, and another one");
        super::wait_for(within, || match (self.manager()?.attempts().len(), process.exit()) {
            (2.., _) | (_, Some(_)) => Ok(()),
            (count, None) => {
                Err(Finding::fail(&expected, format!("{count} attempt, and it still waits for an answer")))
            }
        })
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
