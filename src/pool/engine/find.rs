//! A `llama-server` that is there: the one that `LLAMA_SERVER_BIN` names, or one on the `PATH`.

use std::path::PathBuf;

use crate::pool::workers::spawn::{is_executable, on_path};

pub const VARIABLE: &str = "LLAMA_SERVER_BIN";

/// A variable that names no program is a mistake, and nothing else is taken in its place. The refusal is a sentence.
pub fn find() -> Result<Option<PathBuf>, String> {
    match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(value) => {
            let path = PathBuf::from(value);
            if is_executable(&path) {
                Ok(Some(path))
            } else {
                Err(format!("{VARIABLE}: '{}' is no program that can be run", path.display()))
            }
        }
        None => Ok(on_path("llama-server")),
    }
}
