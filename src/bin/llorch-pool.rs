//! The pool's tool under its own name.

fn main() -> std::process::ExitCode {
    llorch::cli::pool::main(std::env::args_os().collect())
}
