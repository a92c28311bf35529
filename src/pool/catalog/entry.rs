//! One model of the catalog, and what its parts may be.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::FOLDER;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    pub name: String,
    /// Relative to the pool's folder, or absolute.
    pub path: PathBuf,
    pub format: Format,
    /// Bytes of the model's files / 1e9; 0 until they are here.
    pub size_gb: f64,
    pub architecture: String,
    pub downloaded: bool,
    /// What it may run on. Names that are new to us are kept: another version wrote them.
    pub backends: Vec<String>,
    /// `repo`, and whatever else is known about it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// What others wrote here and we don't know is kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Safetensors,
    Gguf,
}

impl Format {
    pub fn word(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Gguf => "gguf",
        }
    }
}

impl Model {
    /// An entry whose files are still to be downloaded.
    pub fn new(id: &str, name: &str, repo: &str, architecture: &str, format: Format, backends: Vec<String>) -> Model {
        let mut metadata = Map::new();
        metadata.insert("repo".to_owned(), repo.into());
        Model {
            id: id.to_owned(),
            name: name.to_owned(),
            path: Path::new(FOLDER).join(id),
            format,
            size_gb: 0.0,
            architecture: architecture.to_owned(),
            downloaded: false,
            backends,
            metadata,
            other: Map::new(),
        }
    }

    /// Where its files come from, if that is said.
    pub fn repo(&self) -> Option<&str> {
        self.metadata.get("repo").and_then(Value::as_str).filter(|repo| !repo.is_empty())
    }
}

pub const ID_RULE: &str =
    "1 to 128 characters that can be seen, and blanks; no / and no \\; the first is neither . nor - nor a blank";

/// An id becomes the name of a folder. What a shell would make of it does not matter: no shell ever sees it unquoted.
pub fn is_model_id(text: &str) -> bool {
    let starts_well = text.starts_with(|first: char| !first.is_whitespace() && !"-.".contains(first));
    let characters = text.chars().count() <= 128 && text.len() <= 250;
    let is_clean = text.chars().all(|c| !c.is_control() && !"/\\".contains(c));
    // The catalog's own files lie beside the models' folders.
    starts_well && characters && is_clean && !text.starts_with("catalog.")
}

pub const REPO_RULE: &str = "NAME or OWNER/NAME, of A-Z a-z 0-9 . _ -, each beginning with a letter, a digit or _";

/// The name of a repository on the hub. One that began with a dash would be read as a flag by `hf`.
pub fn is_repo(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && part.len() <= 96
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match text.split_once('/') {
        Some((owner, name)) => part(owner) && part(name),
        None => part(text),
    }
}

pub const ARCHITECTURE_RULE: &str = "1 to 64 of a-z 0-9 . _ -, such as gpt2, llama or qwen2";

pub fn is_architecture(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}
