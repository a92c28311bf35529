//! The pool manager under its own name.

fn main() -> std::process::ExitCode {
    llorch::cli::pool_managerd::main(std::env::args_os())
}
