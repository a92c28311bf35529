//! `model_ref`: `hf:{org}/{repo}[@rev][::file=path]`, `file:/abs/path`, or an id of the catalog.

use std::fmt;
use std::path::{Component, Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelReference {
    File(PathBuf),
    Hub(HubReference),
    Alias(String),
}

/// A repository of the hub, or one file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReference {
    /// `org/repo`
    pub repository: String,
    pub revision: String,
    pub file: Option<String>,
}

impl fmt::Display for HubReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "hf:{}@{}", self.repository, self.revision)?;
        match &self.file {
            Some(file) => write!(out, "::file={file}"),
            None => Ok(()),
        }
    }
}

pub const ALLOWED: &str = "expected file:/absolute/path, hf:org/repo[@rev][::file=path], or an id of the catalog";

/// The same as the OpenAPI document has it: no control characters, and nothing that leads out of a repository.
pub const PATTERN: &str = "^((file:)?/[^\\x00-\\x1f\\x7f-\\x9f]*\
    |hf:[A-Za-z0-9_-](\\.?[A-Za-z0-9_-])*\\.?/[A-Za-z0-9_-](\\.?[A-Za-z0-9_-])*\\.?\
    (@[A-Za-z0-9_-](\\.?[A-Za-z0-9_-])*\\.?(/[A-Za-z0-9_-](\\.?[A-Za-z0-9_-])*\\.?)*)?\
    (::file=[^\\x00-\\x1f\\x7f-\\x9f./\\\\][^\\x00-\\x1f\\x7f-\\x9f/\\\\]*\
    (/[^\\x00-\\x1f\\x7f-\\x9f./\\\\][^\\x00-\\x1f\\x7f-\\x9f/\\\\]*)*)?\
    |[^\\x00-\\x1f\\x7f-\\x9f/\\\\:]{1,250})$";
/// A longer one is none.
pub const MOST_CHARACTERS: usize = 512;

impl ModelReference {
    /// The refusal is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > MOST_CHARACTERS {
            return Err(format!("{ALLOWED}, of at most {MOST_CHARACTERS} characters"));
        }
        if let Some(path) = text.strip_prefix("file:") {
            return absolute(path);
        }
        if text.starts_with('/') {
            return absolute(text);
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return hub(rest).map(ModelReference::Hub).ok_or_else(|| ALLOWED.to_owned());
        }
        let sound = |c: char| !c.is_control() && !"/\\".contains(c);
        if (1..=250).contains(&text.chars().count()) && !text.contains(':') && text.chars().all(sound) {
            return Ok(ModelReference::Alias(text.to_owned()));
        }
        Err(ALLOWED.to_owned())
    }
}

fn absolute(path: &str) -> Result<ModelReference, String> {
    let path = Path::new(path);
    // As it is shown and compared later, it has to survive as text, in one line.
    let shown = path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
    if path.is_absolute() && shown { Ok(ModelReference::File(path.to_owned())) } else { Err(ALLOWED.to_owned()) }
}

fn hub(rest: &str) -> Option<HubReference> {
    let (place, file) = match rest.split_once("::file=") {
        Some((place, file)) => (place, Some(file)),
        None => (rest, None),
    };
    let (repository, revision) = place.split_once('@').unwrap_or((place, "main"));
    let (org, name) = repository.split_once('/')?;
    let sound = is_word(org)
        && is_word(name)
        && revision.split('/').all(is_word)
        && file.is_none_or(|file| file.split('/').all(is_part));
    sound.then(|| HubReference {
        repository: repository.to_owned(),
        revision: revision.to_owned(),
        file: file.map(str::to_owned),
    })
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !text.starts_with('.')
        && !text.contains("..")
}

/// One part of a file's path.
fn is_part(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && !text.contains('\\') && !text.chars().any(char::is_control)
}

/// A path that stays inside the folder that it is joined to.
pub fn is_inner_path(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 1024
        && !text.chars().any(char::is_control)
        && !text.contains('\\')
        && Path::new(text).components().all(|part| matches!(part, Component::Normal(_)))
}
