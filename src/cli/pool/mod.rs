//! `llorch-pool`, and the same as `llorch pool`: the models and workers of a machine, this one or one behind SSH.

mod guides;
mod models;
mod output;
pub mod remote;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use super::completions;
use crate::pool::local::program::Programs;
use output::Output;

/// The models and the workers of this machine.
#[derive(Debug, Parser)]
#[command(name = "llorch-pool", version, after_help = guides::EXIT_CODES, after_long_help = guides::TROUBLESHOOTING)]
struct LlorchPool {
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct Common {
    /// The pool's folder, in which .test-models and .runtime lie
    #[arg(short = 'C', long, global = true, value_name = "DIR", env = "LLORCH_POOL_DIR", default_value = ".")]
    directory: PathBuf,
    /// Print one JSON document, for scripts
    #[arg(long, global = true)]
    json: bool,
    /// No colours, whatever the terminal can do; NO_COLOR does the same
    #[arg(long, global = true)]
    no_color: bool,
    #[command(flatten)]
    remote: remote::Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What this machine has and may have, and what is downloaded of it
    #[command(subcommand)]
    Models(models::Verb),
    /// The processes that serve models
    #[command(subcommand)]
    Worker(worker::Verb),
    /// Models, workers and what they answer, at a glance
    Status,
    /// Print the completions of a shell
    Completions(completions::Flags),
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Said on stderr, exit code 1.
    #[error("{0}")]
    Refused(String),
    /// The command line is wrong in a way that only we see, exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Said already; only the exit code is left.
    #[error("exit code {0}")]
    Exit(u8),
}

impl Failure {
    fn of(problem: impl std::fmt::Display) -> Failure {
        Failure::Refused(problem.to_string())
    }
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const TIMED_OUT: u8 = 124;
const INTERRUPTED: u8 = 130;

/// What a command has to work with.
struct Context {
    pool: PathBuf,
    programs: Programs,
    output: Output,
}

/// The tool under its own name; the first argument is the program's.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    own(arguments, Vec::new())
}

/// The same from the binary that carries the daemons too, so that it can start them as itself.
pub fn carried(arguments: Vec<OsString>, daemons: Vec<&'static str>) -> ExitCode {
    own(arguments, daemons)
}

fn own(arguments: Vec<OsString>, daemons: Vec<&'static str>) -> ExitCode {
    let raw = arguments.get(1..).unwrap_or_default().to_vec();
    let flags = LlorchPool::parse_from(arguments).flags;
    run(flags, &raw, daemons, LlorchPool::command)
}

/// `llorch pool`: `raw` are the words after it.
pub fn verb(flags: Flags, raw: &[OsString], daemons: Vec<&'static str>) -> ExitCode {
    run(flags, raw, daemons, LlorchPool::command)
}

fn run(flags: Flags, raw: &[OsString], daemons: Vec<&'static str>, command: fn() -> clap::Command) -> ExitCode {
    let Flags { common, verb } = flags;
    let outcome = match (verb, common.remote.host.is_some()) {
        (Verb::Completions(flags), _) => return completions::main(flags, command()),
        (verb, true) => common.remote.run(raw, verb.may_take_long()),
        (verb, false) => {
            let context = Context {
                pool: common.directory,
                programs: Programs { own: std::env::current_exe().ok(), carried: daemons },
                output: Output::new(common.json, common.no_color),
            };
            verb.carry_out(&context)
        }
    };
    let code = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Exit(code)) => code,
        Err(Failure::Refused(message)) => {
            eprintln!("llorch-pool: {message}");
            FAILED
        }
        Err(Failure::Usage(message)) => {
            eprintln!("llorch-pool: {message}");
            USAGE
        }
    };
    ExitCode::from(code)
}

impl Verb {
    fn carry_out(self, context: &Context) -> Result<(), Failure> {
        match self {
            Verb::Models(verb) => verb.carry_out(context),
            Verb::Worker(verb) => verb.carry_out(context),
            Verb::Status => worker::status(context),
            Verb::Completions(_) => Ok(()),
        }
    }

    /// Nobody can say how long a download takes, or for how long a log is to be followed.
    fn may_take_long(&self) -> bool {
        match self {
            Verb::Models(verb) => verb.may_take_long(),
            Verb::Worker(verb) => verb.may_take_long(),
            Verb::Status | Verb::Completions(_) => false,
        }
    }
}
