//! `llorch verify`: the features against a worker.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SelectionFlags;
use crate::harness::api::Api;
use crate::harness::catalogue::Script;
use crate::harness::checkpoints::engines;
use crate::harness::exit::Exit;
use crate::harness::http::Base;
use crate::harness::runner::{self, RunResult, Session as _, Terms};
use crate::harness::selection::{BuiltInBackend, ModelFormat, Selection, TargetKind, TargetRequest};
use crate::harness::session::Session;
use crate::harness::writers::ctrf::Ctrf;
use crate::harness::writers::github::{Annotations, StepSummary};
use crate::harness::writers::html::Html;
use crate::harness::writers::human::{Detail, Human};
use crate::harness::writers::json::{Json, Ndjson};
use crate::harness::writers::junit::Junit;
use crate::harness::writers::terminal::Terminal;
use crate::harness::writers::{Desk, News};
use crate::steps::World;

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Flags {
    /// Start this worker: the contract's flags that the command does not bring are added, or {model}, {port}, … filled in
    #[arg(long, value_name = "COMMAND", conflicts_with = "url")]
    spawn: Option<String>,
    /// Ask a worker that runs already
    #[arg(long)]
    url: Option<String>,
    /// The model file that the target runs, for known answers
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// In which formats the target may be given models of the harness's choosing; may be repeated
    #[arg(long, value_enum, value_name = "FORMAT")]
    model_format: Vec<ModelFormat>,
    /// In which words it is asked: the worker contract's, llama-server's own, or OpenAI's
    #[arg(long, value_enum, default_value_t)]
    api: Api,
    /// What the built-in worker computes with
    #[arg(long, value_enum, conflicts_with_all = ["spawn", "url"])]
    backend: Option<BuiltInBackend>,
    #[command(flatten)]
    selection: SelectionFlags,
    /// Lines for people (a live table on a terminal), one JSON document, or one JSON line for each event
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write a JUnit report as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a report in the Common Test Report Format as well
    #[arg(long, value_name = "FILE")]
    ctrf: Option<PathBuf>,
    /// Write a page to look at as well
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// NON-STRICT fails the run
    #[arg(long)]
    strict: bool,
    /// No colours, whatever the terminal can do
    #[arg(long)]
    no_color: bool,
    /// How many cases at a time [default: what the target bears]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// End a case after this long, wherever it hangs
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    timeout_sec: u32,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  everything in scope holds
    1  a case failed
    2  the command line is wrong
    4  nothing is selected
    5  nothing failed, and something asked for by name could not be tested
   70  a mistake of llorch's own
   96  the target would not start
  103  the self-test failed
  104  a proof bundle does not verify
  130  interrupted";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Human,
    Json,
    Ndjson,
}

/// The flags, checked.
struct Order {
    request: TargetRequest,
    selection: Selection,
    script: Script,
    strict: bool,
    jobs: Option<usize>,
    deadline: Duration,
    desk: Desk,
}

pub fn main(flags: Flags) -> ExitCode {
    check(flags).and_then(carry_out).unwrap_or_else(|exit| exit).into()
}

fn check(flags: Flags) -> Result<Order, Exit> {
    let refuse = |message: String| {
        eprintln!("llorch: {message}");
        Exit::Usage
    };
    let kind = match (flags.spawn, flags.url) {
        (Some(command), _) if shlex::split(&command).is_some_and(|words| !words.is_empty()) => {
            TargetKind::Spawn { command }
        }
        (Some(command), _) => return Err(refuse(format!("--spawn: not a command: {command:?}"))),
        (None, Some(url)) => match Base::parse(&url) {
            Ok(_) => TargetKind::Url { url },
            Err(problem) => return Err(refuse(format!("--url: {problem}"))),
        },
        (None, None) if !flags.api.is_native() => {
            return Err(refuse(format!("--api {} needs an engine: --spawn or --url", flags.api.word())));
        }
        (None, None) => TargetKind::BuiltIn { backend: flags.backend },
    };
    if let Some(model) = flags.model.as_ref().filter(|model| !model.exists()) {
        return Err(refuse(format!("--model: {} is not there", model.display())));
    }
    let llorch = std::env::current_exe().map_err(|problem| {
        super::complain(&problem);
        Exit::Internal
    })?;
    let (selection, script) = flags.selection.choose(flags.api)?;
    let desk = reporters(flags.format, flags.no_color, [flags.junit, flags.ctrf, flags.report])?;
    Ok(Order {
        request: TargetRequest { kind, model: flags.model, model_formats: flags.model_format, api: flags.api, llorch },
        selection,
        script,
        strict: flags.strict,
        jobs: flags.jobs.map(usize::from),
        deadline: Duration::from_secs(flags.timeout_sec.into()),
        desk,
    })
}

fn reporters(format: Format, no_color: bool, [junit, ctrf, report]: [Option<PathBuf>; 3]) -> Result<Desk, Exit> {
    let create = |flag: &str, path: &PathBuf| {
        File::create(path).map(BufWriter::new).map_err(|problem| {
            eprintln!("llorch: {flag}: failed to write {}: {problem}", path.display());
            Exit::Usage
        })
    };
    let mut desk = Desk::default();
    let color = if no_color { anstream::ColorChoice::Never } else { anstream::AutoStream::choice(&io::stdout()) };
    match format {
        // The live table moves the cursor, which `AutoStream` would take out where colours are off: a terminal that wants
        // no colours gets plain lines, as a pipe does.
        Format::Human if io::stdout().is_terminal() && color != anstream::ColorChoice::Never => {
            desk.add(Terminal::new(io::stdout(), terminal_width));
        }
        Format::Human => desk.add(Human::new(anstream::AutoStream::new(io::stdout(), color), Detail::Lines)),
        Format::Json => desk.add(Json(io::stdout())),
        Format::Ndjson => desk.add(Ndjson(io::stdout())),
    }
    if let Some(path) = junit {
        desk.add(Junit(create("--junit", &path)?));
    }
    if let Some(path) = ctrf {
        desk.add(Ctrf(create("--ctrf", &path)?));
    }
    if let Some(path) = report {
        desk.add(Html::new(create("--report", &path)?));
    }
    add_github(&mut desk);
    Ok(desk)
}

/// Where GitHub runs this, and only there. Annotations go to stderr, which keeps stdout what was asked for.
pub fn add_github(desk: &mut Desk) {
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        desk.add(Annotations(io::stderr()));
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        match File::options().append(true).create(true).open(&path) {
            Ok(file) => desk.add(StepSummary(file)),
            Err(problem) => eprintln!("llorch: failed to write {}: {problem}", path.display()),
        }
    }
}

/// Columns of the terminal, or 80.
pub fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(80, |(terminal_size::Width(width), _)| width.into())
}

fn carry_out(order: Order) -> Result<Exit, Exit> {
    let Order { request, selection, script, strict, jobs, deadline, mut desk } = order;
    let session = Session::open(request).map_err(|problem| {
        super::complain(&problem);
        Exit::TargetNotStarted
    })?;
    let session = Arc::new(session);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|problem| {
        super::complain(&problem);
        Exit::Internal
    })?;
    let terms = Terms { jobs: jobs.unwrap_or_else(|| session.jobs()), deadline, required: selection.required.clone() };
    let since = Instant::now();
    let planned = script.cases.len();
    desk.tell(&News::RunStarted { target: &session.summary(), cases: &script.cases });
    let played = runtime.block_on(runner::run::<World>(Arc::clone(&session), script, terms, &mut desk, interrupt()));
    let result = RunResult {
        target: session.summary(),
        outcomes: played.outcomes,
        elapsed: since.elapsed(),
        interrupted: played.interrupted,
        planned,
        compared: engines::take(),
    };
    desk.tell(&News::RunEnded { result: &result });
    for problem in desk.problems() {
        eprintln!("llorch: failed to write a report: {problem}");
    }
    let exit = Exit::of(&result, &selection, strict);
    Ok(if exit == Exit::Passed && !desk.problems().is_empty() { Exit::Internal } else { exit })
}

/// SIGINT or SIGTERM.
pub async fn interrupt() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => _ = tokio::signal::ctrl_c().await,
    }
}
