//! The tool, and every daemon under its own name: see `llorch::cli`.

fn main() -> std::process::ExitCode {
    llorch::cli::main(std::env::args_os())
}
