//! `llorch diff`: two captures, the first place where they part, and what that looks like. Two parity logs are compared
//! pass by pass; and what `golden/regenerate` left pending is accepted or rejected here.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::harness::exit::Exit;
use crate::harness::tiny_model;
use crate::model::digest::model_digest;
use crate::model::file::{self, ModelFile};
use crate::model::tokenizer::{self, Tokenizer};
use crate::parity::capture;
use crate::parity::diff::{Diff, Insight, Known, Options, Outcome, diff, diff_logs, story};
use crate::parity::golden::review::{self, Writing};
use crate::parity::golden::{Golden, GoldenError};
use crate::parity::oracle::Model;
use crate::parity::report::{Page, captures};
use crate::parity::{Capture, Log};

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Flags {
    /// The capture that is right: a folder, a .safetensors, .npz or .npy file, or a parity log (.jsonl)
    #[arg(value_name = "REFERENCE", required_unless_present_any = ["accept", "reject"])]
    reference: Option<PathBuf>,
    /// The capture that is held against it
    #[arg(value_name = "FOUND", required_unless_present_any = ["accept", "reject"])]
    found: Option<PathBuf>,
    /// The model that both ran: each step is then judged on its own inputs, and the cause is named [default: known by its
    /// digest, if it is the one in this binary]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write a page with pictures as well
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// A quantised model against its original: judged by signal to noise
    #[arg(long)]
    allow_different_weights: bool,
    /// How many threads compare
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// No colours, whatever the terminal can do
    #[arg(long)]
    no_color: bool,
    /// Take the pending goldens whose name has this in it; all without a name
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["reject", "reference"])]
    accept: Option<String>,
    /// Throw the pending goldens away
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with = "reference")]
    reject: Option<String>,
    /// Where the goldens are
    #[arg(long, value_name = "DIR", default_value = "golden")]
    goldens: PathBuf,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  parity: every tensor that both have is within its tolerance
    1  they diverge, or a tensor is missing
    2  the command line is wrong, or a capture can't be read
    3  the two can't be compared: another model, other sizes or another prompt";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Human,
    Json,
}

pub fn main(flags: Flags) -> ExitCode {
    if flags.accept.is_some() || flags.reject.is_some() {
        return answer(&flags).map_or_else(|exit| exit, |()| Exit::Passed).into();
    }
    let (Some(reference), Some(found)) = (&flags.reference, &flags.found) else { return Exit::Usage.into() };
    let outcome = if is_log(reference) || is_log(found) {
        logs(&flags, reference, found)
    } else {
        tensors(&flags, reference, found)
    };
    outcome.map_or_else(ExitCode::from, |outcome| ExitCode::from(outcome.exit_code()))
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|end| ["jsonl", "ndjson", "log"].iter().any(|log| end == *log))
}

fn complain(problem: &dyn std::error::Error) -> Exit {
    super::complain(problem);
    Exit::Usage
}

fn tensors(flags: &Flags, reference: &Path, found: &Path) -> Result<Outcome, Exit> {
    let mut disagreements = Vec::new();
    let (right, shown) = (open(reference, &mut disagreements)?, open(found, &mut disagreements)?);
    // Of a golden that is kept in slices, the same slices are compared; two are cut alike.
    let slices = [sliced(reference), sliced(found)];
    let (golden, whole) = match &slices {
        [Some(golden), None] => (Some(golden), &shown),
        [None, Some(golden)] => (Some(golden), &right),
        _ => (None, &shown),
    };
    let cut = golden.map(|golden| golden.cut(whole)).transpose().map_err(|problem: GoldenError| complain(&problem))?;
    let loaded = load(flags, &right, &shown)?;
    let known = loaded.as_ref().map(|loaded| Known(loaded.model()));
    let options = Options {
        disagreements: &disagreements,
        allow_different_weights: flags.allow_different_weights,
        threads: flags.threads.into(),
        insight: known.as_ref().map(|known| known as &dyn Insight),
    };
    let (right, shown) = match cut {
        Some(cut) if slices[0].is_none() => (cut, shown),
        Some(cut) => (right, cut),
        None => (right, shown),
    };
    // A cut tensor is no input of the next step: steps are judged on whole tensors only.
    let is_whole = slices.iter().all(Option::is_none);
    let diff = diff(&right, &shown, Options { insight: options.insight.filter(|_| is_whole), ..options });
    report(flags, &diff, &right, &shown)?;
    let mut text = told(flags, &diff)?;
    if let (Format::Human, Some(golden)) = (flags.format, &golden) {
        text += &format!("A golden keeps slices of {} tensors: ", golden.slices.len());
        let shown: Vec<String> = golden
            .slices
            .keys()
            .take(2)
            .filter_map(|name| Some(format!("{name} {}", golden.coverage(name)?)))
            .collect();
        text += &format!("{} …\n", shown.join(", "));
    }
    if let (Format::Human, Outcome::Divergence, None) = (flags.format, diff.outcome, &loaded) {
        text += "\nWith --model FILE, the model that both ran, each step is judged on its own inputs and the cause is named.\n";
    }
    print(flags, &text)?;
    Ok(diff.outcome)
}

/// A golden that is kept in slices.
fn sliced(path: &Path) -> Option<Golden> {
    Some(path)
        .filter(|path| path.is_dir())
        .and_then(|path| Golden::read(path).ok())
        .filter(|golden| !golden.slices.is_empty())
}

/// Two parity logs, told as captures are.
fn logs(flags: &Flags, reference: &Path, found: &Path) -> Result<Outcome, Exit> {
    let read = |path: &Path| Log::read(path).map_err(|problem| complain(&problem));
    let diff = diff_logs(&read(reference)?, &read(found)?);
    let nothing = Capture::default();
    report(flags, &diff, &nothing, &nothing)?;
    print(flags, &told(flags, &diff)?)?;
    Ok(diff.outcome)
}

fn report(flags: &Flags, diff: &Diff, reference: &Capture, found: &Capture) -> Result<(), Exit> {
    let Some(path) = &flags.report else { return Ok(()) };
    let page = Page { diffs: vec![captures(diff, reference, found)], ..Page::default() };
    fs::write(path, page.html()).map_err(|problem| {
        eprintln!("llorch: --report: failed to write {}: {problem}", path.display());
        Exit::Usage
    })
}

fn told(flags: &Flags, diff: &Diff) -> Result<String, Exit> {
    Ok(match flags.format {
        Format::Human => story::tell(diff),
        Format::Json => serde_json::to_string_pretty(diff).map_err(|problem| complain(&problem))? + "\n",
    })
}

/// The model that both captures ran, for the reference.
struct Loaded {
    file: ModelFile,
    tokenizer: Option<Arc<dyn Tokenizer>>,
}

impl Loaded {
    fn model(&self) -> Model<'_> {
        Model {
            configuration: &self.file.configuration,
            weights: &self.file.weights,
            tokenizer: self.tokenizer.as_deref(),
        }
    }
}

/// The one that is named, which must be the captures'; or the embedded one, where their digest is its.
fn load(flags: &Flags, reference: &Capture, found: &Capture) -> Result<Option<Loaded>, Exit> {
    let digest = [reference, found].map(|capture| capture.manifest.model_digest.clone());
    let opened = |file: ModelFile| {
        let tokenizer = tokenizer::open(&file.tokenizer_source, file.configuration.eos_token_id()).ok();
        Loaded { file, tokenizer }
    };
    let Some(path) = &flags.model else {
        let embedded = tiny_model::open().ok().filter(|file| digest.contains(&model_digest(&file.weights)));
        return Ok(embedded.map(opened));
    };
    let file = file::open(path, &mut |_| {}).map_err(|problem| complain(&problem))?;
    let own = model_digest(&file.weights);
    // Captures of two models are told apart by the comparison itself.
    let of_two_models = digest.iter().all(|digest| !digest.is_empty()) && digest[0] != digest[1];
    if of_two_models && !flags.allow_different_weights {
        return Ok(None);
    }
    if let Some(other) = digest.iter().find(|digest| !digest.is_empty() && **digest != own)
        && !flags.allow_different_weights
    {
        eprintln!("llorch: --model: {} has the digest {own}, and a capture is of a model with {other}", path.display());
        return Err(Exit::Usage);
    }
    Ok(Some(opened(file)))
}

/// What is pending is taken, or thrown away.
fn answer(flags: &Flags) -> Result<(), Exit> {
    let writing = Writing::from_environment();
    let (word, chosen) = match (&flags.accept, &flags.reject) {
        (Some(name), _) => ("accepted", review::accept(&flags.goldens, some(name), writing)),
        (None, name) => {
            ("rejected", review::reject(&flags.goldens, some(name.as_deref().unwrap_or_default()), writing))
        }
    };
    for one in chosen.map_err(|problem| complain(&problem))? {
        println!("{word} {}{}", one.name, if one.is_new { " (new)" } else { "" });
    }
    Ok(())
}

fn some(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

/// Reads a capture; what its manifest says wrongly is told and does not end the story.
fn open(path: &Path, disagreements: &mut Vec<String>) -> Result<Capture, Exit> {
    let opened = capture::open(path).map_err(|problem| complain(&problem))?;
    disagreements.extend(opened.disagreements.iter().map(ToString::to_string));
    Ok(opened.capture)
}

fn print(flags: &Flags, text: &str) -> Result<(), Exit> {
    let color = if flags.no_color { anstream::ColorChoice::Never } else { anstream::AutoStream::choice(&io::stdout()) };
    let mut out = anstream::AutoStream::new(io::stdout().lock(), color);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
            super::complain(&problem);
            Err(Exit::Internal)
        }
        _ => Ok(()),
    }
}
