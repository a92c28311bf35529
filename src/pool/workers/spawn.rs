//! From what was asked for to a command line. Nothing secret is in it: tokens travel in the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Life, Worker};
use crate::pool::children::{Command, Output};

/// What runs the workers of a backend: a program and its first arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// Given to a worker that knows several.
    backend: Option<String>,
}

/// Finds the program of a backend: the configured one; this program itself, which carries the CPU worker; or one beside it
/// or on the path that is called `llorch-<backend>d`. The refusal is a sentence.
pub fn program(backend: &str, configured: &BTreeMap<String, Vec<String>>, own: &Path) -> Result<Program, String> {
    if let Some((path, arguments)) = configured.get(backend).and_then(|words| words.split_first()) {
        return Ok(Program { path: path.into(), arguments: arguments.to_vec(), backend: None });
    }
    if backend == "cpu" || backend == "stub" {
        let backend = Some(backend.to_owned());
        if own.file_stem().is_some_and(|name| name == "llorch") {
            return Ok(Program { path: own.into(), arguments: vec!["llorch-cpud".to_owned()], backend });
        }
        let path = find("llorch-cpud", own)
            .ok_or_else(|| "llorch-cpud is neither beside this program nor on the PATH".to_owned())?;
        return Ok(Program { path, arguments: Vec::new(), backend });
    }
    let is_word =
        !backend.is_empty() && backend.len() <= 32 && backend.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let name = format!("llorch-{backend}d");
    let path = if is_word { find(&name, own) } else { None };
    let known: Vec<&str> =
        ["cpu", "stub", "llamacpp"].into_iter().chain(configured.keys().map(String::as_str)).collect();
    let refusal = || format!("there is no worker for the backend '{backend}'; allowed: {}", known.join(", "));
    path.map(|path| Program { path, arguments: Vec::new(), backend: None }).ok_or_else(refusal)
}

/// A program beside this one, or on the path.
fn find(name: &str, own: &Path) -> Option<PathBuf> {
    let beside = own.parent().map(|folder| folder.join(name)).filter(|path| path.is_file());
    beside.or_else(|| on_path(name))
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
