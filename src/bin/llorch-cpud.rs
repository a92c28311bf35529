//! The CPU worker under its own name.

fn main() -> std::process::ExitCode {
    llorch::cli::cpud::main(std::env::args_os())
}
