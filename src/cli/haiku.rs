//! `llorch haiku`: one haiku, two verdicts, and the proof of both.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::exit::Exit;
use crate::harness::haiku::run::{self, Chain, Orchestrator, Wanted};
use crate::harness::http::{Base, Request};
use crate::harness::proof::checks::{self, Outcome, Part};
use crate::harness::proof::redact::Redactor;
use crate::harness::proof::{Bundle, Form, Judgement, Kind, Record, environment, page, place};
use crate::harness::selection::{ModelFormat, TargetKind, TargetRequest};
use crate::harness::session::Session;
use crate::harness::target::Worker;
use crate::harness::{Finding, Verdict};

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Flags {
    /// Start this worker, as `llorch verify` does
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["url", "orchestrator"])]
    spawn: Option<String>,
    /// Ask a worker that runs already
    #[arg(long, conflicts_with = "orchestrator")]
    url: Option<String>,
    /// Ask an orchestrator: the whole chain answers
    #[arg(long, value_name = "URL")]
    orchestrator: Option<String>,
    /// The model that the orchestrator is asked for
    #[arg(long, value_name = "REF", default_value = "tiny-haiku", requires = "orchestrator")]
    model_ref: String,
    /// The engine that the orchestrator is asked for
    #[arg(long, value_name = "NAME", default_value = "llorch", requires = "orchestrator")]
    engine: String,
    /// The model file that the worker is started on, or runs
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// In which format a spawned worker is given the embedded model
    #[arg(long, value_enum, value_name = "FORMAT")]
    model_format: Vec<ModelFormat>,
    #[arg(long, default_value = "GPU computing")]
    subject: String,
    /// The plain form instead: no minute, 50 tokens, temperature 0.7, seed 42, twice the same
    #[arg(long)]
    plain: bool,
    /// Default: the unix time
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2048))]
    max_tokens: u32,
    #[arg(long, default_value_t = 0.7)]
    temperature: f64,
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// Why the word rule does not apply: the model does not follow instructions, say
    #[arg(long, value_name = "REASON")]
    word_rule_not_applicable: Option<String>,
    /// Where the bundle goes [default: $LLORCH_PROOF_DIR, or .proof_bundle]
    #[arg(long, value_name = "DIR")]
    proof_dir: Option<PathBuf>,
    /// One JSON document instead of lines for people
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
The bearer token of a worker or an orchestrator that wants one is read from LLORCH_API_TOKEN.

Exit codes: 0 both verdicts hold (or the word rule does not apply) · 1 one does not · 2 usage · 96 the target would not start";

pub fn main(flags: Flags) -> ExitCode {
    carry_out(flags).unwrap_or_else(|exit| exit).into()
}

/// Who answers, with what a bundle says of it.
struct Target {
    chain: Box<dyn Chain>,
    worker: Option<std::sync::Arc<Worker>>,
    sentence: String,
    health: Value,
    model: Option<PathBuf>,
    /// Ends what was started, when the run is over.
    _session: Option<Session>,
}

struct Shared(std::sync::Arc<Worker>);

impl Chain for Shared {
    fn source(&self) -> crate::harness::proof::Source {
        self.0.source()
    }
    fn ask(&self, body: &Value, id: &str) -> Result<(crate::harness::transcript::Transcript, Option<Value>), Finding> {
        self.0.ask(body, id)
    }
    fn metrics(&self) -> Result<String, Finding> {
        Chain::metrics(&*self.0)
    }
}

fn carry_out(flags: Flags) -> Result<Exit, Exit> {
    let wanted = Wanted {
        form: if flags.plain { Form::Plain } else { Form::Minute },
        subject: flags.subject.clone(),
        seed: flags.seed,
        max_tokens: flags.max_tokens,
        temperature: flags.temperature,
        top_p: flags.top_p,
        word_rule_not_applicable: flags.word_rule_not_applicable.clone(),
    };
    let target = open(&flags)?;
    let correlation_id = uuid::Uuid::new_v4().to_string();
    let record = run::run(&*target.chain, &wanted, &correlation_id).map_err(|finding| {
        eprintln!("llorch: expected {}, found {}", finding.expected, finding.found);
        for evidence in &finding.evidence {
            eprintln!("  {}: {}", evidence.title, evidence.text.replace('\n', "\n    "));
        }
        if finding.verdict == Verdict::Error { Exit::Internal } else { Exit::Failed }
    })?;
    let folder = place(Kind::E2eHaiku, flags.proof_dir.as_deref());
    let (judgement, folder) = write(&target, &record, &correlation_id, folder).map_err(|problem| {
        eprintln!("llorch: failed to write the proof bundle: {problem}");
        Exit::Internal
    })?;
    if flags.json {
        println!("{:#}", json!({ "bundle": folder, "verification": checks::document(&record, &judgement) }));
    } else {
        show(&target.sentence, &record, &judgement, &folder);
    }
    Ok(if judgement.holds() { Exit::Passed } else { Exit::Failed })
}

fn open(flags: &Flags) -> Result<Target, Exit> {
    let refuse = |message: String| {
        eprintln!("llorch: {message}");
        Exit::Usage
    };
    let token = std::env::var("LLORCH_API_TOKEN").ok().filter(|token| !token.is_empty());
    if let Some(url) = &flags.orchestrator {
        let base = Base::parse(url).map_err(|problem| refuse(format!("--orchestrator: {problem}")))?;
        let request = Request::get("/health");
        let health =
            crate::harness::http::send(&base, &request, std::time::Duration::from_secs(10)).map_err(|problem| {
                super::complain(&problem);
                Exit::TargetNotStarted
            })?;
        let health = health.json().unwrap_or_default();
        let chain = Orchestrator { base, token, model_ref: flags.model_ref.clone(), engine: flags.engine.clone() };
        let sentence = format!("orchestrator {url}");
        return Ok(Target {
            chain: Box::new(chain),
            worker: None,
            sentence,
            health,
            model: flags.model.clone(),
            _session: None,
        });
    }
    let kind = match (&flags.spawn, &flags.url) {
        (Some(command), _) => TargetKind::Spawn { command: command.clone() },
        (_, Some(url)) => TargetKind::Url { url: url.clone() },
        (None, None) => TargetKind::BuiltIn { backend: None },
    };
    if let Some(model) = flags.model.as_ref().filter(|model| !model.exists()) {
        return Err(refuse(format!("--model: {} is not there", model.display())));
    }
    let llorch = std::env::current_exe().map_err(|problem| refuse(problem.to_string()))?;
    let request = TargetRequest {
        kind,
        model: flags.model.clone(),
        model_formats: flags.model_format.clone(),
        api: Api::Native,
        llorch,
    };
    let not_started = |problem: &dyn std::error::Error| {
        super::complain(problem);
        Exit::TargetNotStarted
    };
    let session = Session::of(request).map_err(|problem| not_started(&problem))?;
    let worker = session.first_worker().map_err(|problem| not_started(&problem))?;
    let health = worker.health().unwrap_or_default();
    let model = session.known_model().ok();
    let sentence = session.target.describe();
    let chain = Box::new(Shared(worker.clone()));
    Ok(Target { chain, worker: Some(worker), sentence, health, model, _session: Some(session) })
}

fn write(
    target: &Target,
    record: &Record,
    correlation_id: &str,
    folder: PathBuf,
) -> std::io::Result<(Judgement, PathBuf)> {
    let mut bundle = Bundle::create(folder, Redactor::new([]))?;
    bundle.json("request.json", &record.request())?;
    if let Some(admission) = &record.admission {
        bundle.json("admission.json", admission)?;
    }
    bundle.lines("sse_transcript.jsonl", &record.stream_lines())?;
    let log = target.worker.as_ref().and_then(|worker| worker.log().ok());
    let lines: Vec<Value> = log
        .iter()
        .flat_map(|log| log.with("correlation_id", correlation_id))
        .filter_map(|line| line.fields.clone().map(Value::Object))
        .collect();
    bundle.lines("logs.jsonl", &lines)?;
    let (before, after) = record.metrics.clone().unzip();
    let changes: Vec<Value> = record
        .scrapes()
        .map(|(before, after)| {
            before
                .changes(&after, &[])
                .iter()
                .map(|change| json!({ "sample": change.sample, "before": change.before, "after": change.after }))
                .collect()
        })
        .unwrap_or_default();
    bundle.json("metrics_snapshot.json", &json!({ "before": before, "after": after, "delta": changes }))?;
    bundle
        .json("environment.json", &environment::document(&target.sentence, &target.health, target.model.as_deref()))?;
    let seeds = json!({ "seed": record.request()["seed"], "reported": record.transcript.field("end", "seed") });
    bundle.lines("seeds.ndjson", &[seeds])?;
    bundle.json("timings.json", &page::timings(record))?;
    // What is judged is what was written, secrets removed, so that whoever reads the folder finds the same.
    let (facts, metrics) = (bundle.cleaned(&record.facts)?, record.metrics.clone());
    let request = bundle.read("request.json")?;
    let transcript =
        Record::read_stream(&request, &bundle.read_lines("sse_transcript.jsonl")?).map_err(std::io::Error::other)?;
    let written = Record { facts, transcript, admission: record.admission.clone(), metrics };
    let judgement = checks::judge(&written);
    bundle.json("verification.json", &checks::document(&written, &judgement))?;
    bundle.text("README.md", &page::read_me(&written, &judgement, &target.sentence))?;
    bundle.text("report.html", &page::report(&written, &judgement, &target.sentence))?;
    Ok((judgement, bundle.seal()?))
}

fn show(target: &str, record: &Record, judgement: &Judgement, folder: &Path) {
    let word = |outcome: Outcome| json!(outcome).as_str().unwrap_or_default().to_owned();
    println!("{target}\n");
    for line in judgement.text.trim_matches('\n').lines() {
        println!("    {line}");
    }
    println!();
    for (part, outcome) in [(Part::Pipeline, judgement.pipeline), (Part::Word, judgement.word_rule)] {
        let of = || judgement.checks.iter().filter(move |check| check.part == part);
        let held = of().filter(|check| check.outcome == Outcome::Pass).count();
        let name = if part == Part::Pipeline { "pipeline" } else { "word rule" };
        println!("{name:10} {:15} {held} of {} checks", word(outcome), of().count());
        for check in of().filter(|check| check.outcome != Outcome::Pass) {
            println!(
                "           {} {}: expected {}, found {}",
                word(check.outcome),
                check.name,
                check.expected,
                check.found
            );
        }
    }
    let elapsed = record.transcript.ended_at;
    println!("\n{} token events in {elapsed:.2?}, bundle in {}", record.transcript.tokens().count(), folder.display());
    println!("llorch proof verify {} checks it again, offline", folder.display());
}
