//! Captures llama.cpp through its evaluation callback, for `golden/regenerate`:
//! `cargo run --features llama-cpp --example llama_cpp_capture -- --model FILE --tokens 40,936 --output FOLDER`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use llorch::parity::llama_cpp::{self, Lane, Options};

#[derive(Parser)]
struct Flags {
    /// A GGUF file
    #[arg(long)]
    model: PathBuf,
    /// The model's name in the manifest
    #[arg(long)]
    name: Option<String>,
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    #[arg(long, default_value_t = 2)]
    steps: usize,
    #[arg(long, default_value_t = 10)]
    max_tokens: usize,
    #[arg(long, value_enum, default_value = "exact")]
    lane: LaneName,
    #[arg(long, value_enum, default_value = "first")]
    checkpoint_layers: Layers,
    /// Of llama.cpp; they wait for each other by spinning
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long)]
    output: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum LaneName {
    /// GELU as the reference has it, where there is one
    Exact,
    /// GELU through ggml's table
    Shipped,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Layers {
    First,
    All,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let options = Options {
        lane: match flags.lane {
            LaneName::Exact => Lane::Exact,
            LaneName::Shipped => Lane::Shipped,
        },
        steps: flags.steps,
        max_tokens: flags.max_tokens,
        every_layer: flags.checkpoint_layers == Layers::All,
        threads: flags.threads,
        name: flags.name,
        ..Options::default()
    };
    let complain = |problem: &dyn std::fmt::Display| {
        eprintln!("llama_cpp_capture: {problem}");
        ExitCode::FAILURE
    };
    let capture = match llama_cpp::capture(&flags.model, &flags.tokens, &options) {
        Ok(capture) => capture,
        Err(problem) => return complain(&problem),
    };
    match capture.write(&flags.output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => complain(&problem),
    }
}
