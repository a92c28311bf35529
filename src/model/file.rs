//! Opens a model: a `.gguf` file, a `.safetensors` file with its `config.json` beside it, or a folder of those.

mod chat;
mod gguf;
mod safetensors;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::configuration::{Configuration, HEAD};
use super::error::{ModelError, Problem};
use super::memory;
use super::weights::bytes::FileBytes;
use super::weights::element::Element;
use super::weights::load::Stored;
use super::weights::{self, StoredWeights, Weights};
pub use chat::{Chat, chat};
pub use gguf::{DIVISORS, arrangement, name_in_gguf};

/// A model, checked and in memory; the weights decoded, or left as they are stored.
#[derive(Debug)]
pub struct ModelFile<W = Weights> {
    /// As its file gives it: GGUF's `general.name`, else the name of the folder or of the file.
    pub name: String,
    pub path: PathBuf,
    pub format: Format,
    pub configuration: Configuration,
    pub weights: W,
    /// As stored: `F32`, `F16`, `BF16`, `Q8_0`, `Q4_K_M`, …
    pub quant_kind: String,
    pub tokenizer_source: TokenizerSource,
    /// The ids that end a text, by the configuration.
    pub end_of_text: Vec<u32>,
    /// Tensors that the file has and the model does not use (mask buffers aside): for the log.
    pub unused: Vec<String>,
    /// Bytes of the tensors that are used, as stored.
    pub stored_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    Gguf,
}

/// Where the tokenizer of a model is. Read by the tokenizers, not here.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizerSource {
    /// A `tokenizer.json`.
    HfJson(PathBuf),
    /// The text of one, in the program itself.
    HfJsonText(String),
    VocabularyAndMerges {
        vocabulary: PathBuf,
        merges: PathBuf,
    },
    Gguf(GgufTokenizer),
    /// None beside the weights: the model can be computed on ids only.
    Absent,
}

/// What GGUF metadata says about the tokenizer, checked against the sizes of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`: `gpt2` for byte-level BPE, `llama` for SentencePiece's.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is split before merging; `gpt-2`, `qwen2`, …
    pub pre: Option<String>,
    /// By id, in the byte-level alphabet (user-defined and control tokens as they are).
    pub tokens: Vec<String>,
    /// One per token (1 normal, 3 control, 4 user-defined, …); empty where the file has none.
    pub token_types: Vec<i32>,
    /// One per token, of SentencePiece's kind; empty where the file has none.
    pub scores: Vec<f32>,
    /// `left right`, the most important first.
    pub merges: Vec<String>,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<u32>,
    /// Where the file says so; otherwise it goes by the kind of tokenizer.
    pub add_bos_token: Option<bool>,
    pub add_space_prefix: Option<bool>,
}

/// What a format's reader finds out; loading the values is the same for both.
struct Plan {
    name: Option<String>,
    configuration: Configuration,
    end_of_text: Vec<u32>,
    /// Every tensor that the model uses; a head of its own, if there is one, as `lm_head.weight`.
    tensors: Vec<Stored>,
    /// As the file declares it, where it does.
    quant_kind: Option<String>,
    tokenizer_source: TokenizerSource,
    unused: Vec<String>,
}

/// Opens a model and reads every weight once. `progress` is told 0 to 100, by bytes checked and paged in.
pub fn open(path: &Path, progress: &mut dyn FnMut(u8)) -> Result<ModelFile, ModelError> {
    found(path)?.load(progress)
}

/// The same, with every weight as its file stores it.
pub fn open_stored(path: &Path, progress: &mut dyn FnMut(u8)) -> Result<ModelFile<StoredWeights>, ModelError> {
    found(path)?.load_stored(progress)
}

/// A model file whose header was read.
struct Found<'a> {
    plan: Plan,
    format: Format,
    path: &'a Path,
    fallback_name: String,
}

fn found(path: &Path) -> Result<Found<'_>, ModelError> {
    let is_folder = fs::metadata(path).map_err(|error| Problem::from(error).of(path))?.is_dir();
    let file = if is_folder { find_in_folder(path)? } else { path.to_path_buf() };
    let (format, plan) = match extension(&file) {
        "gguf" => (Format::Gguf, gguf::plan(&file)?),
        "safetensors" => (Format::Safetensors, safetensors::plan_file(&file)?),
        "json" if is_folder => (Format::Safetensors, safetensors::plan_sharded(&file)?),
        _ => return Err(Problem::NoModel("neither `.gguf` nor `.safetensors`, and no folder".into()).of(&file)),
    };
    let named_after = match format {
        Format::Safetensors if is_folder || file.file_stem().is_some_and(|stem| stem == "model") => file.parent(),
        _ => Some(file.as_path()),
    };
    let fallback_name = named_after.and_then(Path::file_stem).unwrap_or_default().to_string_lossy().into_owned();
    Ok(Found { plan, format, path, fallback_name })
}

/// A model that is part of the program.
pub fn from_bytes(
    safetensors: impl Into<FileBytes>,
    config: &str,
    tokenizer_json: &str,
) -> Result<ModelFile, ModelError> {
    let path = Path::new("embedded model");
    let tokenizer = TokenizerSource::HfJsonText(tokenizer_json.into());
    let plan =
        safetensors::plan_bytes(Arc::new(safetensors.into()), config, tokenizer).map_err(|problem| problem.of(path))?;
    Found { plan, format: Format::Safetensors, path, fallback_name: "embedded".into() }.load(&mut |_| {})
}

/// A GGUF file that is in memory.
pub fn from_gguf_bytes(gguf: impl Into<FileBytes>) -> Result<ModelFile, ModelError> {
    let path = Path::new("embedded model");
    let plan = gguf::plan_bytes(Arc::new(gguf.into())).map_err(|problem| problem.of(path))?;
    Found { plan, format: Format::Gguf, path, fallback_name: "embedded".into() }.load(&mut |_| {})
}

impl Found<'_> {
    fn load(self, progress: &mut dyn FnMut(u8)) -> Result<ModelFile, ModelError> {
        self.with(|path, tensors| {
            let decoded = weights::load::decoded_bytes(&tensors);
            memory::require("the weights", decoded, memory::available())?;
            Ok(Weights::new(path, weights::load::load(&tensors, progress)?))
        })
    }

    fn load_stored(self, progress: &mut dyn FnMut(u8)) -> Result<ModelFile<StoredWeights>, ModelError> {
        self.with(|path, tensors| StoredWeights::load(path, tensors, progress))
    }

    fn with<W>(self, load: impl FnOnce(&Path, Vec<Stored>) -> Result<W, Problem>) -> Result<ModelFile<W>, ModelError> {
        let Found { mut plan, format, path, fallback_name } = self;
        drop_tied_head(&mut plan.tensors, plan.configuration.embedding());
        Ok(ModelFile {
            name: plan.name.unwrap_or(fallback_name),
            path: path.to_path_buf(),
            format,
            configuration: plan.configuration,
            quant_kind: plan.quant_kind.unwrap_or_else(|| commonest_element(&plan.tensors)),
            stored_bytes: plan.tensors.iter().map(|tensor| tensor.range.len() as u64).sum(),
            weights: load(path, plan.tensors).map_err(|problem| problem.of(path))?,
            tokenizer_source: plan.tokenizer_source,
            end_of_text: plan.end_of_text,
            unused: plan.unused,
        })
    }
}

/// A head that holds the numbers of the embedding is the embedding, and is not loaded again.
fn drop_tied_head(tensors: &mut Vec<Stored>, embedding: &str) {
    let find = |name: &str| tensors.iter().position(|tensor| tensor.name == name);
    let (Some(embedding), Some(head)) = (find(embedding), find(HEAD)) else { return };
    if weights::load::same_values(&tensors[embedding], &tensors[head]) {
        tensors.remove(head);
    }
}

/// A bias that the configuration does not know would be left out of the computation.
fn refuse_biases(configuration: &Configuration, unused: &[String]) -> Result<(), Problem> {
    match (configuration, unused.iter().find(|name| name.ends_with(".bias"))) {
        (Configuration::Llama(_), Some(bias)) => Err(Problem::UnknownTensor { tensor: bias.clone() }),
        _ => Ok(()),
    }
}

/// The element type of most bytes.
fn commonest_element(tensors: &[Stored]) -> String {
    let mut bytes = std::collections::BTreeMap::<Element, usize>::new();
    for tensor in tensors {
        *bytes.entry(tensor.element).or_default() += tensor.range.len();
    }
    bytes.into_iter().max_by_key(|&(_, bytes)| bytes).map_or("none", |(element, _)| element.name()).into()
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// What a folder is opened by: `model.safetensors`, the index of its shards, or the one model file in it.
fn find_in_folder(folder: &Path) -> Result<PathBuf, ModelError> {
    for known in ["model.safetensors", "model.safetensors.index.json"] {
        let file = folder.join(known);
        if file.exists() {
            return Ok(file);
        }
    }
    let entries = fs::read_dir(folder).map_err(|error| Problem::from(error).of(folder))?;
    let files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    for format in ["safetensors", "gguf"] {
        let mut of_format = files.iter().filter(|file| extension(file) == format);
        match (of_format.next(), of_format.next()) {
            (Some(only), None) => return Ok(only.clone()),
            (Some(_), Some(_)) => {
                return Err(Problem::NoModel(format!("several `.{format}` files, and no index")).of(folder));
            }
            _ => {}
        }
    }
    Err(Problem::NoModel("the folder has no `.safetensors` and no `.gguf` file".into()).of(folder))
}

/// A small text file, read up to a limit.
pub(super) fn read_text(file: &Path, limit: u64) -> Result<String, ModelError> {
    let read = || -> Result<String, Problem> {
        let metadata = fs::metadata(file)?;
        if !metadata.is_file() {
            return Err(Problem::NotAFile);
        }
        let over = |found| Problem::OverLimit { what: "the file's size in bytes".into(), found, limit };
        if metadata.len() > limit {
            return Err(over(metadata.len()));
        }
        let mut bytes = Vec::new();
        fs::File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(over(bytes.len() as u64));
        }
        String::from_utf8(bytes).map_err(|_| Problem::NotUtf8 { what: "the file".into() })
    };
    read().map_err(|problem| problem.of(file))
}
