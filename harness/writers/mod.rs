//! What the user sees of a run: reporters over one stream of news.
//!
//! The judge tells the desk, the desk tells every reporter. A reporter whose reader has gone (`llorch verify | head`) is
//! let go in silence; one that fails otherwise is let go and its problem kept, to be said at the end.

pub mod ctrf;
pub mod github;
pub mod html;
pub mod human;
pub mod json;
pub mod junit;
pub mod kill_matrix;
pub mod terminal;

use std::io;
use std::sync::Arc;

use super::case::Case;
use super::runner::{CaseOutcome, RunResult, StepAt, TargetSummary};

/// Every moment of a run that somebody may want to hear of.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    RunStarted {
        target: &'a TargetSummary,
        cases: &'a [Arc<Case>],
    },
    CaseStarted {
        case: &'a Case,
    },
    StepStarted {
        case: &'a Case,
        step: &'a StepAt,
    },
    CaseEnded {
        outcome: &'a CaseOutcome,
    },
    /// Some time has passed.
    Beat,
    RunEnded {
        result: &'a RunResult,
    },
}

pub trait Reporter {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()>;
}

/// Everybody who listens to a run.
#[derive(Default)]
pub struct Desk {
    reporters: Vec<Box<dyn Reporter>>,
    problems: Vec<io::Error>,
}

impl Desk {
    pub fn add(&mut self, reporter: impl Reporter + 'static) {
        self.reporters.push(Box::new(reporter));
    }

    pub fn tell(&mut self, news: &News<'_>) {
        let problems = &mut self.problems;
        self.reporters.retain_mut(|reporter| match reporter.hear(news) {
            Ok(()) => true,
            Err(problem) => {
                if problem.kind() != io::ErrorKind::BrokenPipe {
                    problems.push(problem);
                }
                false
            }
        });
    }

    /// Reports that could not be written.
    pub fn problems(&self) -> &[io::Error] {
        &self.problems
    }
}
