//! A toy target with steps that end in every way a step can, for the tests of the runner and of its writers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cucumber::{given, then, when};
use llorch::harness::case::{Case, Lane};
use llorch::harness::catalogue::{Catalogue, Script};
use llorch::harness::runner::{self, Actor, CaseOutcome, Session, TargetSummary, Terms};
use llorch::harness::verdict::{Finding, Settle, Verdict};

/// A target that is whatever a test needs it to be.
#[derive(Debug, Default)]
pub struct Toy {
    ours: bool,
    lanes: Vec<Lane>,
    pub abandoned: AtomicUsize,
    on_stage: Mutex<Stage>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Stage {
    now: usize,
    most: usize,
}

impl Toy {
    pub fn ours() -> Arc<Self> {
        Toy::with(true, Vec::new())
    }

    pub fn with(ours: bool, lanes: Vec<Lane>) -> Arc<Self> {
        Arc::new(Toy { ours, lanes, ..Toy::default() })
    }

    /// How many cases were on the stage together, at most.
    pub fn most_at_once(&self) -> usize {
        self.on_stage.lock().unwrap_or_else(PoisonError::into_inner).most
    }

    fn change(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.on_stage.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.notify_all();
    }

    fn wait_for(&self, company: usize) -> Result<(), Finding> {
        let stage = self.on_stage.lock().unwrap_or_else(PoisonError::into_inner);
        let (stage, _) = self
            .moved
            .wait_timeout_while(stage, Duration::from_secs(20), |stage| stage.most < company)
            .unwrap_or_else(PoisonError::into_inner);
        let found = format!("{} at most", stage.most);
        if stage.most >= company { Ok(()) } else { Err(Finding::fail(format!("{company} cases at once"), found)) }
    }
}

impl Session for Toy {
    fn is_ours(&self) -> bool {
        self.ours
    }

    fn lane(&self, lane: Lane) -> Result<(), String> {
        if self.lanes.contains(&lane) { Ok(()) } else { Err("this is a toy".to_owned()) }
    }

    fn summary(&self) -> TargetSummary {
        TargetSummary { sentence: "worker: a toy".to_owned(), warning: None }
    }

    fn abandon(&self) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Default, cucumber::World)]
pub struct Puppet {
    toy: Arc<Toy>,
    address: String,
    falls_apart: bool,
}

impl Actor for Puppet {
    type Session = Toy;

    fn enter(toy: Arc<Toy>, case: Arc<Case>) -> Result<Self, Finding> {
        toy.change(|stage| {
            stage.now += 1;
            stage.most = stage.most.max(stage.now);
        });
        Ok(Puppet { toy, address: case.address.clone(), falls_apart: false })
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.toy.change(|stage| stage.now -= 1);
        if self.falls_apart {
            panic!("the strings are torn");
        }
    }
}

#[given("it holds")]
#[when("it holds")]
#[then("it holds")]
fn it_holds(_: &mut Puppet) {}

#[then(regex = r"^it ends in ([A-Z-]+)$")]
fn it_ends_in(_: &mut Puppet, word: String) {
    let mut verdicts = Verdict::ALL.into_iter().filter(|verdict| *verdict != Verdict::Pass);
    let verdict = verdicts.find(|verdict| verdict.word() == word);
    let finding = Finding::new(verdict.expect("a verdict's word"), "status 400", "status 200");
    Err::<(), _>(finding.with("frames", "event: started\ndata: {}")).settle();
}

#[then("it panics")]
fn it_panics(_: &mut Puppet) {
    panic!("a bug in the step");
}

#[then("it panics on another thread")]
async fn it_panics_elsewhere(_: &mut Puppet) {
    let _ = tokio::task::spawn_blocking(|| panic!("a bug in what the step started")).await.unwrap_err();
    panic!("and here");
}

#[then("it waits for ever")]
async fn it_waits(_: &mut Puppet) {
    std::future::pending::<()>().await;
}

#[then("it blocks for ever")]
fn it_blocks(_: &mut Puppet) {
    loop {
        std::thread::park();
    }
}

#[then(regex = r"^(\d+) cases are on the stage$")]
fn cases_are_on_the_stage(puppet: &mut Puppet, company: usize) {
    puppet.toy.wait_for(company).settle();
}

#[then("it is twofold")]
fn twofold(_: &mut Puppet) {}

#[then(regex = r"^it is two(.*)$")]
fn twofold_again(_: &mut Puppet, _rest: String) {}

#[then("it falls apart when it is dropped")]
fn it_falls_apart(puppet: &mut Puppet) {
    puppet.falls_apart = true;
}

#[then("a run inside it ends in FAIL and in PASS")]
async fn a_run_inside(puppet: &mut Puppet) {
    let script = script(
        "@must @LL-T\nFeature: inner\n@case:a\nScenario: a\nThen it ends in FAIL\n@case:b\nScenario: b\nThen it holds\n",
    );
    let inner = runner::run_collect::<Puppet>(Toy::ours(), script, Terms::default());
    let ended = verdicts(&inner);
    if ended != [("a".to_owned(), Verdict::Fail), ("b".to_owned(), Verdict::Pass)] {
        Finding::fail("FAIL and PASS", format!("{ended:?} in {}", puppet.address)).raise();
    }
}

/// A feature's text as a script of all its cases.
pub fn script(text: &str) -> Script {
    catalogue(text).script(|_| true)
}

pub fn catalogue(text: &str) -> Catalogue {
    Catalogue::parse(vec![("features/toy.feature".to_owned(), text.to_owned())]).expect("a valid feature")
}

/// By address.
pub fn verdicts(outcomes: &[CaseOutcome]) -> Vec<(String, Verdict)> {
    let mut verdicts: Vec<_> = outcomes.iter().map(|outcome| (outcome.case.address.clone(), outcome.verdict)).collect();
    verdicts.sort();
    verdicts
}
