//! The CPU worker under its own name.

use llorch::worker::daemon::CPUD;

fn main() -> std::process::ExitCode {
    llorch::cli::worker::main(&CPUD, std::env::args_os())
}
