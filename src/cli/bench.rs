//! `llorch bench`: how fast workers are, beside llama.cpp where it is there, all in one run.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::recipe::SizeName;
use crate::harness::bench::contender::Contender;
use crate::harness::bench::llama::LlamaBench;
use crate::harness::bench::subject::Subject;
use crate::harness::bench::{self, Problem, Terms};
use crate::harness::exit::Exit;
use crate::harness::selection::ModelFormat;
use crate::harness::{Finding, Verdict, process, tiny_model};
use crate::model::recipe::{OutputFormat, Recipe};

/// Without a target it is the built-in worker (two, in a build with candle), on a model of GPT-2's size with weights from a
/// recipe.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Measure this worker, which is started on the model; {model}, {port}, {threads} are filled in. May be repeated
    #[arg(long, value_name = "COMMAND")]
    spawn: Vec<String>,
    /// Measure a worker that runs already; --model names the file that it runs. May be repeated
    #[arg(long, requires = "model")]
    url: Vec<String>,
    /// Measure llama.cpp's server on the same model
    #[arg(long, value_name = "BIN", env = "LLAMA_SERVER_BIN")]
    llama_server: Option<PathBuf>,
    /// Measure llama.cpp inside its own benchmark, without HTTP
    #[arg(long, value_name = "BIN", env = "LLAMA_BENCH_BIN")]
    llama_bench: Option<PathBuf>,
    /// Leave out the built-in workers
    #[arg(long)]
    no_built_in: bool,
    /// The shapes of the recipe model
    #[arg(long, value_enum, default_value = "gpt2", conflicts_with = "model")]
    size: SizeName,
    /// In which format workers are given the recipe model; llama.cpp always has GGUF
    #[arg(long, value_enum, default_value = "gguf", conflicts_with = "model")]
    model_format: ModelFormat,
    /// A model of your own; GGUF where llama.cpp takes part
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// What the answers are to: a model that knows when to end wants something to write about
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Threads of the built-in worker and of llama.cpp, and of the read that finds the memory's limit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: u16,
    /// Rounds, in which everybody takes turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Ask with this many clients at a time as well
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// One short round on the embedded tiny model: whether it works, not how fast it is
    #[arg(long, conflicts_with_all = ["size", "model", "url", "repeat", "clients"])]
    quick: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Human,
    Json,
}

pub fn main(flags: Flags) -> ExitCode {
    measure(flags).unwrap_or_else(|exit| exit).into()
}

fn measure(flags: Flags) -> Result<Exit, Exit> {
    let terms = match flags.quick {
        true => Terms::quick(flags.threads.into()),
        false => Terms::full(flags.repeat.into(), flags.threads.into(), flags.clients.into()),
    };
    let quiet = flags.format == Format::Json || !std::io::stderr().is_terminal();
    let mut tell = |what: &str| {
        if !quiet {
            eprintln!("llorch: {what}");
        }
    };
    let folder = tempfile::tempdir().map_err(|problem| {
        super::complain(&problem);
        Exit::Internal
    })?;
    stop_on_signals(folder.path().to_owned())?;
    let models = Models::prepare(&flags, folder.path(), &mut tell)?;
    let opening = flags.prompt.as_deref().or(flags.quick.then_some(tiny_model::REQUEST));
    let subject = Subject::open(&models.given, opening).map_err(|finding| refuse(finding.into()))?;
    let contenders = contenders(&flags, &models, subject.is_gpt2)?;
    let llama_bench = flags.llama_bench.clone().map(|binary| LlamaBench { binary, model: models.gguf.clone() });
    if contenders.is_empty() && llama_bench.is_none() {
        eprintln!("llorch: nobody is left to be measured");
        return Err(Exit::NothingSelected);
    }
    let results = bench::run(&subject, &contenders, llama_bench.as_ref(), &terms, &mut tell);
    let results = results.map_err(refuse)?;
    let text = match flags.format {
        Format::Human => results.table(),
        Format::Json => format!("{:#}\n", results.json()),
    };
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(problem) if problem.kind() != std::io::ErrorKind::BrokenPipe => {
            super::complain(&problem);
            Err(Exit::Internal)
        }
        _ => Ok(Exit::Passed),
    }
}

fn contenders(flags: &Flags, models: &Models, is_gpt2: bool) -> Result<Vec<Contender>, Exit> {
    let threads = flags.threads.into();
    let mut contenders = Vec::new();
    if !flags.no_built_in {
        let llorch = std::env::current_exe().map_err(|problem| {
            super::complain(&problem);
            Exit::Internal
        })?;
        // The one on the processor alone is of GPT-2 alone.
        contenders.extend(is_gpt2.then(|| Contender::built_in(&llorch, &models.given, threads)));
        #[cfg(feature = "candle")]
        contenders.push(Contender::candle(&llorch, &models.given, threads));
    }
    let spawned = flags.spawn.iter().map(|command| Contender::spawned(command, &models.given, threads));
    for contender in spawned.chain(flags.url.iter().map(|url| Contender::reached(url))) {
        contenders.push(contender.map_err(|problem| {
            super::complain(&problem);
            Exit::Usage
        })?);
    }
    if let Some(binary) = &flags.llama_server {
        contenders.push(Contender::llama_server(binary.clone(), &models.gguf, threads, flags.clients.into()));
    }
    Ok(contenders)
}

/// The same weights for everybody.
struct Models {
    /// For workers.
    given: PathBuf,
    /// For llama.cpp.
    gguf: PathBuf,
}

impl Models {
    /// The user's own, or written into this folder.
    fn prepare(flags: &Flags, folder: &Path, tell: &mut dyn FnMut(&str)) -> Result<Models, Exit> {
        if let Some(model) = &flags.model {
            return Ok(Models { given: model.clone(), gguf: model.clone() });
        }
        let problem = |problem: &dyn std::fmt::Display| {
            eprintln!("llorch: failed to write a model to measure with: {problem}");
            Exit::Internal
        };
        if flags.quick {
            let gguf = tiny_model::write(folder, ModelFormat::Gguf).map_err(|error| problem(&error))?;
            return Ok(Models { given: gguf.clone(), gguf });
        }
        let size = flags.size.size();
        tell(&format!("writing a recipe model of the size {}", size.name()));
        let recipe = Recipe::new(size.configuration(), 1).map_err(|error| problem(&error))?;
        let write = |name: String, format| -> Result<PathBuf, Exit> {
            let path = folder.join(name);
            recipe.write(&path, format).map_err(|error| problem(&error))?;
            Ok(path)
        };
        let has_llama = flags.llama_server.is_some() || flags.llama_bench.is_some();
        let name = format!("recipe-{}", size.name());
        let gguf: &dyn Fn() -> Result<PathBuf, Exit> = &|| write(format!("{name}.gguf"), OutputFormat::Gguf);
        let (given, gguf) = match flags.model_format {
            ModelFormat::Gguf => gguf().map(|path| (path.clone(), path))?,
            ModelFormat::Safetensors => {
                let folder = write(name.clone(), OutputFormat::Safetensors)?;
                (folder.clone(), if has_llama { gguf()? } else { folder })
            }
        };
        Ok(Models { given, gguf })
    }
}

/// Nothing that was started stays behind when the run is interrupted.
fn stop_on_signals(folder: PathBuf) -> Result<(), Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|problem| {
        super::complain(&problem);
        Exit::Internal
    })?;
    let wait = move || {
        runtime.block_on(super::verify::interrupt());
        process::kill_all();
        // Half a gigabyte; if it can't be removed, nothing better can be done now.
        let _ = std::fs::remove_dir_all(&folder);
        std::process::exit(Exit::Interrupted.code().into());
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(|problem| {
        super::complain(&problem);
        Exit::Internal
    })
}

/// Says what was found instead, with its proof.
fn refuse(problem: Problem) -> Exit {
    eprintln!("llorch: {problem}");
    let (exit, finding) = match problem {
        Problem::NotStarted(error) => (Exit::TargetNotStarted, Finding::from(error)),
        Problem::Found(finding) if finding.verdict == Verdict::Error => (Exit::Internal, finding),
        Problem::Found(finding) => (Exit::Failed, finding),
    };
    for evidence in finding.evidence {
        eprintln!("  {}:\n    {}", evidence.title, evidence.text.replace('\n', "\n    "));
    }
    exit
}
