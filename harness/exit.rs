//! How the tool ends. Scripts read these numbers; they do not change.

use std::process::ExitCode;

use super::runner::RunResult;
use super::selection::Selection;
use super::verdict::Verdict;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything in scope that can be asked of the target holds.
    Passed = 0,
    /// At least one case failed: FAIL, ERROR, FLAKY, NEAR-TIE, and NON-STRICT with `--strict`.
    Failed = 1,
    /// The command line is wrong, or names something that can't be read.
    Usage = 2,
    /// The selection keeps no case.
    NothingSelected = 4,
    /// Nothing failed, and something that was asked for by name could not be tested, or nothing at all was.
    NotAllTested = 5,
    /// A mistake of ours.
    Internal = 70,
    /// The target would not start, or does not answer.
    TargetNotStarted = 96,
    /// The harness missed a fault or a cheat that it must catch.
    SelfTestFailed = 103,
    /// A proof bundle does not prove what it says.
    BundleFailed = 104,
    /// Stopped by a signal.
    Interrupted = 130,
}

impl Exit {
    pub fn of(result: &RunResult, selection: &Selection, strict: bool) -> Exit {
        let fails = |verdict: Verdict| match verdict {
            Verdict::Fail | Verdict::Error | Verdict::Flaky | Verdict::NearTie => true,
            Verdict::NonStrict => strict,
            Verdict::Pass | Verdict::Unimplemented | Verdict::Skipped => false,
        };
        // A lane that is not here is outside a scope that is named by tags; an address names exactly its case.
        let owed = |verdict: Verdict| match verdict {
            Verdict::Unimplemented => selection.is_named(),
            Verdict::Skipped => !selection.addresses.is_empty(),
            _ => false,
        };
        let tested = |verdict: Verdict| !matches!(verdict, Verdict::Unimplemented | Verdict::Skipped);
        let mut verdicts = result.outcomes.iter().map(|outcome| outcome.verdict);
        if result.interrupted {
            Exit::Interrupted
        } else if verdicts.clone().any(fails) {
            Exit::Failed
        } else if verdicts.clone().any(owed) || !verdicts.any(tested) {
            Exit::NotAllTested
        } else {
            Exit::Passed
        }
    }

    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
