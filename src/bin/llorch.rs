use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        #[cfg(feature = "bdd")]
        Some((word, rest)) if word == "scripted-worker" => llorch::harness::scripted::main(rest),
        _ => ExitCode::from(2),
    }
}
