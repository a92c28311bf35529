//! Chat templates: from what a system and a person say to the text that a model was trained on.
//!
//! The template is the model's own: `tokenizer.chat_template` in GGUF; `chat_template.jinja`, or `chat_template` in
//! `tokenizer_config.json`, beside safetensors. It is rendered as transformers renders it, and never unless it is asked for.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::Value as Json;

use super::error::{ModelError, Problem};
use super::file;
use super::json;
use super::tokenizer;

/// No template in use is longer.
const MAX_BYTES: u64 = 1 << 20;
/// Instructions of the template's program: a template that loops for ever ends.
const FUEL: u64 = 1_000_000;

#[derive(Clone, Debug, PartialEq)]
pub struct ChatTemplate {
    source: String,
    /// What the template calls `bos_token` and `eos_token`.
    bos_token: String,
    eos_token: String,
    /// The worker's tokenizer puts the first token in front of every text: the template need not spell it.
    bos_is_added: bool,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    pub role: &'static str,
    pub content: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{0}: the model has no chat template")]
    Absent(String),
    #[error("the chat template can't be rendered: {0}")]
    Template(String),
}

impl ChatTemplate {
    /// The one that belongs to a model: a `.gguf` file, a `.safetensors` file or a folder.
    pub fn of_model(path: &Path) -> Result<Self, ChatError> {
        let said = file::chat(path)?;
        let source = said.template.ok_or_else(|| ChatError::Absent(path.display().to_string()))?;
        let adds = |bos: &str| {
            let opened = tokenizer::open(&said.tokenizer, []).ok()?;
            Some(opened.table().spelling(opened.first_token()?) == bos.as_bytes())
        };
        let bos_is_added = adds(&said.bos_token).unwrap_or(false);
        Ok(ChatTemplate { source, bos_token: said.bos_token, eos_token: said.eos_token, bos_is_added })
    }

    /// A file with a template, in place of the model's own; the names of the special tokens are the model's, where one is
    /// given.
    pub fn of_file(template: &Path, model: Option<&Path>) -> Result<Self, ChatError> {
        let source = file::read_text(template, MAX_BYTES)?;
        let Some(model) = model else { return Ok(ChatTemplate::new(source)) };
        match ChatTemplate::of_model(model) {
            Ok(own) => Ok(ChatTemplate { source, ..own }),
            Err(ChatError::Absent(_)) => Ok(ChatTemplate::new(source)),
            Err(problem) => Err(problem),
        }
    }

    pub fn new(source: String) -> Self {
        ChatTemplate { source, bos_token: String::new(), eos_token: String::new(), bos_is_added: false }
    }

    /// The prompt after which the model answers.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let problem = |problem: minijinja::Error| ChatError::Template(described(&problem));
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(problem)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<(), minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| jiff::Zoned::now().strftime(&format).to_string());
        environment.add_template("chat", &self.source).map_err(problem)?;
        let template = environment.get_template("chat").map_err(problem)?;
        let text = template.render(context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => true,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
        });
        let text = text.map_err(problem)?;
        // Added by the tokenizer as well, it would stand there twice.
        match text.strip_prefix(self.bos_token.as_str()) {
            Some(rest) if self.bos_is_added => Ok(rest.to_owned()),
            _ => Ok(text),
        }
    }
}

/// With the line of the template, and what it raised itself.
fn described(problem: &minijinja::Error) -> String {
    let what = problem.detail().map_or_else(|| problem.kind().to_string(), str::to_owned);
    problem.line().map_or_else(|| what.clone(), |line| format!("line {line}: {what}"))
}

/// `tokenizer_config.json`: the template, and the texts of the special tokens.
pub(super) fn of_tokenizer_config(text: &str) -> Result<(Option<String>, [String; 2]), Problem> {
    let map = json::object(text).map_err(|source| Problem::Json { what: "the tokenizer's configuration", source })?;
    let template = match map.get("chat_template") {
        None | Some(Json::Null) => None,
        Some(Json::String(template)) => Some(template.clone()),
        // several, by name
        Some(Json::Array(templates)) => {
            let default = templates.iter().find(|template| template["name"] == "default");
            default.and_then(|template| template["template"].as_str()).map(str::to_owned)
        }
        Some(_) => return Err(Problem::key("chat_template", "is neither a text nor a list of named ones")),
    };
    let token = |key: &str| match map.get(key) {
        Some(Json::Object(token)) => token.get("content").and_then(Json::as_str).unwrap_or_default().to_owned(),
        Some(Json::String(token)) => token.clone(),
        _ => String::new(),
    };
    Ok((template, [token("bos_token"), token("eos_token")]))
}
