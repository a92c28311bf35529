//! `llorch diff`: two captures, the first place where they part, and what that looks like.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::harness::exit::Exit;
use crate::harness::selection::ModelFormat;
use crate::model::digest::model_digest;
use crate::model::{ModelFile, file};
use crate::parity::diff::{Diff, Insight, Known, Options, diff, diff_logs, story};
use crate::parity::oracle::Model;
use crate::parity::report::{Page, captures};
use crate::parity::{Capture, Log, capture};

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Flags {
    /// The capture that is right: a folder, a .safetensors, .npz or .npy file, or a parity log (.jsonl)
    #[arg(value_name = "REFERENCE")]
    reference: PathBuf,
    /// The capture that is held against it
    #[arg(value_name = "FOUND")]
    found: PathBuf,
    /// The model of both: names the cause, and checks each step on its own inputs [default: the built-in tiny model,
    /// where the captures are of it]
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
    match carry_out(&flags) {
        Ok(diff) => ExitCode::from(diff.outcome.exit_code()),
        Err(exit) => exit.into(),
    }
}

fn carry_out(flags: &Flags) -> Result<Diff, Exit> {
    if is_log(&flags.reference) || is_log(&flags.found) {
        return carry_out_logs(flags);
    }
    let mut disagreements = Vec::new();
    let reference = open(&flags.reference, &mut disagreements)?;
    let found = open(&flags.found, &mut disagreements)?;
    let model = model_of(flags, &reference)?;
    let known = model.as_ref().map(|model| {
        let (configuration, weights) = (&model.configuration, &model.weights);
        Known(Model { configuration, weights, tokenizer: None })
    });
    let options = Options {
        disagreements: &disagreements,
        allow_different_weights: flags.allow_different_weights,
        threads: flags.threads.into(),
        insight: known.as_ref().map(|known| known as &dyn Insight),
    };
    let diff = diff(&reference, &found, options);
    if let Some(path) = &flags.report {
        let page = Page { diffs: vec![captures(&diff, &reference, &found)], ..Page::default() };
        report(path, &page)?;
    }
    print(flags, &diff)?;
    Ok(diff)
}

/// Two parity logs, told as captures are.
fn carry_out_logs(flags: &Flags) -> Result<Diff, Exit> {
    let read = |path: &Path| {
        Log::read(path).map_err(|problem| {
            super::complain(&problem);
            Exit::Usage
        })
    };
    let diff = diff_logs(&read(&flags.reference)?, &read(&flags.found)?);
    if let Some(path) = &flags.report {
        let nothing = Capture::default();
        let page = Page { diffs: vec![captures(&diff, &nothing, &nothing)], ..Page::default() };
        report(path, &page)?;
    }
    print(flags, &diff)?;
    Ok(diff)
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["jsonl", "ndjson", "log"].iter().any(|log| extension == *log))
}

/// The model that the reference is of, where there is one to be had.
fn model_of(flags: &Flags, reference: &Capture) -> Result<Option<ModelFile>, Exit> {
    let digest = &reference.manifest.model_digest;
    let refuse = |problem: &dyn std::error::Error| {
        super::complain(problem);
        Exit::Usage
    };
    let Some(path) = &flags.model else {
        return Ok(tiny_model().filter(|model| !digest.is_empty() && model_digest(&model.weights) == *digest));
    };
    let model = file::open(path, &mut |_| {}).map_err(|problem| refuse(&problem))?;
    let own = model_digest(&model.weights);
    if !digest.is_empty() && own != *digest {
        eprintln!(
            "llorch: --model: {} is another model than the reference's: digest {own}, expected {digest}",
            path.display()
        );
        return Err(Exit::Usage);
    }
    Ok(Some(model))
}

/// The built-in one, from a folder that goes away again.
fn tiny_model() -> Option<ModelFile> {
    let folder = tempfile::tempdir().ok()?;
    let path = crate::harness::tiny_model::write(folder.path(), ModelFormat::Safetensors).ok()?;
    file::open(&path, &mut |_| {}).ok()
}

fn report(path: &Path, page: &Page) -> Result<(), Exit> {
    fs::write(path, page.html()).map_err(|problem| {
        eprintln!("llorch: --report: failed to write {}: {problem}", path.display());
        Exit::Usage
    })
}

/// Reads a capture; what its manifest says wrongly is told and does not end the story.
fn open(path: &Path, disagreements: &mut Vec<String>) -> Result<Capture, Exit> {
    let opened = capture::open(path).map_err(|problem| {
        super::complain(&problem);
        Exit::Usage
    })?;
    disagreements.extend(opened.disagreements.iter().map(ToString::to_string));
    Ok(opened.capture)
}

fn print(flags: &Flags, diff: &Diff) -> Result<(), Exit> {
    let color = if flags.no_color { anstream::ColorChoice::Never } else { anstream::AutoStream::choice(&io::stdout()) };
    let mut out = anstream::AutoStream::new(io::stdout().lock(), color);
    let written = match flags.format {
        Format::Human => out.write_all(story::tell(diff).as_bytes()),
        Format::Json => {
            serde_json::to_string_pretty(diff).map_err(io::Error::from).and_then(|text| writeln!(out, "{text}"))
        }
    };
    match written.and_then(|()| out.flush()) {
        Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
            super::complain(&problem);
            Err(Exit::Internal)
        }
        _ => Ok(()),
    }
}
