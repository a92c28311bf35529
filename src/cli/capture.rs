//! `llorch capture`: what an engine computes for one prompt, as a capture: of our CPU engine, of any worker, of transformers
//! or of llama.cpp.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::complain;
use crate::backend::Prompt;
use crate::harness::checkpoints::engines;
use crate::harness::exit::Exit;
use crate::harness::selection::ModelFormat;
use crate::harness::target::{Start, StartError, Target};
use crate::harness::tiny_model;
use crate::parity::capture::{Capture, MANIFEST};
use crate::parity::{Scope, capture};

#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Where the capture goes; must not exist yet
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// One .safetensors file, with the manifest in it, instead of a folder
    #[arg(long)]
    single_file: bool,
    /// The model [default: the tiny one in this binary]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[arg(long, value_name = "TEXT", default_value = "Hello.")]
    prompt: String,
    /// The prompt as token ids
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with = "prompt")]
    tokens: Vec<u32>,
    /// Decode steps whose cache is captured
    #[arg(long, value_name = "N", default_value_t = Scope::default().steps, value_parser = up_to_2048)]
    steps: usize,
    /// How many tokens are generated, greedily
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=2048))]
    max_tokens: u32,
    /// Which layers are shown whole
    #[arg(long, value_enum, default_value_t)]
    checkpoint_layers: Layers,
    /// Who computes
    #[arg(long, value_enum, default_value_t, conflicts_with = "spawn")]
    engine: Engine,
    /// Capture this worker, which is started with --checkpoint-dir; {model}, {port}, … are filled in
    #[arg(long, value_name = "COMMAND")]
    spawn: Option<String>,
    /// In which format a worker is given the tiny model
    #[arg(long, value_enum, default_value = "safetensors")]
    model_format: ModelFormat,
    /// How long a worker may take over the job, and then over its capture
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    timeout_sec: u32,
    /// Threads of our CPU engine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: u16,
    /// The Python that has transformers [default: `uv run`, which brings it]
    #[arg(long, value_name = "BIN")]
    python: Option<PathBuf>,
    /// The script that captures transformers [default: the one in this binary]
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// llama.cpp with the exact GELU in the place of its own, or as shipped
    #[cfg(feature = "llama-cpp")]
    #[arg(long, value_enum, default_value = "exact")]
    lane: Lane,
    /// Tokens for llama.cpp to follow in the place of the likeliest: those that another engine drew
    #[cfg(feature = "llama-cpp")]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    follow: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Layers {
    /// Of the others, the output
    #[default]
    First,
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    /// Our own for GPT-2, in this process
    #[default]
    Cpu,
    /// Our own on candle, in this process: GPT-2, Llama and Qwen2, quantised files as they are
    Candle,
    Transformers,
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

fn up_to_2048(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number <= 2048).ok_or_else(|| "a whole number from 0 to 2048".to_owned())
}

pub fn main(flags: Flags) -> ExitCode {
    carry_out(&flags).map_or_else(|exit| exit, |()| Exit::Passed).into()
}

fn refuse(exit: Exit, message: impl std::fmt::Display) -> Exit {
    eprintln!("llorch: {message}");
    exit
}

fn carry_out(flags: &Flags) -> Result<(), Exit> {
    check_output(flags)?;
    let scratch = tempfile::tempdir().map_err(|error| refuse(Exit::Internal, format!("no scratch folder: {error}")))?;
    let model = match &flags.model {
        Some(model) if model.exists() => model.clone(),
        Some(model) => return Err(refuse(Exit::Usage, format!("--model: {} is not there", model.display()))),
        None => tiny_model::write(scratch.path(), flags.model_format)
            .map_err(|error| refuse(Exit::Internal, format!("the tiny model cannot be written: {error}")))?,
    };
    let captured = match (&flags.spawn, flags.engine) {
        (Some(command), _) => of_worker(flags, command, &model, &scratch)?,
        (None, Engine::Cpu | Engine::Candle) => of_ours(flags, &model)?,
        (None, Engine::Transformers) => of_transformers(flags, &model, &scratch)?,
        (None, Engine::LlamaCpp) => of_llama_cpp(flags, &model)?,
    };
    let written = if flags.single_file { captured.write_file(&flags.output) } else { captured.write(&flags.output) };
    written.map_err(|error| refuse(Exit::Usage, error))?;
    let capture::Manifest { engine, engine_version, model, token_ids, generated_text, .. } = &captured.manifest;
    println!("{}: {} tensors, {} bytes", flags.output.display(), captured.tensors.len(), captured.bytes());
    println!("{engine} {engine_version} on {model}, {} prompt tokens, generated {generated_text:?}", token_ids.len());
    Ok(())
}

/// Said before anything is computed.
fn check_output(flags: &Flags) -> Result<(), Exit> {
    let output = &flags.output;
    let is_empty = output.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if output.symlink_metadata().is_ok() && (flags.single_file || !is_empty) {
        let message = format!("--output: {} is there already, and nothing is written over", output.display());
        return Err(refuse(Exit::Usage, message));
    }
    if flags.single_file && output.extension().is_none_or(|word| word != "safetensors") {
        return Err(refuse(Exit::Usage, "--single-file: the file's name must end in .safetensors"));
    }
    Ok(())
}

impl Flags {
    fn scope(&self) -> Scope {
        Scope { every_layer: self.checkpoint_layers == Layers::All, steps: self.steps }
    }

    fn job_prompt(&self) -> Prompt {
        if self.tokens.is_empty() { Prompt::Text(self.prompt.clone()) } else { Prompt::Ids(self.tokens.clone()) }
    }
}

fn of_ours(flags: &Flags, model: &Path) -> Result<Capture, Exit> {
    let (prompt, scope, max_tokens) = (flags.job_prompt(), flags.scope(), flags.max_tokens);
    let captured = match flags.engine {
        Engine::Candle => engines::candle(model, prompt, scope, max_tokens),
        _ => engines::cpu(model, flags.threads.into(), prompt, scope, max_tokens),
    };
    captured.map_err(|error| {
        complain(&*error);
        Exit::Usage
    })
}

const JOB: &str = "capture";

/// Starts the worker, gives it one job, and waits for what it writes.
fn of_worker(flags: &Flags, command: &str, model: &Path, scratch: &TempDir) -> Result<Capture, Exit> {
    let usage = |error: &dyn std::error::Error| {
        complain(error);
        Exit::Usage
    };
    let patience = Duration::from_secs(flags.timeout_sec.into());
    let directory = scratch.path().join("captures");
    let Scope { every_layer, steps } = flags.scope();
    let start = Start { checkpoint_dir: Some(directory.clone()), ..Start::model(model) }
        // ours reads these; to another they are nothing
        .variable("LLORCH_CHECKPOINT_LAYERS", if every_layer { "all" } else { "first" })
        .variable("LLORCH_CHECKPOINT_STEPS", &steps.to_string());
    let target = Target::spawn(command).map_err(|error| usage(&error))?;
    let worker = target.start(&start).map_err(|error| {
        complain(&error);
        if let StartError::Exited { log, .. } | StartError::NotReady { log, .. } = &error {
            eprintln!("{log}");
        }
        Exit::TargetNotStarted
    })?;
    let mut body = json!({"job_id": JOB, "max_tokens": flags.max_tokens, "temperature": 0.0, "seed": 0});
    match flags.job_prompt() {
        Prompt::Text(text) => body["prompt"] = text.into(),
        Prompt::Ids(ids) => body["prompt_ids"] = ids.into(),
    }
    let transcript = worker
        .run(&body, patience)
        .map_err(|finding| refuse(Exit::Failed, format!("the worker did not run the job: {}", finding.found)))?;
    if let Err(finding) = transcript.completed() {
        eprintln!("llorch: the job did not end well: {}", finding.found);
    }
    let captured = wait_for_capture(&directory, patience);
    // Whatever came of it, the worker is stopped: by its own means, else by being dropped.
    let _ = worker.terminate(Duration::from_secs(5));
    captured
}

/// A worker may write after its stream has ended, and may not do it as one.
fn wait_for_capture(directory: &Path, patience: Duration) -> Result<Capture, Exit> {
    const LOOK: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + patience;
    let mut last = None;
    loop {
        // one folder for each job, or the first job's straight into the directory
        for place in [directory.join(JOB), directory.to_path_buf()] {
            if place.join(MANIFEST).exists() {
                match Capture::read(&place) {
                    Ok(capture) => return Ok(capture),
                    Err(error) => last = Some(error),
                }
            }
        }
        if Instant::now() >= deadline {
            let seconds = patience.as_secs();
            return Err(match last {
                Some(error) => refuse(Exit::Failed, format!("the worker's capture cannot be used: {error}")),
                None => refuse(
                    Exit::Failed,
                    format!(
                        "the worker wrote no capture within {seconds} s: it must write {MANIFEST} and tensors.safetensors \
                         into the folder that --checkpoint-dir names, or into one below it named after the job"
                    ),
                ),
            });
        }
        std::thread::sleep(LOOK);
    }
}

/// Runs the script that hooks into transformers, in an environment that has it.
fn of_transformers(flags: &Flags, model: &Path, scratch: &TempDir) -> Result<Capture, Exit> {
    let script = match &flags.script {
        Some(script) if script.is_file() => script.clone(),
        Some(script) => return Err(refuse(Exit::Usage, format!("--script: {} is not there", script.display()))),
        None => write_script(scratch.path()).map_err(|error| refuse(Exit::Internal, error))?,
    };
    let folder = if model.is_dir() { model } else { model.parent().unwrap_or(model) };
    let output = scratch.path().join("transformers");
    let mut command = match &flags.python {
        Some(python) => Command::new(python),
        None => {
            let mut uv = Command::new("uv");
            uv.arg("run");
            uv
        }
    };
    command
        .arg(&script)
        .arg("--model")
        .arg(folder)
        .args(["--steps", &flags.steps.to_string(), "--max-tokens", &flags.max_tokens.to_string()])
        .args(["--checkpoint-layers", if flags.scope().every_layer { "all" } else { "first" }])
        .arg("--output")
        .arg(&output);
    if flags.tokens.is_empty() {
        command.arg("--prompt").arg(&flags.prompt);
    } else {
        let ids: Vec<String> = flags.tokens.iter().map(u32::to_string).collect();
        command.arg("--tokens").arg(ids.join(","));
    }
    match command.status() {
        Ok(status) if status.success() => Capture::read(&output).map_err(|error| refuse(Exit::Failed, error)),
        Ok(status) => Err(refuse(Exit::Failed, format!("{} ended with {status}", script.display()))),
        Err(error) => {
            let program = command.get_program().to_string_lossy().into_owned();
            let message = format!(
                "{program} cannot be run: {error}; --engine transformers needs uv (https://docs.astral.sh/uv), which \
                 brings all of it, or --python BIN with torch, transformers and safetensors installed"
            );
            Err(refuse(Exit::Usage, message))
        }
    }
}

/// The script and the module that it imports, beside each other.
fn write_script(folder: &Path) -> std::io::Result<PathBuf> {
    let script = folder.join("transformers_capture.py");
    std::fs::write(folder.join("capture_format.py"), include_str!("../../golden/capture_format.py"))?;
    std::fs::write(&script, include_str!("../../golden/transformers_capture.py"))?;
    Ok(script)
}

#[cfg(feature = "llama-cpp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lane {
    Exact,
    Shipped,
}

/// Through the evaluation callback of the llama.cpp that is built in.
#[cfg(feature = "llama-cpp")]
fn of_llama_cpp(flags: &Flags, model: &Path) -> Result<Capture, Exit> {
    use crate::model::{file, tokenizer};
    use crate::parity::llama_cpp::{self, Options};
    use crate::parity::log;

    let usage = |error: &dyn std::error::Error| {
        complain(error);
        Exit::Usage
    };
    if model.extension().is_none_or(|end| end != "gguf") {
        let message =
            format!("{}: llama.cpp reads GGUF files; the tiny model is one with --model-format gguf", model.display());
        return Err(refuse(Exit::Usage, message));
    }
    let tokens = if flags.tokens.is_empty() {
        let opened = file::open(model, &mut |_| {}).map_err(|error| usage(&error))?;
        let source = &opened.tokenizer_source;
        tokenizer::open(source, opened.configuration.eos_token_id())
            .map_err(|error| usage(&error))?
            .encode(&flags.prompt)
    } else {
        flags.tokens.clone()
    };
    let lane = match flags.lane {
        Lane::Exact => llama_cpp::Lane::Exact,
        Lane::Shipped => llama_cpp::Lane::Shipped,
    };
    let variables = super::worker::variables().map_err(|error| usage(&error))?;
    let log = log::Settings::from_variables(&variables);
    let Scope { every_layer, steps } = flags.scope();
    let options = Options {
        follow: flags.follow.clone(),
        log: log.map_err(|message| refuse(Exit::Usage, message))?,
        lane,
        steps,
        max_tokens: flags.max_tokens as usize,
        every_layer,
        threads: flags.threads.into(),
        ..Options::default()
    };
    llama_cpp::capture(model, &tokens, &options).map_err(|error| usage(&error))
}

#[cfg(not(feature = "llama-cpp"))]
fn of_llama_cpp(_flags: &Flags, _model: &Path) -> Result<Capture, Exit> {
    let message =
        "--engine llama.cpp needs a llorch that carries llama.cpp: cargo run --features llama-cpp -- capture …";
    Err(refuse(Exit::Usage, message))
}
