//! The one test target: `cargo test --features bdd` plays every scenario against the built-in worker, and the unit tests.
//!
//! It answers as libtest does (`--list`, `--exact`, `--ignored`, `--skip`, plain filters), so that nextest and editors can
//! drive it, and as cucumber's users expect (`--name`, `--tags`). A case that this machine can't play is listed as
//! ignored; asked for with `--ignored`, its absence is a failure.

mod unit;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use gherkin::tagexpr::TagOperation;
use llorch::cli::verify;
use llorch::harness::api::Api;
use llorch::harness::case::{Case, Lane};
use llorch::harness::catalogue::{Catalogue, Script};
use llorch::harness::checkpoints::engines;
use llorch::harness::exit::Exit;
use llorch::harness::runner::units::{Unit, run_units};
use llorch::harness::runner::{self, Played, RunResult, Session as _, TargetSummary, Terms, gate};
use llorch::harness::selection::{Selection, TargetKind, TargetRequest};
use llorch::harness::session::Session;
use llorch::harness::verdict::Verdict;
use llorch::harness::writers::human::{Detail, Human};
use llorch::harness::writers::terminal::Terminal;
use llorch::harness::writers::{Desk, News};
use llorch::steps::World;

/// What libtest exits with; cargo says no more about it than that a test failed.
const FAILED: u8 = 101;
/// After which a unit test is given up, wherever it hangs.
const UNIT_DEADLINE: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Parser)]
#[command(name = "bdd", about = "Every scenario and every unit test", disable_version_flag = true)]
struct Flags {
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
    /// A filter must be the whole name
    #[arg(long)]
    exact: bool,
    /// Leave out tests whose name contains this
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,
    /// Print the names and run nothing
    #[arg(long)]
    list: bool,
    /// Run only what is ignored otherwise, and fail where it can't be run
    #[arg(long)]
    ignored: bool,
    /// Run everything, and fail where it can't be run
    #[arg(long)]
    include_ignored: bool,
    /// Run only scenarios whose name this regular expression finds
    #[arg(short, long, value_name = "REGEX")]
    name: Option<regex::Regex>,
    /// Run only scenarios whose tags this expression keeps
    #[arg(short, long, value_name = "EXPRESSION")]
    tags: Option<TagOperation>,
    /// How many at a time
    #[arg(long, env = "RUST_TEST_THREADS")]
    test_threads: Option<usize>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// As --format terse
    #[arg(short, long)]
    quiet: bool,
    #[arg(long, value_enum, default_value_t = clap::ColorChoice::Auto)]
    color: clap::ColorChoice,
    /// Accepted: nothing is captured
    #[arg(long, alias = "no-capture")]
    nocapture: bool,
    /// Accepted: what a test found is always shown
    #[arg(long)]
    show_output: bool,
    /// Accepted: no option here is unstable
    #[arg(short = 'Z', value_name = "FLAG")]
    unstable: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Pretty,
    Terse,
}

/// What this run is of.
struct Chosen {
    units: Vec<Unit>,
    script: Script,
    filtered_out: usize,
    /// Absent when no scenario is chosen: nothing is started for unit tests.
    session: Option<Arc<Session>>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match choose(&flags).and_then(|chosen| if flags.list { list(&flags, &chosen) } else { play(&flags, chosen) }) {
        Ok(code) => code,
        Err(exit) => exit.into(),
    }
}

impl Flags {
    fn passes(&self, name: &str) -> bool {
        let found = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(found)) && !self.skip.iter().any(found)
    }

    fn by_scenario(&self) -> bool {
        self.name.is_some() || self.tags.is_some()
    }

    fn selection(&self) -> Selection {
        let mut selection = Selection { name: self.name.clone(), beside: true, ..Selection::from_environment() };
        if let Some(expression) = self.tags.clone() {
            selection = selection.with_tags(expression);
        }
        if self.ignored || self.include_ignored {
            selection.required.extend(Lane::ALL);
        }
        selection
    }
}

fn choose(flags: &Flags) -> Result<Chosen, Exit> {
    let complain = |problem: &dyn std::fmt::Display, exit| {
        eprintln!("bdd: {problem}");
        exit
    };
    let all_units: Vec<Unit> = unit::all().iter().map(|(name, check)| Unit::new(name, *check)).collect();
    let catalogue = Catalogue::embedded().map_err(|problem| complain(&problem, Exit::Internal))?;
    let total = all_units.len() + catalogue.cases().len();

    let selection = flags.selection();
    if flags.by_scenario() {
        selection.choose(&catalogue).map_err(|problem| complain(&problem, Exit::NothingSelected))?;
    }
    let script = catalogue.script(|case| selection.keeps(case) && flags.passes(&case.address));
    let session = if script.cases.is_empty() {
        None
    } else {
        let request = TargetRequest {
            kind: TargetKind::BuiltIn { backend: None },
            model: None,
            model_formats: Vec::new(),
            api: Api::Native,
            llorch: env!("CARGO_BIN_EXE_llorch").into(),
        };
        let session = Session::of(request).map_err(|problem| complain(&problem, Exit::TargetNotStarted))?;
        Some(Arc::new(session))
    };

    let script = if flags.ignored {
        script.keep(|case| session.as_ref().is_some_and(|session| is_ignored(session, case)))
    } else {
        script
    };
    let no_units = flags.by_scenario() || flags.ignored;
    let units: Vec<Unit> = all_units.into_iter().filter(|unit| !no_units && flags.passes(&unit.case.address)).collect();
    let filtered_out = total - units.len() - script.cases.len();
    Ok(Chosen { units, script, filtered_out, session })
}

/// Out of scope on this machine, unless its lane is asked for.
fn is_ignored(session: &Session, case: &Case) -> bool {
    let required = Selection::from_environment().required;
    matches!(gate(session, case, &required), Some(runner::Gated::Out(_)))
}

fn list(flags: &Flags, chosen: &Chosen) -> Result<ExitCode, Exit> {
    // An ignored test is listed under --ignored and nowhere else, so that nobody shows it as passed.
    let scenarios = chosen
        .script
        .cases
        .iter()
        .filter(|case| flags.ignored || chosen.session.as_ref().is_none_or(|session| !is_ignored(session, case)));
    let cases: Vec<&Arc<Case>> = chosen.units.iter().map(|unit| &unit.case).chain(scenarios).collect();
    let mut text: String = cases.iter().map(|case| format!("{}: test\n", case.address)).collect();
    if flags.format == Format::Pretty && !flags.quiet {
        text.push_str(&format!("\n{} tests, 0 benchmarks\n", cases.len()));
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("bdd: failed to write the list: {problem}");
            Err(Exit::Internal)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn play(flags: &Flags, chosen: Chosen) -> Result<ExitCode, Exit> {
    let Chosen { units, script, filtered_out, session } = chosen;
    let mut desk = reporter(flags);
    let cases: Vec<Arc<Case>> = units.iter().map(|unit| &unit.case).chain(&script.cases).cloned().collect();
    let summary = || match &session {
        Some(session) => session.summary(),
        None => TargetSummary { sentence: "no worker: no scenario is selected".to_owned(), warning: None },
    };
    let since = Instant::now();
    desk.tell(&News::RunStarted { target: &summary(), cases: &cases });

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = run_units(&units, flags.test_threads.unwrap_or(cores), UNIT_DEADLINE, &mut desk);
    let mut interrupted = false;
    if let Some(session) = &session {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|problem| {
            eprintln!("bdd: failed to start a runtime: {problem}");
            Exit::Internal
        })?;
        let jobs = flags.test_threads.unwrap_or_else(|| session.jobs());
        let terms = Terms { jobs, required: flags.selection().required, ..Terms::default() };
        let run = runner::run::<World>(Arc::clone(session), script, terms, &mut desk, verify::interrupt());
        let played: Played = runtime.block_on(run);
        outcomes.extend(played.outcomes);
        interrupted = played.interrupted;
    }
    let (planned, compared) = (cases.len(), engines::take());
    let result = RunResult { target: summary(), outcomes, elapsed: since.elapsed(), interrupted, planned, compared };
    desk.tell(&News::RunEnded { result: &result });
    Ok(conclude(flags, &result, session.as_deref(), filtered_out))
}

fn reporter(flags: &Flags) -> Desk {
    let mut desk = Desk::default();
    let color = match flags.color {
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
        clap::ColorChoice::Auto => anstream::AutoStream::choice(&io::stdout()),
    };
    let detail = if flags.quiet || flags.format == Format::Terse { Detail::Dots } else { Detail::Lines };
    if detail == Detail::Lines && io::stdout().is_terminal() && color != anstream::ColorChoice::Never {
        desk.add(Terminal::new(io::stdout(), verify::terminal_width));
    } else {
        desk.add(Human::new(anstream::AutoStream::new(io::stdout(), color), detail));
    }
    verify::add_github(&mut desk);
    desk
}

/// The line that tools read, and how the process ends.
fn conclude(flags: &Flags, result: &RunResult, session: Option<&Session>, filtered_out: usize) -> ExitCode {
    let failed = [Verdict::Fail, Verdict::Error, Verdict::Flaky, Verdict::NearTie].map(|verdict| result.count(verdict));
    let failed: usize = failed.iter().sum();
    let passed = result.count(Verdict::Pass);
    let ignored = result.outcomes.len() - passed - failed;
    let word = if failed > 0 || result.interrupted { "FAILED" } else { "ok" };
    let seconds = result.elapsed.as_secs_f64();
    // A reader that has gone is no failure.
    let _ = writeln!(
        io::stdout(),
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered_out} filtered \
         out; finished in {seconds:.2}s"
    );
    // One test, named outright and not tested, must not look like one that passed, unless the list says that it is ignored.
    let untested = result.outcomes.iter().any(|outcome| {
        let is_untested = matches!(outcome.verdict, Verdict::Unimplemented | Verdict::Skipped);
        let is_listed = session.is_none_or(|session| !is_ignored(session, &outcome.case));
        is_untested && (is_listed || flags.ignored || flags.include_ignored)
    });
    if result.interrupted {
        Exit::Interrupted.into()
    } else if failed > 0 {
        ExitCode::from(FAILED)
    } else if flags.exact && untested {
        Exit::NotAllTested.into()
    } else {
        ExitCode::SUCCESS
    }
}
