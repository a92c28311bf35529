//! The candle worker under its own name.

use llorch::worker::daemon::CANDLED;

fn main() -> std::process::ExitCode {
    llorch::cli::worker::main(&CANDLED, std::env::args_os())
}
