//! Where the workers' programs are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How a worker is started, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    pub path: PathBuf,
    /// Before the worker's own flags: its name, where one binary carries them all.
    pub words: Vec<OsString>,
}

/// Where to look: what this binary carries itself, what lies beside it, and the `PATH`.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    pub own: Option<PathBuf>,
    /// The daemons that the own binary runs under their names.
    pub carried: Vec<&'static str>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{name}, the worker for this, is not here: looked at {}. Build it (`cargo build --release`{}) and put it beside \
     llorch-pool or on the PATH, or name it with {variable}", looked.join(", "), feature(name)
)]
pub struct MissingProgram {
    pub name: &'static str,
    pub variable: String,
    pub looked: Vec<String>,
}

fn feature(name: &str) -> &'static str {
    if name == "llorch-candled" { " with --features candle, cuda or metal" } else { "" }
}

impl Programs {
    /// The program of this name: the one that a variable names, this binary itself, the one beside it, or on the `PATH`.
    pub fn find(&self, name: &'static str) -> Result<Program, MissingProgram> {
        let variable = format!("{}_BIN", name.to_uppercase().replace('-', "_"));
        let at = |path: PathBuf| Program { name, path, words: Vec::new() };
        let mut looked = Vec::new();
        if let Some(named) = std::env::var_os(&variable).filter(|value| !value.is_empty()).map(PathBuf::from) {
            if is_program(&named) {
                return Ok(at(named));
            }
            return Err(MissingProgram { name, looked: vec![format!("{variable}={}", named.display())], variable });
        }
        if let Some(own) = &self.own {
            if self.carried.contains(&name) {
                return Ok(Program { name, path: own.clone(), words: vec![name.into()] });
            }
            let beside = own.with_file_name(name);
            if is_program(&beside) {
                return Ok(at(beside));
            }
            looked.push(beside.display().to_string());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file));
        looked.push("the PATH".to_owned());
        found.map(at).ok_or(MissingProgram { name, variable, looked })
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
