//! What is captured: a model and a prompt, under one name. `tiny/hello` is the prompt `hello` on the model `tiny`, as
//! `golden/goldens.json` has them; a model that is not there is one of ours that shows what ordinary ones don't.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use serde_json::Value;

use super::models;
use crate::harness::Finding;
use crate::harness::model_files::{self, Element, Form};
use crate::harness::selection::ModelFormat;
use crate::harness::tiny_model;
use crate::model::recipe::{LlamaSize, Recipe, Size};
use crate::parity::golden::Golden;

static GOLDEN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/golden");

static TABLE: LazyLock<Value> = LazyLock::new(|| {
    let text = GOLDEN.get_file("goldens.json").map(include_dir::File::contents).unwrap_or_default();
    serde_json::from_slice(text).unwrap_or_default()
});

/// The seed of every recipe among the goldens.
const SEED: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub model: String,
    pub prompt: String,
}

impl Subject {
    pub fn of(name: &str) -> Result<Subject, Finding> {
        let parts = name.split_once('/').filter(|(_, prompt)| TABLE["prompts"].get(prompt).is_some());
        let (model, prompt) =
            parts.ok_or_else(|| Finding::error("model/prompt, as golden/goldens.json has them", name))?;
        Ok(Subject { model: model.into(), prompt: prompt.into() })
    }

    pub fn name(&self) -> String {
        format!("{}/{}", self.model, self.prompt)
    }

    /// The prompt as a text, or as the ids that it must become.
    pub fn asked(&self) -> (Option<&'static str>, Option<Vec<u32>>) {
        let prompt = &TABLE["prompts"][&self.prompt];
        let ids = prompt["tokens"]
            .as_array()
            .map(|ids| ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect());
        (prompt["prompt"].as_str(), ids)
    }

    /// Writes the model, and gives what a worker is started on.
    pub fn write_model(&self, folder: &Path, format: ModelFormat) -> Result<PathBuf, Finding> {
        if self.model == "tiny" {
            let written = tiny_model::write(folder, format);
            return written.map_err(|error| Finding::error("the tiny model on disk", error.to_string()));
        }
        if let Some(changed) = models::of_name(&self.model) {
            return models::write(changed, folder);
        }
        let written = model_files::write(&recipe(&self.model)?, Form { format, ..Form::PLAIN }, Element::F32, folder);
        written.map_err(|error| Finding::error("a recipe model on disk", error.to_string()))
    }

    /// What an independent engine computed for it. One that is missing is a failure: nothing would be compared.
    pub fn golden(&self, engine: &str) -> Result<Golden, Finding> {
        let name = format!("{}/{engine}/{}", self.model, self.prompt);
        let missing = |found: String| Finding::fail(format!("the golden golden/{name}"), found);
        if GOLDEN.get_dir(&name).is_none() {
            return Err(missing("it is not there".into()));
        }
        let folder = EXTRACTED.as_ref().map_err(|problem| Finding::error("the goldens on disk", problem.clone()))?;
        Golden::read(&folder.path().join(&name)).map_err(|error| missing(error.to_string()))
    }
}

/// The goldens as files, which their reader wants.
static EXTRACTED: LazyLock<Result<tempfile::TempDir, String>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    GOLDEN.extract(folder.path()).map_err(|error| error.to_string())?;
    Ok(folder)
});

/// A recipe model, from the flags that make it.
fn recipe(model: &str) -> Result<Recipe, Finding> {
    let unknown = |what: &str| Finding::error("a recipe among golden/goldens.json", format!("{model}: {what}"));
    let flags = TABLE["models"][model]["recipe"].as_array().ok_or_else(|| unknown("no recipe"))?;
    let words: Vec<&str> = flags.iter().filter_map(Value::as_str).collect();
    let (mut architecture, mut size) = (None, Size::Tiny);
    let mut sizes = size.configuration();
    for pair in words.chunks(2) {
        let [flag, value] = pair else { return Err(unknown("a flag without a value")) };
        let number = || value.parse::<usize>().map_err(|_| unknown(value));
        match *flag {
            "--architecture" => {
                let named = LlamaSize::ALL.into_iter().map(|(one, _)| one).find(|one| one.name() == *value);
                architecture = Some(named.ok_or_else(|| unknown(value))?);
            }
            "--size" => {
                size = Size::ALL.into_iter().find(|size| size.name() == *value).ok_or_else(|| unknown(value))?;
                sizes = size.configuration();
            }
            other if architecture.is_some() => return Err(unknown(other)),
            "--n-layer" => sizes.n_layer = number()?,
            "--n-head" => sizes.n_head = number()?,
            "--n-ctx" => sizes.n_ctx = number()?,
            "--vocab-size" => sizes.vocab_size = number()?,
            "--n-embd" => (sizes.n_embd, sizes.n_inner) = (number()?, 4 * number()?),
            other => return Err(unknown(other)),
        }
    }
    let recipe = match architecture {
        None => Recipe::new(sizes, SEED),
        Some(family) => Recipe::llama(LlamaSize::of(family, size).ok_or_else(|| unknown(size.name()))?, SEED),
    };
    recipe.map_err(|error| Finding::error("a recipe model", error.to_string()))
}
