//! `llorch diff`: two captures, the first place where they part, and what that looks like.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::harness::exit::Exit;
use crate::parity::Capture;
use crate::parity::capture;
use crate::parity::diff::{Diff, Insight, Options, diff, story};
use crate::parity::report::{Page, captures};

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Flags {
    /// The capture that is right: a folder, a .safetensors, .npz or .npy file
    #[arg(value_name = "REFERENCE")]
    reference: PathBuf,
    /// The capture that is held against it
    #[arg(value_name = "FOUND")]
    found: PathBuf,
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
    let mut disagreements = Vec::new();
    let reference = open(&flags.reference, &mut disagreements)?;
    let found = open(&flags.found, &mut disagreements)?;
    let options = Options {
        disagreements: &disagreements,
        allow_different_weights: flags.allow_different_weights,
        threads: flags.threads.into(),
        insight: None::<&dyn Insight>,
    };
    let diff = diff(&reference, &found, options);
    if let Some(path) = &flags.report {
        let page = Page { diffs: vec![captures(&diff, &reference, &found)], ..Page::default() };
        fs::write(path, page.html()).map_err(|problem| {
            eprintln!("llorch: --report: failed to write {}: {problem}", path.display());
            Exit::Usage
        })?;
    }
    print(flags, &diff)?;
    Ok(diff)
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
