//! Which goldens there must be: `goldens.json`, which `golden/regenerate` makes them by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::GoldenError;
use crate::parity::capture::MANIFEST;

/// One golden that must be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Required {
    pub model: String,
    pub engine: String,
    pub prompt: String,
}

impl Required {
    /// Its place below the folder of goldens.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.model, self.engine, self.prompt)
    }

    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(&self.model).join(&self.engine).join(&self.prompt)
    }
}

/// A model of the table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub origin: Origin,
    /// Those that it has goldens of; all of the table if absent.
    engines: Option<Vec<String>>,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Origin {
    /// Arguments of `llorch recipe`.
    Recipe { recipe: Vec<String> },
    /// Committed in both formats.
    Files { folder: PathBuf, gguf: PathBuf },
}

#[derive(Deserialize)]
struct Table {
    models: BTreeMap<String, Entry>,
    prompts: BTreeMap<String, serde_json::Value>,
    engines: Vec<String>,
    goldens: BTreeMap<String, Vec<String>>,
}

fn read(folder: &Path) -> Result<Table, GoldenError> {
    let path = folder.join("goldens.json");
    let text = fs::read_to_string(&path).map_err(|source| GoldenError::File { path: path.clone(), source })?;
    serde_json::from_str(&text).map_err(|source| GoldenError::Json { path, source })
}

/// Every golden that there must be, each of them there or a [`GoldenError::Missing`].
pub fn required(folder: &Path) -> Result<Vec<Required>, GoldenError> {
    let table = read(folder)?;
    let wrong = |why: String| GoldenError::Table { path: folder.join("goldens.json"), why };
    let mut all = Vec::new();
    for (model, prompts) in &table.goldens {
        let Some(entry) = table.models.get(model) else {
            return Err(wrong(format!("it asks for goldens of {model}, and says not what that is")));
        };
        let engines = entry.engines.as_ref().unwrap_or(&table.engines);
        for (prompt, engine) in prompts.iter().flat_map(|prompt| engines.iter().map(move |one| (prompt, one))) {
            if !table.prompts.contains_key(prompt) {
                return Err(wrong(format!("it asks for the prompt {prompt}, and says not what that is")));
            }
            all.push(Required { model: model.clone(), engine: engine.clone(), prompt: prompt.clone() });
        }
    }
    if all.is_empty() {
        return Err(wrong("it asks for no golden".to_owned()));
    }
    match all.iter().find(|one| !one.path(folder).join(MANIFEST).is_file()) {
        Some(missing) => Err(GoldenError::Missing { name: missing.name() }),
        None => Ok(all),
    }
}

/// Goldens that are there, and that the table does not ask for: nobody would make them again.
pub fn unlisted(folder: &Path) -> Result<Vec<PathBuf>, GoldenError> {
    let listed: BTreeSet<PathBuf> = required(folder)?.iter().map(|one| one.path(folder)).collect();
    let there = captures(folder)?.into_iter();
    Ok(there.filter(|path| !is_pending(path) && !listed.contains(path)).collect())
}

/// Whether a folder is what `golden/regenerate` leaves beside a golden.
pub(super) fn is_pending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == super::review::PENDING)
}

/// The folders with a manifest at `MODEL/ENGINE/PROMPT`.
pub(super) fn captures(folder: &Path) -> Result<Vec<PathBuf>, GoldenError> {
    let mut level = vec![folder.to_path_buf()];
    for _ in 0..3 {
        let mut below = Vec::new();
        for folder in level {
            let unreadable = |source| GoldenError::File { path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                if path.is_dir() {
                    below.push(path);
                }
            }
        }
        below.sort();
        level = below;
    }
    Ok(level.into_iter().filter(|path| path.join(MANIFEST).is_file()).collect())
}
