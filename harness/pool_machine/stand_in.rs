//! A program in the place of `hf`: it remembers its words, and brings, fails or hangs as it is told. And the models that it
//! brings.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Machine;
use crate::harness::model_files::{self, Element, Form};
use crate::harness::selection::ModelFormat;
use crate::harness::{Finding, tiny_model};
use crate::model::configuration::LlamaArchitecture;
use crate::model::error::Problem;
use crate::model::recipe::{LlamaSize, Recipe, Size};

/// What `hf` does, as the features say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hf {
    NotInstalled,
    Brings(Shape),
    /// Twice, then it brings the haiku model.
    FailsTwice,
    Fails,
    /// By SIGKILL, when half of the weights are there.
    IsKilled,
    /// Half-way, until it is ended.
    Hangs,
    /// All but the weights.
    BringsNoWeights,
    /// Weights of another digest than the hub told.
    BringsOtherWeights,
    /// An index, and one shard too few.
    BringsTooFewShards,
}

/// A model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Haiku,
    HaikuAsGguf,
    Sharded,
    Qwen,
    /// A configuration, and 32 MB of weights that say nothing: `hf` writes ten megabytes at a time, and resumes what is
    /// written.
    Large,
}

impl Shape {
    pub fn of(words: &str) -> Option<Shape> {
        Some(match words {
            "haiku" => Shape::Haiku,
            "haiku GGUF" => Shape::HaikuAsGguf,
            "sharded" => Shape::Sharded,
            "Qwen-shaped" => Shape::Qwen,
            "large" => Shape::Large,
            _ => return None,
        })
    }

    /// Writes its files into a folder, and nothing else.
    pub fn write(self, folder: &Path) -> Result<(), Finding> {
        let failed = |problem: io::Error| Finding::error("the files of a model", problem.to_string());
        fs::create_dir_all(folder).map_err(failed)?;
        match self {
            Shape::Haiku => {
                copy(folder, ModelFormat::Safetensors, &["model.safetensors", "config.json", "tokenizer.json"])
            }
            Shape::HaikuAsGguf => copy(folder, ModelFormat::Gguf, &["model.gguf"]),
            Shape::Sharded => made(Recipe::new(Size::Tiny.configuration(), 1), "sharded", folder),
            Shape::Qwen => {
                let size = LlamaSize::of(LlamaArchitecture::Qwen2, Size::Tiny);
                let size = size.ok_or_else(|| Finding::error("a tiny Qwen2", "there is none"))?;
                made(Recipe::llama(size, 1), "plain", folder)
            }
            Shape::Large => {
                fs::write(folder.join("config.json"), "{}").map_err(failed)?;
                write_safetensors(folder, &[("weights", &[8 << 20])]).map_err(failed)
            }
        }
    }
}

fn copy(folder: &Path, format: ModelFormat, names: &[&str]) -> Result<(), Finding> {
    let copied = || -> io::Result<()> {
        let scratch = tempfile::tempdir()?;
        let written = tiny_model::write(scratch.path(), format)?;
        for name in names {
            fs::copy(written.with_file_name(name), folder.join(name))?;
        }
        Ok(())
    };
    copied().map_err(|problem| Finding::error("the haiku model's files", problem.to_string()))
}

fn made(recipe: Result<Recipe, Problem>, form: &str, folder: &Path) -> Result<(), Finding> {
    let recipe = recipe.map_err(|problem| Finding::error("a recipe", problem.to_string()))?;
    let written = model_files::write(&recipe, Form::of(form)?, Element::F32, folder);
    written.map(|_| ()).map_err(|problem| Finding::error("a recipe model's files", problem.to_string()))
}

fn write_safetensors(folder: &Path, tensors: &[(&str, &[usize])]) -> io::Result<()> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, shape) in tensors {
        let begin = data.len();
        for number in 0..shape.iter().product::<usize>() {
            data.extend_from_slice(&((number % 7) as f32 / 7.0).to_le_bytes());
        }
        header.insert((*name).into(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] }));
    }
    let header = serde_json::Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    fs::write(folder.join("model.safetensors"), bytes)
}

impl Hf {
    pub fn of(words: &str) -> Result<Hf, Finding> {
        let brings = words.strip_prefix("brings the ").and_then(|rest| rest.strip_suffix(" model")).and_then(Shape::of);
        if let Some(shape) = brings {
            return Ok(Hf::Brings(shape));
        }
        Ok(match words {
            "is not installed" => Hf::NotInstalled,
            "fails twice" => Hf::FailsTwice,
            "always fails" => Hf::Fails,
            "is killed half-way" => Hf::IsKilled,
            "hangs half-way" => Hf::Hangs,
            "brings no weights" => Hf::BringsNoWeights,
            "brings other weights" => Hf::BringsOtherWeights,
            "brings too few shards" => Hf::BringsTooFewShards,
            other => return Err(Finding::error("something that hf can do", other)),
        })
    }

    /// Puts it before the real one. Its words are in `bin/hf.words`, one to a line, and `bin/hf.runs` has a byte for each run.
    pub fn install(&self, machine: &mut Machine) -> Result<(), Finding> {
        if *self == Hf::NotInstalled {
            machine.strip();
            return Ok(());
        }
        let shape = match self {
            Hf::Brings(shape) => *shape,
            Hf::BringsTooFewShards => Shape::Sharded,
            _ => Shape::Haiku,
        };
        let source = machine.path("hub");
        shape.write(&source)?;
        let failed = |problem: io::Error| Finding::error("a program in the place of hf", problem.to_string());
        remember_tags(&source).map_err(failed)?;
        match self {
            Hf::BringsNoWeights => fs::remove_file(source.join("model.safetensors")).map_err(failed)?,
            Hf::BringsTooFewShards => lose_a_shard(&source).map_err(failed)?,
            Hf::BringsOtherWeights => {
                let path = source.join("model.safetensors");
                let mut bytes = fs::read(&path).map_err(failed)?;
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                fs::write(&path, bytes).map_err(failed)?;
            }
            _ => {}
        }
        let half = "mkdir -p \"$to\"; head -c 900000 \"$source/model.safetensors\" >\"$to/half\"";
        let act = match self {
            Hf::Fails => "echo '401 Client Error: the model is gated' >&2; exit 1".to_owned(),
            Hf::FailsTwice => format!("[ \"$(wc -c <\"$0.runs\")\" -gt 2 ] || exit 7; {BRING}"),
            Hf::IsKilled => format!("{half}; kill -9 $$"),
            Hf::Hangs => format!("{half}; : >\"$0.hangs\"; exec sleep 600"),
            _ => BRING.to_owned(),
        };
        let script = format!(
            "#!/bin/sh\nsource='{}'\nprintf '%s\\n' \"$@\" >\"$0.words\"\nprintf x >>\"$0.runs\"\n\
             while [ $# -gt 0 ]; do [ \"$1\" != --local-dir ] || to=$2; shift; done\n{act}\n",
            source.display()
        );
        machine.install("hf", &script).map(drop).map_err(failed)
    }
}

const BRING: &str = "mkdir -p \"$to\" && cp -R \"$source/.\" \"$to/\"";

fn lose_a_shard(folder: &Path) -> io::Result<()> {
    let mut shards: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    shards.retain(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    shards.sort();
    shards.last().map_or(Ok(()), fs::remove_file)
}

/// As `hf` remembers what the hub said: the commit, the entity tag and the time, beside each file.
fn remember_tags(folder: &Path) -> io::Result<()> {
    let kept = folder.join(".cache/huggingface/download");
    fs::create_dir_all(&kept)?;
    for path in fs::read_dir(folder)?.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let digest: String = Sha256::digest(fs::read(&path)?).iter().map(|byte| format!("{byte:02x}")).collect();
        let is_large = path.extension().is_some_and(|ending| ending == "safetensors" || ending == "gguf");
        let tag = if is_large { &digest } else { &digest[..40] };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::write(kept.join(format!("{name}.metadata")), format!("{}\n{tag}\n1.0\n", "c0ffee00".repeat(5)))?;
    }
    Ok(())
}
