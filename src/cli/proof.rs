//! `llorch proof verify DIR`: a bundle read back, and every verdict derived again.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::harness::exit::Exit;
use crate::harness::proof::verify;

#[derive(Debug, clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check every file of a bundle, and derive its verdicts again from the evidence: offline, on any machine
    Verify {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

pub fn main(flags: Flags) -> ExitCode {
    let Verb::Verify { folder } = flags.verb;
    if !folder.is_dir() {
        eprintln!("llorch: {} is no folder", folder.display());
        return Exit::Usage.into();
    }
    match verify::verify(&folder) {
        Ok(judgement) => {
            let word = |outcome| json!(outcome).as_str().unwrap_or_default().to_owned();
            println!(
                "verified: {} checks derived again · pipeline {} · word rule {}",
                judgement.checks.len(),
                word(judgement.pipeline),
                word(judgement.word_rule)
            );
            Exit::Passed.into()
        }
        Err(flaws) => {
            for flaw in &flaws {
                eprintln!("llorch: {flaw}");
            }
            eprintln!(
                "llorch: {} does not prove what it says ({} {})",
                folder.display(),
                flaws.len(),
                if flaws.len() == 1 { "flaw" } else { "flaws" }
            );
            Exit::BundleFailed.into()
        }
    }
}
