//! A model in safetensors: which tensor of which file is which of the model's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{HEAD, Plan, TokenizerSource, read_text, refuse_biases};
use crate::model::configuration::{Configuration, ConfigurationFile};
use crate::model::error::{ModelError, Problem};
use crate::model::json;
use crate::model::weights::bytes::FileBytes;
use crate::model::weights::element::Element;
use crate::model::weights::load::{Arrangement, Stored};
use crate::model::weights::safetensors::{self, TensorEntry};

const MAX_CONFIGURATION_BYTES: u64 = 1 << 20;
const MAX_INDEX_BYTES: u64 = 2 << 20;

/// One tensor of any of the files, by its name without the prefix.
struct Found {
    entry: TensorEntry,
    file: Arc<FileBytes>,
}

type Tensors = BTreeMap<String, Found>;

pub(super) fn plan_file(file: &Path) -> Result<Plan, ModelError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let configuration = read_configuration(folder)?;
    let mut tensors = Tensors::new();
    let bytes = FileBytes::map(file).map_err(|problem| problem.of(file))?;
    let planned = add_tensors(&mut tensors, bytes, prefix(&configuration))
        .and_then(|_| plan(configuration, tensors, find_tokenizer(folder)));
    planned.map_err(|problem| problem.of(file))
}

pub(super) fn plan_sharded(index: &Path) -> Result<Plan, ModelError> {
    let folder = index.parent().unwrap_or(Path::new(""));
    let configuration = read_configuration(folder)?;
    let text = read_text(index, MAX_INDEX_BYTES)?;
    let shards = read_index(&text).map_err(|problem| problem.of(index))?;
    let mut tensors = Tensors::new();
    for (shard, names) in shards {
        let file = folder.join(&shard);
        if !file.exists() {
            return Err(Problem::MissingShard { shard }.of(index));
        }
        let bytes = FileBytes::map(&file).map_err(|problem| problem.of(&file))?;
        let there = add_tensors(&mut tensors, bytes, prefix(&configuration)).map_err(|problem| problem.of(&file))?;
        if let Some(tensor) = names.into_iter().find(|name| !there.contains(name)) {
            return Err(Problem::NotInShard { tensor, shard }.of(index));
        }
    }
    plan(configuration, tensors, find_tokenizer(folder)).map_err(|problem| problem.of(index))
}

pub(super) fn plan_bytes(bytes: Arc<FileBytes>, config: &str, tokenizer: TokenizerSource) -> Result<Plan, Problem> {
    let configuration = ConfigurationFile::parse(config)?;
    let mut tensors = Tensors::new();
    add_tensors(&mut tensors, bytes, prefix(&configuration))?;
    plan(configuration, tensors, tokenizer)
}

fn read_configuration(folder: &Path) -> Result<ConfigurationFile, ModelError> {
    let file = folder.join("config.json");
    let text = read_text(&file, MAX_CONFIGURATION_BYTES)?;
    ConfigurationFile::parse(&text).map_err(|problem| problem.of(file))
}

pub(super) fn find_tokenizer(folder: &Path) -> TokenizerSource {
    let [json, vocabulary, merges] = ["tokenizer.json", "vocab.json", "merges.txt"].map(|name| folder.join(name));
    // What is there and is no file is refused by name where it is read, and not taken for absent.
    let there = |path: &Path| path.symlink_metadata().is_ok();
    if there(&json) {
        TokenizerSource::HfJson(json)
    } else if there(&vocabulary) && there(&merges) {
        TokenizerSource::VocabularyAndMerges { vocabulary, merges }
    } else {
        TokenizerSource::Absent
    }
}

/// The shards by name, each with the tensors that it is said to hold.
fn read_index(text: &str) -> Result<BTreeMap<String, Vec<String>>, Problem> {
    let index = json::object(text).map_err(|source| Problem::Json { what: "the index", source })?;
    let Some(map) = index.get("weight_map") else {
        return Err(Problem::MissingKey { key: "weight_map".into() });
    };
    let Value::Object(map) = map else { return Err(Problem::key("weight_map", "is not an object")) };
    let mut shards = BTreeMap::<String, Vec<String>>::new();
    for (tensor, shard) in map {
        let Value::String(shard) = shard else {
            return Err(Problem::key("weight_map", format!("names no file for `{tensor}`")));
        };
        // A name and nothing else: an index must not reach outside its folder.
        let is_plain = Path::new(shard).file_name().is_some_and(|name| name == shard.as_str());
        if !is_plain || shard.contains(['/', '\\', '\0']) {
            return Err(Problem::ShardPath { shard: shard.clone() });
        }
        shards.entry(shard.clone()).or_default().push(tensor.clone());
    }
    Ok(shards)
}

/// What stands before the names of everything but the head, where a model was saved with it.
fn prefix(file: &ConfigurationFile) -> &'static str {
    match file.configuration {
        Configuration::Gpt2(_) => "transformer.",
        Configuration::Llama(_) => "model.",
    }
}

/// Reads one file's header into the whole; gives the names as that file has them.
fn add_tensors(tensors: &mut Tensors, file: Arc<FileBytes>, prefix: &str) -> Result<Vec<String>, Problem> {
    let header = safetensors::read(&file)?;
    let mut names = Vec::with_capacity(header.tensors.len());
    for entry in header.tensors {
        names.push(entry.name.clone());
        let plain = entry.name.strip_prefix(prefix).unwrap_or(&entry.name).to_string();
        if tensors.contains_key(&plain) {
            return Err(Problem::Duplicate { kind: "tensor", name: plain });
        }
        tensors.insert(plain, Found { entry, file: file.clone() });
    }
    Ok(names)
}

fn plan(file: ConfigurationFile, mut found: Tensors, tokenizer_source: TokenizerSource) -> Result<Plan, Problem> {
    let configuration = file.configuration;
    let mut tensors = Vec::new();
    for (name, shape) in configuration.tensors() {
        let tensor = found.remove(&name).ok_or_else(|| Problem::MissingTensor { tensor: name.clone() })?;
        tensors.push(stored(name, shape, tensor)?);
    }
    match found.remove(HEAD) {
        Some(head) => {
            let shape = vec![configuration.vocab_size(), configuration.n_embd()];
            tensors.push(stored(HEAD.into(), shape, head)?);
        }
        None if file.tied => {}
        None => return Err(Problem::MissingTensor { tensor: HEAD.into() }),
    }
    let unused: Vec<String> = found.into_keys().filter(|name| !is_buffer(name)).collect();
    refuse_biases(&configuration, &unused)?;
    let end_of_text = file.end_of_text;
    Ok(Plan { name: None, configuration, end_of_text, tensors, quant_kind: None, tokenizer_source, unused })
}

/// Constants that older files carry along: the causal mask, its fill value, and rotary frequencies.
fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"].iter().any(|buffer| name.ends_with(buffer))
}

fn stored(name: String, shape: Vec<usize>, found: Found) -> Result<Stored, Problem> {
    let TensorEntry { element, shape: in_file, range, .. } = found.entry;
    if !in_file.iter().copied().eq(shape.iter().map(|&size| size as u64)) {
        return Err(Problem::Shape { tensor: name, expected: shape, found: in_file });
    }
    let element = match element {
        "F32" => Element::F32,
        "F16" => Element::F16,
        "BF16" => Element::Bf16,
        other => return Err(Problem::UnsupportedElement { tensor: name, element: other.into() }),
    };
    // Inside the file, so inside the address space.
    let range = range.start as usize..range.end as usize;
    Ok(Stored { name, shape, element, arrangement: Arrangement::AsHeld, file: found.file, range })
}
