//! A model in GGUF: metadata to configuration and tokenizer, and llama.cpp's tensors to Hugging Face's.

mod gpt2;
mod llama;
mod names;
mod tokenizer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{HEAD, Plan, TokenizerSource, refuse_biases};
use crate::model::configuration::{Configuration, LlamaArchitecture};
use crate::model::error::{ModelError, Problem};
use crate::model::weights::bytes::FileBytes;
use crate::model::weights::element::Element;
use crate::model::weights::gguf::{self, Header, TensorEntry, file_type_name};
use crate::model::weights::load::{Arrangement, Stored};
pub use llama::DIVISORS;
pub use names::name_in_gguf;

pub(super) fn plan(file: &Path) -> Result<Plan, ModelError> {
    FileBytes::map(file).and_then(plan_bytes).map_err(|problem| problem.of(file))
}

/// The tokenizer and the chat template of a file that need have nothing else.
pub(super) fn tokenizer_of(file: &Path) -> Result<(TokenizerSource, Option<String>), ModelError> {
    let read = |bytes: Arc<FileBytes>| {
        let header = gguf::read(&bytes)?;
        let template = header.string("tokenizer.chat_template")?.map(String::from);
        Ok((tokenizer::read(&header)?, template))
    };
    FileBytes::map(file).and_then(read).map_err(|problem| problem.of(file))
}

pub(super) fn plan_bytes(file: Arc<FileBytes>) -> Result<Plan, Problem> {
    let header = gguf::read(&file)?;
    let architecture = read_architecture(&header)?;
    check_split(&header)?;
    let mut found: Tensors = header.tensors.iter().map(|entry| (entry.name, entry)).collect();
    let tokenizer_source = tokenizer::read(&header)?;
    let sizes = Sizes::new(&header, &found, &file, &tokenizer_source, architecture)?;
    let configuration: Configuration = match architecture {
        "gpt2" => gpt2::read(&sizes)?.into(),
        "llama" => llama::read(&sizes, LlamaArchitecture::Llama)?.into(),
        _ => llama::read(&sizes, LlamaArchitecture::Qwen2)?.into(),
    };

    let mut tensors = Vec::new();
    for (name, shape) in configuration.tensors() {
        let in_file = name_in_gguf(&name);
        let entry = found.remove(in_file.as_str()).ok_or(Problem::MissingTensor { tensor: in_file })?;
        tensors.push(stored(name, shape, &configuration, entry, &file)?);
    }
    if let Some(head) = found.remove(name_in_gguf(HEAD).as_str()) {
        let shape = vec![configuration.vocab_size(), configuration.n_embd()];
        tensors.push(stored(HEAD.into(), shape, &configuration, head, &file)?);
    }
    found.remove(DIVISORS);
    let mut unused: Vec<String> = found.into_keys().map(String::from).collect();
    unused.sort();
    refuse_biases(&configuration, &unused)?;
    let quant_kind = header.unsigned("general.file_type")?.and_then(file_type_name).map(String::from);
    let name = header.string("general.name")?.filter(|name| !name.is_empty()).map(String::from);
    let end_of_text = configuration.eos_token_id().into_iter().collect();
    Ok(Plan { name, configuration, end_of_text, tensors, quant_kind, tokenizer_source, unused })
}

type Tensors<'a> = HashMap<&'a str, &'a TensorEntry<'a>>;

fn read_architecture<'a>(header: &Header<'a>) -> Result<&'a str, Problem> {
    const KEY: &str = "general.architecture";
    match header.string(KEY)?.ok_or_else(|| Problem::MissingKey { key: KEY.into() })? {
        name @ ("gpt2" | "llama" | "qwen2") => Ok(name),
        name => Err(Problem::UnknownArchitecture { name: name.chars().take(60).collect() }),
    }
}

fn check_split(header: &Header) -> Result<(), Problem> {
    match header.unsigned("split.count")? {
        Some(count) if count > 1 => {
            Err(Problem::key("split.count", format!("is {count}: join the parts into one file")))
        }
        _ => Ok(()),
    }
}

/// The keys of one architecture, and what the tokens and the tensors say of the sizes.
struct Sizes<'a> {
    header: &'a Header<'a>,
    tensors: &'a Tensors<'a>,
    file: &'a FileBytes,
    architecture: &'a str,
    vocab_size: usize,
    eos: Option<u32>,
    bos: Option<u32>,
}

impl<'a> Sizes<'a> {
    fn new(
        header: &'a Header<'a>,
        tensors: &'a Tensors<'a>,
        file: &'a FileBytes,
        tokenizer: &TokenizerSource,
        architecture: &'a str,
    ) -> Result<Self, Problem> {
        let embedding = tensors.get("token_embd.weight").and_then(|entry| entry.shape.first()).copied();
        let rows = embedding.ok_or_else(|| Problem::MissingTensor { tensor: "token_embd.weight".into() })?;
        let tokens = match tokenizer {
            TokenizerSource::Gguf(tokenizer) => Some(tokenizer),
            _ => None,
        };
        if let Some(found) = tokens.map(|tokenizer| tokenizer.tokens.len() as u64).filter(|&found| found != rows) {
            let (key, other) = ("the number of tokens".into(), "token_embd.weight".into());
            return Err(Problem::KeysDisagree { key, found, other, expected: rows });
        }
        Ok(Sizes {
            header,
            tensors,
            file,
            architecture,
            vocab_size: usize::try_from(rows).map_err(|_| Problem::Overflow { what: "the vocabulary".into() })?,
            eos: tokens.and_then(|tokenizer| tokenizer.eos_token_id),
            bos: tokens.and_then(|tokenizer| tokenizer.bos_token_id),
        })
    }

    /// `block_count` is `gpt2.block_count` in the file of a GPT-2.
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn get(&self, key: &str) -> Result<Option<usize>, Problem> {
        let key = self.key(key);
        let size = self.header.unsigned(&key)?.map(usize::try_from).transpose();
        size.map_err(|_| Problem::Overflow { what: format!("`{key}`") })
    }

    fn required(&self, key: &str) -> Result<usize, Problem> {
        self.get(key)?.ok_or_else(|| Problem::MissingKey { key: self.key(key) })
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Problem> {
        self.header.float(&self.key(key))
    }

    fn required_number(&self, key: &str) -> Result<f64, Problem> {
        self.number(key)?.ok_or_else(|| Problem::MissingKey { key: self.key(key) })
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        self.header.string(&self.key(key))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        self.header.boolean(&self.key(key))
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A vector of this length that belongs to the configuration.
    fn vector(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>, Problem> {
        let Some(entry) = self.tensors.get(name) else { return Ok(None) };
        if entry.shape != [length as u64] {
            let (tensor, expected, found) = (name.into(), vec![length], entry.shape.clone());
            return Err(Problem::Shape { tensor, expected, found });
        }
        let Some(element @ Element::F32) = entry.stored.element else {
            return Err(Problem::UnsupportedElement { tensor: name.into(), element: entry.stored.name.into() });
        };
        let mut values = vec![0.0; length];
        element.decode(&self.file[range(entry)], &mut values);
        Ok(Some(values))
    }
}

/// How a tensor lies in a GGUF file, by its name in Hugging Face's.
pub fn arrangement(configuration: &Configuration, name: &str) -> Arrangement {
    match configuration {
        Configuration::Gpt2(_) => gpt2::arrangement(name),
        Configuration::Llama(configuration) => llama::arrangement(configuration, name),
    }
}

/// Inside the file, so inside the address space.
fn range(entry: &TensorEntry) -> std::ops::Range<usize> {
    entry.range.start as usize..entry.range.end as usize
}

fn stored(
    name: String,
    shape: Vec<usize>,
    configuration: &Configuration,
    entry: &TensorEntry,
    file: &Arc<FileBytes>,
) -> Result<Stored, Problem> {
    let arrangement = arrangement(configuration, &name);
    let mut in_file: Vec<u64> = entry.shape.clone();
    if arrangement == Arrangement::Transposed {
        in_file.reverse();
    }
    if !in_file.iter().copied().eq(shape.iter().map(|&size| size as u64)) {
        return Err(Problem::Shape { tensor: entry.name.into(), expected: shape, found: in_file });
    }
    let unsupported = || Problem::UnsupportedElement { tensor: entry.name.into(), element: entry.stored.name.into() };
    let element = entry.stored.element.ok_or_else(unsupported)?;
    // The rows of a vector are single numbers: those of plain elements alone can be put in another order.
    if shape.len() == 1 && arrangement != Arrangement::AsHeld && element.block().0 > 1 {
        return Err(unsupported());
    }
    Ok(Stored { name, shape, element, arrangement, file: file.clone(), range: range(entry) })
}
