//! The judge: a `cucumber::Writer` that makes eight verdicts out of cucumber's three outcomes.
//!
//! A step ends a case by raising a finding; its level decides what a broken one is called. Anything else that ends a
//! case (a panic, a step without a definition or with two, a hang) is the harness's own failure and softened by nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use cucumber::event::{self, Event, Info, StepError};
use cucumber::parser;

use super::panics::{self, Verbatim};
use super::stage::sentence;
use super::{Actor, CaseOutcome, StepAt};
use crate::harness::case::{Case, Level, Place};
use crate::harness::catalogue::address_of;
use crate::harness::verdict::{Finding, Verdict};
use crate::harness::writers::{Desk, News};

pub(super) struct Judge<'a> {
    /// By address, with their place in the catalogue.
    cases: HashMap<String, (usize, Arc<Case>)>,
    is_ours: bool,
    desk: &'a mut Desk,
    /// Cases on the stage, by address.
    open: HashMap<String, Open>,
    outcomes: Vec<CaseOutcome>,
}

struct Open {
    since: Instant,
    step: Option<StepAt>,
    /// The first thing that went wrong.
    ruling: Option<(Verdict, Finding)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(cases: &[Arc<Case>], is_ours: bool, desk: &'a mut Desk) -> Self {
        let numbered = cases.iter().cloned().enumerate();
        let cases = numbered.map(|(number, case)| (case.address.clone(), (number, case))).collect();
        Judge { cases, is_ours, desk, open: HashMap::new(), outcomes: Vec::new() }
    }

    pub(super) fn beat(&mut self) {
        self.desk.tell(&News::Beat);
    }

    /// In the catalogue's order, so that two reports of the same can be compared.
    pub(super) fn into_outcomes(mut self) -> Vec<CaseOutcome> {
        self.outcomes.sort_by_key(|outcome| self.cases.get(&outcome.case.address).map(|(number, _)| *number));
        self.outcomes
    }

    fn hear<W>(&mut self, scenario: &gherkin::Scenario, event: event::Scenario<W>) {
        let Some((_, case)) = address_of(scenario).and_then(|address| self.cases.get(address)).cloned() else { return };
        if matches!(event, event::Scenario::Started) {
            let open = Open { since: Instant::now(), step: None, ruling: None };
            self.open.insert(case.address.clone(), open);
            self.desk.tell(&News::CaseStarted { case: &case });
            return;
        }
        let Some(open) = self.open.get_mut(&case.address) else { return };
        match event {
            event::Scenario::Background(step, event) | event::Scenario::Step(step, event) => {
                let step_at = StepAt {
                    text: sentence(&step),
                    place: Place { file: case.place.file.clone(), line: step.position.line },
                };
                let ruling = match event {
                    event::Step::Started => {
                        self.desk.tell(&News::StepStarted { case: &case, step: &step_at });
                        open.step = Some(step_at);
                        return;
                    }
                    event::Step::Passed(..) => return,
                    event::Step::Skipped => undefined(),
                    event::Step::Failed(_, _, _, StepError::NotFound) => undefined(),
                    event::Step::Failed(_, _, _, StepError::AmbiguousMatch(matches)) => {
                        let finding = Finding::error("one definition of the step", "more than one");
                        (Verdict::Error, finding.with("definitions", matches.to_string()))
                    }
                    event::Step::Failed(_, _, _, StepError::Panic(info)) => read(&info, case.level, self.is_ours),
                };
                open.step = Some(step_at);
                open.ruling.get_or_insert(ruling);
            }
            event::Scenario::Hook(_, event::Hook::Failed(_, info)) => {
                // What breaks in the clean-up spoils a pass, and does not hide what was found before.
                let ruling = read(&info, Level::Must, self.is_ours);
                open.ruling.get_or_insert(ruling);
            }
            event::Scenario::Finished => self.close(&case),
            _ => {}
        }
    }

    fn close(&mut self, case: &Arc<Case>) {
        let Some(open) = self.open.remove(&case.address) else { return };
        let (verdict, finding) = open.ruling.map_or((Verdict::Pass, None), |(verdict, found)| (verdict, Some(found)));
        let outcome = CaseOutcome {
            case: Arc::clone(case),
            verdict,
            duration: open.since.elapsed(),
            step: open.step.filter(|_| finding.is_some()),
            finding,
        };
        self.desk.tell(&News::CaseEnded { outcome: &outcome });
        self.outcomes.push(outcome);
    }
}

fn undefined() -> (Verdict, Finding) {
    (Verdict::Error, Finding::error("a definition of the step", "none: the step is undefined"))
}

fn read(info: &Info, level: Level, is_ours: bool) -> (Verdict, Finding) {
    if let Some(Verbatim(finding)) = info.downcast_ref() {
        return (finding.verdict, finding.clone());
    }
    if let Some(finding) = info.downcast_ref::<Finding>() {
        let is_soft = match level {
            Level::Must => false,
            Level::Should => true,
            Level::Ours => !is_ours,
        };
        let verdict = if finding.verdict == Verdict::Fail && is_soft { Verdict::NonStrict } else { finding.verdict };
        return (verdict, Finding { verdict, ..finding.clone() });
    }
    (Verdict::Error, Finding::error("the step to end without a panic", panics::text_of(&**info)))
}

impl<W: Actor> cucumber::Writer<W> for Judge<'_> {
    type Cli = cucumber::cli::Empty;

    async fn handle_event(&mut self, event: parser::Result<Event<event::Cucumber<W>>>, _: &Self::Cli) {
        // The catalogue has read every feature already; the parser has nothing to fail at.
        let Ok(event) = event else { return };
        match event.into_inner() {
            event::Cucumber::Feature(_, event::Feature::Scenario(scenario, event)) => {
                self.hear(&scenario, event.event);
            }
            event::Cucumber::Feature(_, event::Feature::Rule(_, event::Rule::Scenario(scenario, event))) => {
                self.hear(&scenario, event.event);
            }
            _ => {}
        }
    }
}
