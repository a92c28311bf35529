//! What a check can end in, and what it has to show for it.
//!
//! A check returns `Result<T, Finding>`; a step settles it, which raises the finding as a typed panic. The runner's
//! writers read the payload back, so that eight verdicts travel through a runner that knows three.

use serde::Serialize;

/// Only `Pass` is green. Missing, skipped, not compared and passed are different things and stay different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Verdict {
    Pass,
    /// A MUST is broken.
    Fail,
    /// A SHOULD is broken.
    NonStrict,
    /// The target can't show it, or does not have it.
    Unimplemented,
    /// An optional lane is not on this machine.
    Skipped,
    /// Another token where the margin is below the measured numeric error.
    NearTie,
    /// It passed only when repeated.
    Flaky,
    /// The harness's own failure.
    Error,
}

impl Verdict {
    /// The green one first.
    pub const ALL: [Verdict; 8] = [
        Verdict::Pass,
        Verdict::Fail,
        Verdict::NonStrict,
        Verdict::Unimplemented,
        Verdict::Skipped,
        Verdict::NearTie,
        Verdict::Flaky,
        Verdict::Error,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::NonStrict => "NON-STRICT",
            Verdict::Unimplemented => "UNIMPLEMENTED",
            Verdict::Skipped => "SKIPPED",
            Verdict::NearTie => "NEAR-TIE",
            Verdict::Flaky => "FLAKY",
            Verdict::Error => "ERROR",
        }
    }
}

/// One thing that does not hold, said so that a stranger understands it: what was expected, what was found, and the proof.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    pub expected: String,
    pub found: String,
    pub evidence: Vec<Evidence>,
}

/// A titled piece of proof: the frames around a failure, a `curl` line that repeats the request, lines of a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    pub title: String,
    pub text: String,
}

impl Finding {
    pub fn new(verdict: Verdict, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict, expected: expected.into(), found: found.into(), evidence: Vec::new() }
    }

    pub fn fail(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, expected, found)
    }

    /// The target can't show it: `expected` says what would be needed, `found` why it is not there.
    pub fn unimplemented(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Unimplemented, expected, found)
    }

    pub fn skipped(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, expected, found)
    }

    /// The harness itself could not do its part.
    pub fn error(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Error, expected, found)
    }

    #[must_use]
    pub fn with(mut self, title: impl Into<String>, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence { title: title.into(), text: text.into() });
        self
    }

    /// Ends the step: the runner reads the payload back as this finding.
    pub fn raise(self) -> ! {
        std::panic::panic_any(self)
    }
}

/// How a step ends: with the value, or by raising the finding.
pub trait Settle<T> {
    fn settle(self) -> T;
}

impl<T> Settle<T> for Result<T, Finding> {
    fn settle(self) -> T {
        self.unwrap_or_else(|finding| finding.raise())
    }
}
