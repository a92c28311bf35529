//! The command lines. Each parses its flags into a checked structure once, calls the library, and ends with an exit code.

#[cfg(feature = "bdd")]
pub mod bench;
#[cfg(feature = "bdd")]
pub mod capture;
pub mod completions;
#[cfg(feature = "bdd")]
pub mod diff;
#[cfg(feature = "bdd")]
mod gallery;
#[cfg(feature = "bdd")]
pub mod haiku;
pub mod infer;
#[cfg(feature = "bdd")]
pub mod list;
pub mod orchestratord;
pub mod pool;
pub mod pool_managerd;
#[cfg(feature = "bdd")]
pub mod proof;
pub mod recipe;
#[cfg(feature = "bdd")]
pub mod selftest;
#[cfg(feature = "bdd")]
pub mod serve;
#[cfg(feature = "bdd")]
pub mod verify;
pub mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

#[cfg(feature = "candle")]
use crate::worker::daemon::CANDLED;
use crate::worker::daemon::CPUD;

/// Proof that an LLM inference worker is right and real.
#[derive(Debug, Parser)]
#[command(name = "llorch", version)]
struct Llorch {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the features against a worker, and say what holds.
    #[cfg(feature = "bdd")]
    Verify(verify::Flags),
    /// Print every case with its address, level and requirements.
    #[cfg(feature = "bdd")]
    List(list::Flags),
    /// Ask for one haiku with the minute's word in it, judge pipeline and word, and leave a proof bundle.
    #[cfg(feature = "bdd")]
    Haiku(haiku::Flags),
    /// Check a proof bundle.
    #[cfg(feature = "bdd")]
    Proof(proof::Flags),
    /// Compare two captures: the first place where they part, by how much, and what that looks like.
    #[cfg(feature = "bdd")]
    Diff(diff::Flags),
    /// Measure how fast workers are, side by side, beside llama.cpp where it is there.
    #[cfg(feature = "bdd")]
    Bench(bench::Flags),
    /// Put the harness on trial: workers with one mistake each, which it must catch, and with one oddity, which it must accept.
    #[cfg(feature = "bdd")]
    Selftest(selftest::Flags),
    /// Write what an engine computes for one prompt, tensor by tensor, for `llorch diff`.
    #[cfg(feature = "bdd")]
    Capture(capture::Flags),
    /// Run an orchestrator, a pool manager and a worker on this machine, on the embedded model or one of your own.
    #[cfg(feature = "bdd")]
    Serve(serve::Flags),
    /// Write a model whose weights come from an exact integer recipe.
    Recipe(recipe::RecipeArgs),
    /// The models and workers of a machine: what `llorch-pool` does, here or with --host.
    Pool(Box<pool::Flags>),
    /// Run one job on a worker, and print its text as it comes.
    Infer(infer::Flags),
    /// Print the completions of a shell.
    Completions(completions::Flags),
}

/// `llorch`: the verbs, and the daemons under their own names.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let daemon = DAEMONS.iter().find(|(name, _)| arguments.get(1).is_some_and(|word| word == name));
    if let Some((_, main)) = daemon {
        return main(arguments[1..].to_vec());
    }
    // The words after the verb, as they were: another machine is to be told the same.
    let raw = arguments.get(2..).unwrap_or_default().to_vec();
    match Llorch::parse_from(arguments).verb {
        #[cfg(feature = "bdd")]
        Verb::Verify(flags) => verify::main(flags),
        #[cfg(feature = "bdd")]
        Verb::List(flags) => list::main(flags),
        #[cfg(feature = "bdd")]
        Verb::Haiku(flags) => haiku::main(flags),
        #[cfg(feature = "bdd")]
        Verb::Proof(flags) => proof::main(flags),
        #[cfg(feature = "bdd")]
        Verb::Diff(flags) => diff::main(flags),
        #[cfg(feature = "bdd")]
        Verb::Bench(flags) => bench::main(flags),
        #[cfg(feature = "bdd")]
        Verb::Selftest(flags) => selftest::main(flags),
        #[cfg(feature = "bdd")]
        Verb::Capture(flags) => capture::main(flags),
        #[cfg(feature = "bdd")]
        Verb::Serve(flags) => serve::main(&flags),
        Verb::Recipe(flags) => recipe::run(&flags),
        Verb::Pool(flags) => pool::verb(*flags, &raw, daemons()),
        Verb::Infer(flags) => infer::main(flags),
        Verb::Completions(flags) => completions::main(flags, Llorch::command()),
    }
}

type Main = fn(Vec<OsString>) -> ExitCode;

/// The daemons that this binary carries, so that it can start them as itself; their first argument is their name.
const DAEMONS: &[(&str, Main)] = &[
    ("llorch-cpud", |arguments| worker::main(&CPUD, arguments.into_iter())),
    #[cfg(feature = "candle")]
    ("llorch-candled", |arguments| worker::main(&CANDLED, arguments.into_iter())),
    ("pool-managerd", |arguments| pool_managerd::main(arguments.into_iter())),
    ("orchestratord", |arguments| orchestratord::main(arguments.into_iter())),
    ("llorch-pool", |arguments| pool::carried(arguments, daemons())),
    #[cfg(feature = "bdd")]
    ("scripted-worker", |arguments| {
        let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        crate::harness::scripted::main(&words)
    }),
    #[cfg(feature = "bdd")]
    ("scripted-engine", |arguments| {
        let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        crate::harness::scripted_engine::main(&words)
    }),
    #[cfg(feature = "bdd")]
    ("cheat", |arguments| {
        let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        crate::harness::cheats::main(&words)
    }),
];

/// What this binary can start as itself.
fn daemons() -> Vec<&'static str> {
    DAEMONS.iter().map(|(name, _)| *name).collect()
}

/// Which cases, as flags.
#[cfg(feature = "bdd")]
#[derive(Debug, Default, clap::Args)]
pub struct SelectionFlags {
    /// Only cases whose tags the expression keeps: "@must and not @lane:gpu"
    #[arg(long, value_name = "EXPRESSION")]
    pub tags: Option<gherkin::tagexpr::TagOperation>,
    /// Only the case of this address, or all below it; may be repeated
    #[arg(long = "case", value_name = "ADDRESS")]
    pub cases: Vec<String>,
    /// Only the cases of this checkpoint
    #[arg(long, value_name = "0-12", value_parser = clap::value_parser!(u8).range(0..=12))]
    pub checkpoint: Option<u8>,
    /// Only the cases of this rung of the ladder
    #[arg(long, value_name = "1-8", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub rung: Option<u8>,
    /// Only the quick ones: under ten seconds in all
    #[arg(long)]
    pub quick: bool,
    /// Read the features of a folder, not those in this binary
    #[arg(long, value_name = "DIR")]
    pub features: Option<std::path::PathBuf>,
}

#[cfg(feature = "bdd")]
mod choose {
    use super::SelectionFlags;
    use crate::harness::api::Api;
    use crate::harness::catalogue::{Catalogue, CatalogueError, Script};
    use crate::harness::exit::Exit;
    use crate::harness::selection::Selection;

    impl SelectionFlags {
        /// Prints why there is nothing to choose from, or nothing chosen.
        pub(super) fn choose(self, api: Api) -> Result<(Selection, Script), Exit> {
            let selection = Selection {
                addresses: self.cases,
                checkpoint: self.checkpoint,
                rung: self.rung,
                quick: self.quick,
                api,
                ..Selection::from_environment()
            };
            let selection = match self.tags {
                Some(expression) => selection.with_tags(expression),
                None => selection,
            };
            let catalogue = match &self.features {
                Some(folder) => Catalogue::of_folder(folder),
                None => Catalogue::embedded(),
            };
            // What is wrong with the user's features is theirs to mend, and with the embedded ones ours.
            let catalogue = catalogue.map_err(|problem: CatalogueError| {
                super::complain(&problem);
                if self.features.is_some() { Exit::Usage } else { Exit::Internal }
            })?;
            let script = selection.choose(&catalogue).map_err(|problem| {
                super::complain(&problem);
                Exit::NothingSelected
            })?;
            Ok((selection, script))
        }
    }
}

/// An error with its causes, on one line of stderr.
#[cfg(feature = "bdd")]
fn complain(problem: &dyn std::error::Error) {
    let mut text = problem.to_string();
    let mut cause = problem.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    eprintln!("llorch: {text}");
}
