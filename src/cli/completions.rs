//! `llorch completions SHELL`, and the same of the other tools.

use std::io::Write as _;
use std::process::ExitCode;

use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub struct Flags {
    shell: Shell,
}

pub fn main(flags: Flags, mut command: clap::Command) -> ExitCode {
    // Through a buffer: the generator panics where its writer fails, and a reader that has seen enough is no failure.
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(flags.shell, &mut command, name, &mut script);
    match std::io::stdout().write_all(&script) {
        Err(problem) if problem.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("llorch: failed to write the completions: {problem}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
