//! From what was asked for to a command line. Nothing secret is in it: tokens travel in the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Life, Worker};
use crate::pool::children::{Command, Output};
use crate::pool::local::program::Programs;

/// What runs the workers of a backend: a program and its first arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// Given to a worker that knows several.
    backend: Option<String>,
}

/// Finds the program of a backend: the configured one, or the worker for it, which this program may carry itself. The
/// refusal is a sentence.
pub fn program(backend: &str, configured: &BTreeMap<String, Vec<String>>, own: &Path) -> Result<Program, String> {
    if let Some((path, arguments)) = configured.get(backend).and_then(|words| words.split_first()) {
        return Ok(Program { path: path.into(), arguments: arguments.to_vec(), backend: None });
    }
    let name = match backend {
        "cpu" | "stub" => "llorch-cpud",
        "cuda" | "metal" | "candle" => "llorch-candled",
        _ => {
            let known = ["cpu", "stub", "cuda", "metal", "llamacpp"].into_iter();
            let known: Vec<&str> = known.chain(configured.keys().map(String::as_str)).collect();
            return Err(format!("there is no worker for the backend '{backend}'; allowed: {}", known.join(", ")));
        }
    };
    let carries_all = own.file_stem().is_some_and(|stem| stem == "llorch");
    let ours = ["llorch-cpud", "llorch-candled"].into_iter();
    let built = ours.filter(|name| *name != "llorch-candled" || cfg!(feature = "candle"));
    let carried = if carries_all { built.collect() } else { Vec::new() };
    let found = Programs { own: Some(own.to_owned()), carried }.find(name).map_err(|missing| missing.to_string())?;
    let arguments = found.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // "candle" is the candle worker wherever it computes by default.
    let backend = if backend == "candle" { "cpu" } else { backend };
    Ok(Program { path: found.path, arguments, backend: Some(backend.to_owned()) })
}

/// A program on the `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The command that starts a worker: any free port, and where to call back.
pub fn command(program: &Program, worker: &Worker, life: &Life, callback: &str) -> Command {
    let mut arguments = program.arguments.clone();
    let mut flag = |name: &str, value: &str| arguments.extend([format!("--{name}"), value.to_owned()]);
    flag("worker-id", &worker.id);
    if let Some(backend) = &program.backend {
        flag("backend", backend);
    }
    if let Some(model) = &life.model_path {
        flag("model", &model.display().to_string());
    }
    flag("port", "0");
    flag("callback-url", callback);
    if let Some(gpu) = worker.spec.gpu_id {
        flag("gpu", &gpu.to_string());
    }
    let mut environment = vec![("LLORCH_SPAWN_TOKEN".to_owned(), life.spawn_token.clone())];
    if let Some(token) = &life.access_token {
        environment.push(("LLORCH_API_TOKEN".to_owned(), token.clone()));
    }
    Command {
        program: program.path.clone(),
        arguments,
        environment,
        directory: None,
        output: Output::Log(worker.log.clone()),
    }
}

/// What a worker started so says its model is.
pub fn commanded_model(life: &Life) -> String {
    life.model_path.as_ref().map_or_else(|| "stub".to_owned(), |path| path.display().to_string())
}
