//! Models as files, in every form that a worker has to read: written here byte by byte, and not by the writer that the
//! reference implementation brings, so that a mistake which reader and writer share is seen.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::Finding;
use super::selection::ModelFormat;
use crate::model::configuration::HEAD;
use crate::model::recipe::{OutputFormat, Recipe, RecipeError, Size};
use crate::model::{Configuration, Gpt2Configuration};

/// How the weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    F16,
    Bf16,
}

/// One way to store a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub format: ModelFormat,
    pub element: Element,
    /// `transformer.` or `model.` before every name but the head's.
    pub prefixed: bool,
    /// Spread over three files with an index.
    pub sharded: bool,
    /// The tied head is stored once more, under its own name.
    pub head: bool,
}

impl Form {
    /// One safetensors file in f32, by the plain names.
    pub const PLAIN: Form =
        Form { format: ModelFormat::Safetensors, element: Element::F32, prefixed: false, sharded: false, head: false };

    /// `F16 prefixed sharded`: the words in any order.
    pub fn of(words: &str) -> Result<Form, Finding> {
        words.split_whitespace().try_fold(Form::PLAIN, |form, word| {
            Ok(match word {
                "plain" => form,
                "GGUF" => Form { format: ModelFormat::Gguf, ..form },
                "F16" => Form { element: Element::F16, ..form },
                "BF16" => Form { element: Element::Bf16, ..form },
                "prefixed" => Form { prefixed: true, ..form },
                "sharded" => Form { sharded: true, ..form },
                "head-repeated" => Form { head: true, ..form },
                other => return Err(Finding::error("a word for how a model is stored", other)),
            })
        })
    }
}

impl Element {
    fn name(self) -> &'static str {
        match self {
            Element::F32 => "F32",
            Element::F16 => "F16",
            Element::Bf16 => "BF16",
        }
    }

    /// The nearest number that this element can hold.
    pub fn nearest(self, value: f32) -> f32 {
        match self {
            Element::F32 => value,
            Element::F16 => f16::from_f32(value).to_f32(),
            Element::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Element::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Element::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Element::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

/// One tensor to be written.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Writes a recipe model in this form; its numbers are those that `rounded_to` can hold. Gives what a worker is started on.
pub fn write(recipe: &Recipe, form: Form, rounded_to: Element, folder: &Path) -> io::Result<PathBuf> {
    if form.format == ModelFormat::Gguf {
        let path = folder.join("model.gguf");
        recipe.write(&path, OutputFormat::Gguf).map_err(|error| match error {
            RecipeError::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        })?;
        return Ok(path);
    }
    fs::write(folder.join("config.json"), recipe.config_json())?;
    fs::write(folder.join("tokenizer.json"), recipe.tokenizer_json())?;
    let prefix = match recipe.configuration() {
        _ if !form.prefixed => "",
        Configuration::Gpt2(_) => "transformer.",
        Configuration::Llama(_) => "model.",
    };
    let weights = recipe.weights();
    let mut tensors: Vec<Tensor> = weights
        .iter()
        .map(|(name, weight)| Tensor {
            name: if name == HEAD { name.to_owned() } else { format!("{prefix}{name}") },
            shape: weight.shape().to_vec(),
            values: weight.values().iter().map(|value| rounded_to.nearest(*value)).collect(),
        })
        .collect();
    if form.head
        && let Some(embedding) = tensors.iter().find(|tensor| tensor.name.ends_with(recipe.configuration().embedding()))
    {
        let (shape, values) = (embedding.shape.clone(), embedding.values.clone());
        tensors.push(Tensor { name: HEAD.into(), shape, values });
    }
    if !form.sharded {
        let path = folder.join("model.safetensors");
        fs::write(&path, safetensors(&tensors, form.element))?;
        return Ok(path);
    }
    let mut index = Map::new();
    for (number, shard) in tensors.chunks(tensors.len().div_ceil(3)).enumerate() {
        let file = format!("model-{:05}-of-00003.safetensors", number + 1);
        fs::write(folder.join(&file), safetensors(shard, form.element))?;
        index.extend(shard.iter().map(|tensor| (tensor.name.clone(), Value::from(file.as_str()))));
    }
    let index = json!({ "metadata": {}, "weight_map": index });
    fs::write(folder.join("model.safetensors.index.json"), index.to_string())?;
    // A sharded model is its folder.
    Ok(folder.to_path_buf())
}

/// A model of these numbers with the tokenizer of another, as one safetensors file with its configuration. Gives what a
/// worker is started on.
pub fn write_like(
    other: &Path,
    n_layer: usize,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    folder: &Path,
) -> io::Result<PathBuf> {
    let beside = if other.is_dir() { other } else { other.parent().unwrap_or(other) };
    fs::copy(beside.join("tokenizer.json"), folder.join("tokenizer.json"))?;
    let config = fs::read_to_string(beside.join("config.json"))?;
    let mut config: Value = serde_json::from_str(&config)?;
    let key = if config.get("num_hidden_layers").is_some() { "num_hidden_layers" } else { "n_layer" };
    config[key] = n_layer.into();
    fs::write(folder.join("config.json"), config.to_string())?;
    let tensors: Vec<Tensor> =
        tensors.into_iter().map(|(name, shape, values)| Tensor { name, shape, values }).collect();
    let path = folder.join("model.safetensors");
    fs::write(&path, safetensors(&tensors, Element::F32))?;
    Ok(path)
}

/// The bytes of one file: the length of the header, the header, the values.
fn safetensors(tensors: &[Tensor], element: Element) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for Tensor { name, shape, values } in tensors {
        let begin = data.len();
        data.extend(element.encode(values));
        let entry = json!({ "dtype": element.name(), "shape": shape, "data_offsets": [begin, data.len()] });
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// Long enough for whatever a case does meanwhile, and quickly written: 20 million parameters, some milliseconds a token, and a context for 2 000 of them.
pub fn computes_for_seconds() -> Gpt2Configuration {
    let (n_layer, n_head, n_embd, n_ctx, vocab_size) = (6, 8, 512, 2048, 2000);
    Gpt2Configuration { n_layer, n_head, n_embd, n_inner: 4 * n_embd, n_ctx, vocab_size, ..Size::Tiny.configuration() }
}
