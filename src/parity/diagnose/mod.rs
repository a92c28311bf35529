//! From a trace that differs to the mistake that made it.
//!
//! Each station of the trace is computed again from the trace's own tensors ([`found`]), so that nothing upstream masks it:
//! where that differs, there is a mistake, however many came before. It is then computed once more with each fault of the
//! catalogue that could act there ([`search`]); the fault that gives what was found is named, with its evidence. Faults with a
//! number of their own are recognised by what they leave constant ([`recognise`]), and where nothing fits, [`statistics`] say
//! what the difference looks like.

mod found;
mod generation;
mod measure;
mod recognise;
mod rotary;
mod search;
mod statistics;

use std::fmt;

use crate::parity::capture::Capture;
use crate::parity::diff::text::TEXT;
use crate::parity::faults::{Fault, Injection};
use crate::parity::oracle::{Model, Tensor};
use crate::parity::{Place, Profile, Words};
pub use found::{Found, Recomputed};
pub use measure::difference as apart_in;

/// What is wrong with a trace, in the order of execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosis {
    /// One for each mistake; empty where every step is right on its own inputs.
    pub findings: Vec<Finding>,
    /// Tensors that could not be computed from others of the trace, which has not what they are made of.
    pub not_isolated: Vec<Place>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Where it first shows, on the trace's own inputs.
    pub place: Place,
    /// The faults that explain it. Several, where this input cannot tell them apart; none, where it is unknown.
    pub faults: Vec<Named>,
    /// The largest difference from the right computation: what the mistake does.
    pub effect: f64,
    /// What the difference looks like, for an unknown mistake.
    pub statistics: Vec<String>,
    /// Later places that the same fault explains.
    pub also_at: Vec<Place>,
    /// Steps between this place and the last tensor before it, which the trace does not show and which were computed as one.
    pub together: Vec<Place>,
    /// In whose words it is told.
    pub words: Words,
}

/// A fault, and how well it explains what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub injection: Injection,
    /// The largest difference that is left; `None` for a fault recognised by its form.
    pub residual: Option<f64>,
    /// What was measured, where it is more than the residual.
    pub evidence: Option<String>,
}

impl Named {
    pub fn fault(&self) -> Fault {
        self.injection.fault
    }

    /// The name with what the variant says.
    pub fn name(&self) -> String {
        let entry = self.fault().entry();
        match entry.variant(self.injection.variant) {
            Some(variant) => format!("{} ({variant})", entry.name),
            None => entry.name.to_owned(),
        }
    }
}

impl Diagnosis {
    /// Every fault that is named, the first first.
    pub fn faults(&self) -> impl Iterator<Item = Fault> {
        self.findings.iter().flat_map(|finding| finding.faults.iter().map(Named::fault))
    }

    pub fn names(&self, fault: Fault) -> bool {
        self.faults().any(|named| named == fault)
    }

    /// The findings at a place, or downstream of it alone.
    pub fn at(&self, place: Place) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.place == place || finding.also_at.contains(&place))
    }
}

/// What is wrong with `found`, a run of `model`. `reference` is what it was compared with: its token ids and the length of
/// its text say what a run alone cannot.
pub fn diagnose(model: &Model<'_>, reference: Option<&Capture>, found: &Capture) -> Diagnosis {
    search::search(Found::new(*model, found), reference, found)
}

/// A station of a trace, computed from the trace's own inputs as it should be: for the local error of a report.
pub fn step(model: &Model<'_>, found: &Capture, place: Place) -> Option<Tensor> {
    let found = Found::new(*model, found);
    Some(found.recompute(place, &crate::parity::oracle::Honest)?.tensor)
}

/// What a correct engine may be off by at a place, in one step on its own inputs.
pub fn step_tolerance(place: Place, profile: Profile) -> f64 {
    measure::allowed(place, 1, profile)
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            write!(out, "every step that can be checked is right on its own inputs, to f32 rounding")?;
        }
        for (number, finding) in self.findings.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            write!(out, "{finding}")?;
        }
        if let [first, others @ ..] = self.not_isolated.as_slice() {
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            write!(out, "\nnot checked: {}{more}; the trace does not show what it is made of", first.name())?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.shown_at();
        match self.faults.as_slice() {
            [] => {
                write!(out, "{place}: unknown; no fault of the catalogue gives what was found ({})", self.without())?;
                for statistic in &self.statistics {
                    write!(out, "\n  it looks like: {statistic}")?;
                }
            }
            [named, others @ ..] => {
                let (entry, words) = (named.fault().entry(), self.words);
                write!(out, "{place}: {}", words.tell(&named.name()))?;
                if !others.is_empty() {
                    let names = others.iter().map(Named::name).collect::<Vec<_>>().join("; or ");
                    write!(out, "; or {} (this input does not tell them apart)", words.tell(&names))?;
                }
                write!(out, "\n  found = {}", words.tell(entry.faulty))?;
                write!(out, "\n  right = {}", words.tell(entry.formula))?;
                match (named.residual, &named.evidence) {
                    (_, Some(evidence)) => write!(out, "\n  evidence: {}; {}", words.tell(evidence), self.without())?,
                    (Some(residual), None) => {
                        write!(out, "\n  evidence: with it, max difference {}; {}", short(residual), self.without())?;
                    }
                    (None, None) => {}
                }
                write!(out, "\n  change: {}", words.tell(entry.change))?;
            }
        }
        if !self.together.is_empty() {
            let names = self.together.iter().map(|place| place.name()).collect::<Vec<_>>().join(", ");
            write!(out, "\n  not shown, so computed together with it: {names}")?;
        }
        if let [first, others @ ..] = self.also_at.as_slice() {
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            write!(out, "\n  the same explains {}{more}", first.name())?;
        }
        Ok(())
    }
}

impl Finding {
    /// Of what is fed, or of what comes out, where nothing is measured.
    fn of_generation(words: Words, place: Place, faults: Vec<Named>, statistics: Vec<String>) -> Self {
        let (also_at, together) = (Vec::new(), Vec::new());
        Self { place, faults, effect: f64::INFINITY, statistics, also_at, together, words }
    }

    /// The name of the place; the text is no tensor, and has one all the same.
    fn shown_at(&self) -> String {
        let of_text = |named: &Named| named.fault().entry().shows == TEXT;
        if self.faults.first().is_some_and(of_text) {
            return TEXT.to_owned();
        }
        let name = self.place.name();
        match self.words.own_name(self.place.station) {
            Some(own) => format!("{name} ({own})"),
            None => name,
        }
    }

    fn without(&self) -> String {
        if self.effect.is_finite() {
            format!("without it {}", short(self.effect))
        } else {
            "without it, numbers or shapes that cannot be compared".to_owned()
        }
    }
}

/// `3e-8`, `4.1e-3`
fn short(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}
