//! What a model's files say about conversations, without a look at its weights.

use std::path::Path;

use super::{GgufTokenizer, TokenizerSource, extension, find_in_folder, gguf, read_text, safetensors};
use crate::model::chat::of_tokenizer_config;
use crate::model::error::{ModelError, Problem};

/// A template, if there is one, and what it may ask for.
pub struct Chat {
    pub template: Option<String>,
    pub bos_token: String,
    pub eos_token: String,
    pub tokenizer: TokenizerSource,
}

pub fn chat(path: &Path) -> Result<Chat, ModelError> {
    let is_folder = std::fs::metadata(path).map_err(|error| Problem::from(error).of(path))?.is_dir();
    let file = if is_folder { find_in_folder(path)? } else { path.to_path_buf() };
    if extension(&file) == "gguf" { of_gguf(&file) } else { of_folder(file.parent().unwrap_or(Path::new(""))) }
}

fn of_gguf(file: &Path) -> Result<Chat, ModelError> {
    let (tokenizer, template) = gguf::tokenizer_of(file)?;
    let token = |id: fn(&GgufTokenizer) -> Option<u32>| match &tokenizer {
        TokenizerSource::Gguf(tokenizer) => id(tokenizer).map(|id| tokenizer.tokens[id as usize].clone()),
        _ => None,
    };
    let bos_token = token(|tokenizer| tokenizer.bos_token_id).unwrap_or_default();
    let eos_token = token(|tokenizer| tokenizer.eos_token_id).unwrap_or_default();
    Ok(Chat { template, bos_token, eos_token, tokenizer })
}

fn of_folder(folder: &Path) -> Result<Chat, ModelError> {
    const MAX_BYTES: u64 = 8 << 20;
    let read = |name: &str| {
        let file = folder.join(name);
        file.exists().then(|| read_text(&file, MAX_BYTES).map(|text| (file, text))).transpose()
    };
    let (mut template, mut tokens) = (None, [String::new(), String::new()]);
    if let Some((file, text)) = read("tokenizer_config.json")? {
        (template, tokens) = of_tokenizer_config(&text).map_err(|problem| problem.of(file))?;
    }
    if let Some((_, text)) = read("chat_template.jinja")? {
        template = Some(text);
    }
    let [bos_token, eos_token] = tokens;
    Ok(Chat { template, bos_token, eos_token, tokenizer: safetensors::find_tokenizer(folder) })
}
