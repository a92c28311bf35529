//! `llorch selftest`: is the harness any good? Each mistake of the scripted worker must be caught by the case that the
//! features name for it, each legal oddity must pass, and each cheat must fall from its rung.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::verify::interrupt;
use crate::harness::api::Api;
use crate::harness::catalogue::{Catalogue, Script, address_of};
use crate::harness::chain::mistakes;
use crate::harness::cheats::{CHEATS, Cheat};
use crate::harness::exit::Exit;
use crate::harness::runner::{self, CaseOutcome, Played, Terms};
use crate::harness::scripted::{MISTAKES, Mistake, ODDITIES, Oddity};
use crate::harness::scripted_engine::MISTAKES as ENGINE_MISTAKES;
use crate::harness::selection::{BuiltInBackend, TargetKind, TargetRequest};
use crate::harness::session::Session;
use crate::harness::verdict::Verdict;
use crate::harness::writers::human::block;
use crate::harness::writers::kill_matrix::{lines, page};
use crate::harness::writers::{Desk, News, Reporter};
use crate::parity::faults::kill_matrix;
use crate::parity::report::Page;
use crate::steps::World;

#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Only these mistakes and oddities [default: all of them]
    names: Vec<String>,
    /// How many trials at a time: most of a trial is waiting
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Each cheat against every rung of the ladder, as a table: minutes. The names are those of cheats then
    #[arg(long)]
    cheats: bool,
    /// Write the kill matrix, or the table of cheats, as a page as well
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// A case may take as long; a trial inside it takes less.
const DEADLINE: Duration = Duration::from_secs(60);

/// What one case of the self-test puts on trial.
#[derive(Clone, Debug)]
struct Trial {
    kind: Kind,
    name: String,
    /// The cases that judge it.
    cases: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The worker without any mistake, which has to pass: else being caught would mean nothing.
    Honest,
    Mistake,
    /// A mistake of an orchestrator.
    Orchestrator,
    /// A mistake of an engine, in its own API or in llama-server's place.
    Engine,
    Oddity,
    Cheat,
}

impl Kind {
    fn word(self, holds: bool) -> &'static str {
        match (self, holds) {
            (Kind::Honest, true) => "PASSED",
            (Kind::Mistake | Kind::Orchestrator | Kind::Engine | Kind::Cheat, true) => "CAUGHT",
            (Kind::Oddity, true) => "ACCEPTED",
            (Kind::Mistake | Kind::Orchestrator | Kind::Engine | Kind::Cheat, false) => "MISSED",
            (Kind::Honest | Kind::Oddity, false) => "REFUSED",
        }
    }
}

impl Trial {
    /// Reads it from the steps of its scenario.
    fn of(scenario: &gherkin::Scenario) -> Option<Trial> {
        let quoted = |step: &gherkin::Step| step.value.split('"').nth(1).map(str::to_owned);
        let [given, when, ..] = &scenario.steps[..] else { return None };
        if let Some(cheat) = given.value.strip_prefix("the cheat ") {
            let cheat = Cheat::named(cheat.trim_matches('"'))?;
            let cases = format!("rung {}", cheat.caught_by.number());
            return Some(Trial { kind: Kind::Cheat, name: cheat.name.to_owned(), cases });
        }
        if let Some(engine) = given.value.strip_prefix("the scripted engine ") {
            let name = quoted(given);
            let kind = if name.is_some() { Kind::Engine } else { Kind::Honest };
            let role = engine.split(", that ").next().unwrap_or_default();
            let role = role.trim_start_matches("asked as ");
            return Some(Trial {
                kind,
                name: name.unwrap_or_else(|| role.to_owned()),
                cases: format!("{role}: {}", quoted(when)?),
            });
        }
        let is_orchestrator = given.value.starts_with("an orchestrator");
        if !is_orchestrator && !given.value.starts_with("the scripted worker") {
            return None;
        }
        let cases = quoted(when)?;
        let (kind, name) = match quoted(given) {
            Some(name) if is_orchestrator => (Kind::Orchestrator, name),
            Some(name) if Mistake::named(&name).is_some() => (Kind::Mistake, name),
            Some(name) => (Kind::Oddity, name),
            None => (Kind::Honest, cases.clone()),
        };
        Some(Trial { kind, name, cases })
    }

    fn description(&self) -> &'static str {
        match self.kind {
            Kind::Honest => "Nothing is wrong or unusual.",
            Kind::Mistake => Mistake::named(&self.name).map_or("", |mistake| mistake.description),
            Kind::Orchestrator => mistakes::Mistake::named(&self.name).map_or("", |mistake| mistake.description),
            Kind::Engine => ENGINE_MISTAKES.iter().find(|known| known.name == self.name).map_or("", |known| known.does),
            Kind::Oddity => Oddity::named(&self.name).map_or("", |oddity| oddity.description),
            Kind::Cheat => Cheat::named(&self.name).map_or("", |cheat| cheat.does),
        }
    }

    fn line(&self, holds: bool) -> String {
        let (word, Trial { name, cases, .. }) = (self.kind.word(holds), self);
        let width = MISTAKES.iter().map(|mistake| mistake.name.len()).max().unwrap_or_default();
        format!("{word:<9} {name:<width$}  {}  [{cases}]\n", self.description())
    }
}

/// Every trial of the features, by its address.
fn trials(script: &Script) -> BTreeMap<String, Trial> {
    let scenarios = script.features.iter().flat_map(|feature| &feature.scenarios);
    scenarios.filter_map(|scenario| Some((address_of(scenario)?.to_owned(), Trial::of(scenario)?))).collect()
}

/// Prints a line for each trial as it ends, and everything that was found where one went wrong.
struct Bench {
    trials: BTreeMap<String, Trial>,
    /// How many ended as they had to, and as they must not.
    tally: Arc<Mutex<BTreeMap<Kind, (usize, usize)>>>,
}

impl Reporter for Bench {
    fn hear(&mut self, news: &News<'_>) -> io::Result<()> {
        let News::CaseEnded { outcome } = news else { return Ok(()) };
        let Some(trial) = self.trials.get(&outcome.case.address) else { return Ok(()) };
        let holds = outcome.verdict == Verdict::Pass;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, broken) = tally.entry(trial.kind).or_default();
        *if holds { held } else { broken } += 1;
        let mut out = anstream::AutoStream::auto(io::stdout());
        write!(out, "{}{}", trial.line(holds), block(outcome))?;
        out.flush()
    }
}

pub fn main(flags: Flags) -> ExitCode {
    if flags.cheats {
        return super::gallery::play(&flags.names, flags.report.as_deref());
    }
    if flags.report.is_some() && !flags.names.is_empty() {
        eprintln!("llorch: --report writes the kill matrix of all faults, not of {}", flags.names.join(", "));
        return Exit::Usage.into();
    }
    carry_out(&flags).unwrap_or_else(|exit| exit).into()
}

fn carry_out(flags: &Flags) -> Result<Exit, Exit> {
    let internal = |problem: &dyn std::error::Error| {
        super::complain(problem);
        Exit::Internal
    };
    let catalogue = Catalogue::embedded().map_err(|problem| internal(&problem))?;
    let script = catalogue.script(|case| case.is_selftest());
    let all = trials(&script);
    let without_case: Vec<&str> = named_nowhere(&all);
    let trials = wanted(all, &flags.names)?;
    let script = script.keep(|case| trials.contains_key(&case.address));
    let planned = script.cases.len();

    let llorch = std::env::current_exe().map_err(|problem| internal(&problem))?;
    let kind = TargetKind::BuiltIn { backend: Some(BuiltInBackend::Stub) };
    let request = TargetRequest { kind, model: None, model_formats: Vec::new(), api: Api::Native, llorch };
    let session = Arc::new(Session::of(request).map_err(|problem| internal(&problem))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| internal(&problem))?;

    let since = Instant::now();
    let tally = Arc::default();
    let mut desk = Desk::default();
    desk.add(Bench { trials, tally: Arc::clone(&tally) });
    let terms = Terms { jobs: flags.jobs.into(), deadline: DEADLINE, ..Terms::default() };
    let played: Played = runtime.block_on(runner::run::<World>(session, script, terms, &mut desk, interrupt()));
    if played.interrupted {
        return Ok(Exit::Interrupted);
    }
    let mut out = anstream::AutoStream::auto(io::stdout());
    if flags.names.is_empty() {
        for name in &without_case {
            let _ = writeln!(out, "MISSED    {name}: no case is named for it in features/selftest");
        }
    }
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let count = |kind| tally.get(&kind).copied().unwrap_or_default();
    let told = |(held, broken): (usize, usize)| format!("{held} of {}", held + broken);
    let _ = writeln!(
        out,
        "\nmistakes caught: {} · of an orchestrator: {} · of an engine: {} · cheats caught: {} · oddities accepted: {} · areas passed by the honest: {} · {:.1} s",
        told(count(Kind::Mistake)),
        told(count(Kind::Orchestrator)),
        told(count(Kind::Engine)),
        told(count(Kind::Cheat)),
        told(count(Kind::Oddity)),
        told(count(Kind::Honest)),
        since.elapsed().as_secs_f64()
    );
    let faults = if flags.names.is_empty() { kill_faults(&mut out, flags.report.as_deref())? } else { true };
    let held = |outcome: &CaseOutcome| outcome.verdict == Verdict::Pass;
    let whole = played.outcomes.len() == planned && played.outcomes.iter().all(held);
    let complete = !flags.names.is_empty() || without_case.is_empty();
    Ok(if whole && complete && faults { Exit::Passed } else { Exit::SelfTestFailed })
}

/// Every numeric fault in the reference, and where it was caught; whether all were.
fn kill_faults(out: &mut impl Write, report: Option<&Path>) -> Result<bool, Exit> {
    let since = Instant::now();
    let matrix = kill_matrix().map_err(|problem| {
        super::complain(&problem);
        Exit::Internal
    })?;
    let missed = matrix.survivors().count();
    let _ = writeln!(
        out,
        "\n{}\nfaults caught at their station and named: {} of {} (on {} models) · {:.1} s",
        lines(&matrix),
        matrix.kills.len() - missed,
        matrix.kills.len(),
        matrix.kills.iter().map(|kill| &kill.model).collect::<BTreeSet<_>>().len(),
        since.elapsed().as_secs_f64()
    );
    if let Some(path) = report {
        let page = Page { title: "llorch selftest".to_owned(), kills: Some(page(&matrix)), ..Page::default() };
        std::fs::write(path, page.html()).map_err(|problem| {
            eprintln!("llorch: --report: failed to write {}: {problem}", path.display());
            Exit::Usage
        })?;
    }
    Ok(missed == 0)
}

/// Mistakes and oddities of the tables for which no case is named.
fn named_nowhere(trials: &BTreeMap<String, Trial>) -> Vec<&'static str> {
    let names = MISTAKES.iter().map(|mistake| mistake.name).chain(ODDITIES.iter().map(|oddity| oddity.name));
    let names = names.chain(CHEATS.iter().map(|cheat| cheat.name));
    let names = names.chain(ENGINE_MISTAKES.iter().map(|mistake| mistake.name));
    let names = names.chain(mistakes::MISTAKES.iter().map(|mistake| mistake.name));
    names.filter(|name| !trials.values().any(|trial| trial.name == *name)).collect()
}

/// All trials, or those of these names; a name that is none is a mistake of the command line.
fn wanted(mut trials: BTreeMap<String, Trial>, names: &[String]) -> Result<BTreeMap<String, Trial>, Exit> {
    if let Some(unknown) = names.iter().find(|name| !trials.values().any(|trial| trial.name == **name)) {
        eprintln!("llorch: no mistake and no oddity is called {unknown:?}; `llorch scripted-worker --help` names them");
        return Err(Exit::Usage);
    }
    if !names.is_empty() {
        trials.retain(|_, trial| names.contains(&trial.name));
    }
    Ok(trials)
}
