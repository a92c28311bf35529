//! From the text of a `config.json`. Settings that change the computation and are not implemented are refused by name.

mod gpt2;
mod llama;

use serde_json::{Map, Value};

use super::{Configuration, LlamaArchitecture};
use crate::model::error::Problem;
use crate::model::json;

/// What a `config.json` says: the sizes, and whether a file without a head of its own is complete.
#[derive(Clone, Debug)]
pub struct ConfigurationFile {
    pub configuration: Configuration,
    /// Every id that ends a text: `eos_token_id` may be a list.
    pub end_of_text: Vec<u32>,
    pub tied: bool,
}

impl ConfigurationFile {
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let map = json::object(text).map_err(|source| Problem::Json { what: "the configuration", source })?;
        let keys = Keys { map: &map, within: "" };
        let architecture = Architecture::of(&keys)?;
        if keys.present("quantization_config").is_some() {
            return Err(Problem::key("quantization_config", "is set, which is not implemented for safetensors"));
        }
        let vocab_size = keys.required_size("vocab_size")?;
        // Small models carry the ids of the large one along (50256, where nobody said otherwise): an id outside the
        // vocabulary is never sampled, and so ends nothing.
        let token_ids = |key: &str| -> Result<Vec<u32>, Problem> {
            Ok(keys.token_ids(key)?.into_iter().filter(|&id| (id as usize) < vocab_size).collect())
        };
        let end_of_text = token_ids("eos_token_id")?;
        let tokens =
            Tokens { vocab_size, eos: end_of_text.first().copied(), bos: token_ids("bos_token_id")?.first().copied() };
        let (configuration, tied_unless_said) = match architecture {
            Architecture::Gpt2 => (gpt2::read(&keys, tokens)?.into(), true),
            Architecture::Llama(which) => (llama::read(&keys, which, tokens)?.into(), false),
        };
        let tied = keys.flag("tie_word_embeddings")?.unwrap_or(tied_unless_said);
        Ok(ConfigurationFile { configuration, end_of_text, tied })
    }
}

/// What all families say of their vocabulary.
#[derive(Clone, Copy)]
struct Tokens {
    vocab_size: usize,
    eos: Option<u32>,
    bos: Option<u32>,
}

#[derive(Clone, Copy)]
enum Architecture {
    Gpt2,
    Llama(LlamaArchitecture),
}

impl Architecture {
    /// By `model_type`, and by the classes that the model was saved from.
    const KNOWN: [(&str, [&str; 2], Architecture); 3] = [
        ("gpt2", ["GPT2LMHeadModel", "GPT2Model"], Architecture::Gpt2),
        ("llama", ["LlamaForCausalLM", "LlamaModel"], Architecture::Llama(LlamaArchitecture::Llama)),
        ("qwen2", ["Qwen2ForCausalLM", "Qwen2Model"], Architecture::Llama(LlamaArchitecture::Qwen2)),
    ];

    fn of(keys: &Keys) -> Result<Self, Problem> {
        let unknown = |value: &Value| Problem::UnknownArchitecture {
            name: value.as_str().map_or_else(|| shortened(value), |name| shortened(&name)),
        };
        let classes = match keys.present("architectures") {
            Some(Value::Array(classes)) => classes.as_slice(),
            Some(_) => return Err(Problem::key("architectures", "is not a list")),
            None => &[],
        };
        let known = match (keys.present("model_type"), classes.first()) {
            (Some(value), _) => Self::KNOWN.iter().find(|(name, ..)| value == name).ok_or_else(|| unknown(value))?,
            (None, Some(class)) => {
                let found = Self::KNOWN.iter().find(|(_, known, _)| known.iter().any(|known| class == known));
                found.ok_or_else(|| unknown(class))?
            }
            (None, None) => return Err(Problem::MissingKey { key: "model_type".into() }),
        };
        match classes.iter().find(|class| !known.1.iter().any(|known| class == known)) {
            Some(class) => Err(unknown(class)),
            None => Ok(known.2),
        }
    }
}

/// The keys of one object; `within` names it in messages, where it is not the whole file.
struct Keys<'a> {
    map: &'a Map<String, Value>,
    within: &'static str,
}

impl<'a> Keys<'a> {
    /// A key that is there and not null.
    fn present(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn problem(&self, key: &str, why: impl Into<String>) -> Problem {
        Problem::key(format!("{}{key}", self.within), why)
    }

    fn missing(&self, key: &str) -> Problem {
        Problem::MissingKey { key: format!("{}{key}", self.within) }
    }

    fn size(&self, key: &str) -> Result<Option<usize>, Problem> {
        let Some(value) = self.present(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| self.problem(key, format!("is {}, not a size", shortened(value))))
    }

    fn required_size(&self, key: &str) -> Result<usize, Problem> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Problem> {
        let Some(value) = self.present(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.problem(key, "is not a number"))
    }

    fn required_number(&self, key: &str) -> Result<f64, Problem> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        let Some(value) = self.present(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.problem(key, format!("is {}, not a text", shortened(value))))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.present(key) else { return Ok(None) };
        let flag = value.as_bool();
        flag.map(Some).ok_or_else(|| self.problem(key, format!("is {}, not true or false", shortened(value))))
    }

    fn object(&self, key: &str, within: &'static str) -> Result<Option<Keys<'a>>, Problem> {
        let Some(value) = self.present(key) else { return Ok(None) };
        let map = value.as_object().ok_or_else(|| self.problem(key, "is not an object"))?;
        Ok(Some(Keys { map, within }))
    }

    /// One id, or a list of them; none where the key is absent.
    fn token_ids(&self, key: &str) -> Result<Vec<u32>, Problem> {
        let Some(value) = self.present(key) else { return Ok(Vec::new()) };
        let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids: Option<Vec<u32>> = ids.iter().map(id).collect();
        ids.ok_or_else(|| self.problem(key, format!("is {}, neither a token id nor a list of them", shortened(value))))
    }

    /// Settings that would make the forward pass another function.
    fn check_plain(&self, plain: &[(&str, bool)]) -> Result<(), Problem> {
        for &(key, implemented) in plain {
            if let Some(set) = self.flag(key)?.filter(|&set| set != implemented) {
                return Err(self.problem(key, format!("is {set}, which is not implemented")));
            }
        }
        Ok(())
    }

    /// The activation's names that mean the one function that is implemented.
    fn check_activation(&self, key: &str, known: &[&str]) -> Result<(), Problem> {
        match self.present(key) {
            Some(activation) if !known.iter().any(|known| activation == known) => {
                Err(self.problem(key, format!("is {}; only {} is known", shortened(activation), known[0])))
            }
            _ => Ok(()),
        }
    }
}

/// Enough of a value to recognise it in a message.
fn shortened(value: &impl ToString) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
