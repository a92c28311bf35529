//! The orchestrator under its own name.

fn main() -> std::process::ExitCode {
    llorch::cli::orchestratord::main(std::env::args_os())
}
