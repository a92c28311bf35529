//! Unit tests beside the scenarios: plain functions, each on a thread of its own, in the same report.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::{CaseOutcome, panics};
use crate::harness::case::Case;
use crate::harness::verdict::{Finding, Verdict};
use crate::harness::writers::{Desk, News};

/// A function that panics when what it checks does not hold.
#[derive(Clone, Debug)]
pub struct Unit {
    pub case: Arc<Case>,
    pub check: fn(),
}

impl Unit {
    pub fn new(name: &str, check: fn()) -> Self {
        Unit { case: Arc::new(Case::unit(name)), check }
    }
}

/// Plays them all, `jobs` at a time; one that outlives the deadline is given up by name.
pub fn run_units(units: &[Unit], jobs: usize, deadline: Duration, desk: &mut Desk) -> Vec<CaseOutcome> {
    panics::install();
    let (results, ended) = mpsc::channel::<(usize, Result<(), Finding>)>();
    let mut waiting = units.iter().enumerate();
    let mut playing: HashMap<usize, Instant> = HashMap::new();
    let mut outcomes = Vec::new();
    loop {
        while playing.len() < jobs.max(1) {
            let Some((number, unit)) = waiting.next() else { break };
            desk.tell(&News::CaseStarted { case: &unit.case });
            playing.insert(number, Instant::now());
            if let Err(problem) = spawn(unit, number, results.clone()) {
                let finding = Finding::error("a thread for the test", problem.to_string());
                let _ = results.send((number, Err(finding)));
            }
        }
        if playing.is_empty() {
            return outcomes;
        }
        let mut over = Vec::new();
        match ended.recv_timeout(Duration::from_millis(100)) {
            Ok((number, result)) => over.push((number, result)),
            Err(_) => {
                desk.tell(&News::Beat);
                over.extend(playing.iter().filter(|(_, since)| since.elapsed() > deadline).map(|(number, _)| {
                    let found = "still running; its thread is left behind";
                    (
                        *number,
                        Err(Finding::error(format!("the test to end within {} s", deadline.as_secs_f64()), found)),
                    )
                }));
            }
        }
        for (number, result) in over {
            let Some(since) = playing.remove(&number) else { continue };
            let outcome = CaseOutcome {
                case: Arc::clone(&units[number].case),
                verdict: result.as_ref().map_or_else(|finding| finding.verdict, |()| Verdict::Pass),
                duration: since.elapsed(),
                step: None,
                finding: result.err(),
            };
            desk.tell(&News::CaseEnded { outcome: &outcome });
            outcomes.push(outcome);
        }
    }
}

fn spawn(unit: &Unit, number: usize, results: mpsc::Sender<(usize, Result<(), Finding>)>) -> std::io::Result<()> {
    let name = panics::thread_name(&unit.case.address);
    let check = unit.check;
    let play = {
        let name = name.clone();
        move || {
            let result = std::panic::catch_unwind(check).map_err(|payload| {
                let notes = panics::take_notes(&name);
                match payload.downcast::<Finding>() {
                    Ok(finding) => *finding,
                    Err(payload) => {
                        let finding = Finding::fail("the test to hold", panics::text_of(&*payload));
                        if notes.is_empty() { finding } else { finding.with("panicked at", notes.join("\n")) }
                    }
                }
            });
            let _ = results.send((number, result));
        }
    };
    std::thread::Builder::new().name(name).spawn(play).map(drop)
}
