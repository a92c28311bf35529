//! GPT-2.

use serde_json::{Map, Value};

use super::{MAX_HEADS, MAX_INNER, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, check_epsilon, check_ids, check_sizes};
use crate::model::error::Problem;
use crate::model::json;

#[derive(Clone, Debug, PartialEq)]
pub struct Gpt2Configuration {
    /// L, the number of blocks.
    pub n_layer: usize,
    /// H; divides C.
    pub n_head: usize,
    /// C, the width.
    pub n_embd: usize,
    /// The width inside the feed-forward layers, 4 C as a rule.
    pub n_inner: usize,
    /// The longest context.
    pub n_ctx: usize,
    /// V.
    pub vocab_size: usize,
    /// Inside the root of every layer norm.
    pub layer_norm_epsilon: f64,
    /// The end of text, inside the vocabulary; the first where there are several.
    pub eos_token_id: Option<u32>,
    pub bos_token_id: Option<u32>,
}

/// Learned positions: each is a row of a matrix.
const MAX_CONTEXT: usize = 1 << 20;

impl Gpt2Configuration {
    /// D, the width of one head.
    pub fn head_size(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Every tensor of the model with its shape, by Hugging Face's names without the `transformer.` prefix, in the order of
    /// computation. The head is `wte.weight` again, and not listed.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.n_embd, self.n_inner);
        let mut tensors = vec![
            ("wte.weight".to_string(), vec![self.vocab_size, width]),
            ("wpe.weight".to_string(), vec![self.n_ctx, width]),
        ];
        for layer in 0..self.n_layer {
            let mut add = |name: &str, shape: &[usize]| tensors.push((format!("h.{layer}.{name}"), shape.to_vec()));
            add("ln_1.weight", &[width]);
            add("ln_1.bias", &[width]);
            add("attn.c_attn.weight", &[width, 3 * width]);
            add("attn.c_attn.bias", &[3 * width]);
            add("attn.c_proj.weight", &[width, width]);
            add("attn.c_proj.bias", &[width]);
            add("ln_2.weight", &[width]);
            add("ln_2.bias", &[width]);
            add("mlp.c_fc.weight", &[width, inner]);
            add("mlp.c_fc.bias", &[inner]);
            add("mlp.c_proj.weight", &[inner, width]);
            add("mlp.c_proj.bias", &[width]);
        }
        tensors.push(("ln_f.weight".into(), vec![width]));
        tensors.push(("ln_f.bias".into(), vec![width]));
        tensors
    }

    /// The same configuration, if a model can be built of it.
    pub fn checked(self) -> Result<Self, Problem> {
        check_sizes([
            ("n_layer", self.n_layer, MAX_LAYERS),
            ("n_head", self.n_head, MAX_HEADS),
            ("n_embd", self.n_embd, MAX_WIDTH),
            ("n_inner", self.n_inner, MAX_INNER),
            ("n_ctx", self.n_ctx, MAX_CONTEXT),
            ("vocab_size", self.vocab_size, MAX_VOCABULARY),
        ])?;
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(Problem::key(
                "n_head",
                format!("is {}, which does not divide n_embd {}", self.n_head, self.n_embd),
            ));
        }
        check_epsilon("layer_norm_epsilon", self.layer_norm_epsilon)?;
        check_ids(self.vocab_size, self.eos_token_id, self.bos_token_id)?;
        Ok(self)
    }

    /// From the text of a `config.json`. Settings that change the computation and are not implemented are refused by name.
    pub fn from_json(text: &str) -> Result<Gpt2File, Problem> {
        let map = json::object(text).map_err(|source| Problem::Json { what: "the configuration", source })?;
        check_architecture(&map)?;
        check_computation(&map)?;

        let n_embd = required_size(&map, "n_embd")?;
        let vocab_size = required_size(&map, "vocab_size")?;
        // Small models carry the ids of the large one along (50256, where nobody said otherwise): an id outside the
        // vocabulary is never sampled, and so ends nothing.
        let token_ids = |key: &str| -> Result<Vec<u32>, Problem> {
            Ok(token_ids(&map, key)?.into_iter().filter(|&id| (id as usize) < vocab_size).collect())
        };
        let end_of_text = token_ids("eos_token_id")?;
        let configuration = Gpt2Configuration {
            n_layer: required_size(&map, "n_layer")?,
            n_head: required_size(&map, "n_head")?,
            n_embd,
            n_inner: match size(&map, "n_inner")? {
                Some(inner) => inner,
                None => n_embd.checked_mul(4).ok_or_else(|| Problem::Overflow { what: "4 times `n_embd`".into() })?,
            },
            n_ctx: match size(&map, "n_positions")? {
                Some(positions) => positions,
                None => required_size(&map, "n_ctx")?,
            },
            vocab_size,
            layer_norm_epsilon: match present(&map, "layer_norm_epsilon") {
                None => 1e-5,
                Some(value) => value.as_f64().ok_or_else(|| Problem::key("layer_norm_epsilon", "is not a number"))?,
            },
            eos_token_id: end_of_text.first().copied(),
            bos_token_id: token_ids("bos_token_id")?.first().copied(),
        };
        Ok(Gpt2File {
            configuration: configuration.checked()?,
            end_of_text,
            tied: flag(&map, "tie_word_embeddings")?.unwrap_or(true),
        })
    }
}

/// What a `config.json` says: the sizes, and whether a file without a head of its own is complete.
#[derive(Clone, Debug)]
pub struct Gpt2File {
    pub configuration: Gpt2Configuration,
    /// Every id that ends a text: `eos_token_id` may be a list.
    pub end_of_text: Vec<u32>,
    pub tied: bool,
}

/// A key that is there and not null.
fn present<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).filter(|value| !value.is_null())
}

fn size(map: &Map<String, Value>, key: &str) -> Result<Option<usize>, Problem> {
    let Some(value) = present(map, key) else { return Ok(None) };
    let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
    size.map(Some).ok_or_else(|| Problem::key(key, format!("is {}, not a size", shortened(value))))
}

fn required_size(map: &Map<String, Value>, key: &str) -> Result<usize, Problem> {
    size(map, key)?.ok_or_else(|| Problem::MissingKey { key: key.into() })
}

fn flag(map: &Map<String, Value>, key: &str) -> Result<Option<bool>, Problem> {
    let Some(value) = present(map, key) else { return Ok(None) };
    value.as_bool().map(Some).ok_or_else(|| Problem::key(key, format!("is {}, not true or false", shortened(value))))
}

/// One id, or a list of them; none where the key is absent.
fn token_ids(map: &Map<String, Value>, key: &str) -> Result<Vec<u32>, Problem> {
    let Some(value) = present(map, key) else { return Ok(Vec::new()) };
    let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = ids.iter().map(id).collect();
    ids.ok_or_else(|| Problem::key(key, format!("is {}, neither a token id nor a list of them", shortened(value))))
}

fn check_architecture(map: &Map<String, Value>) -> Result<(), Problem> {
    const CLASSES: [&str; 2] = ["GPT2LMHeadModel", "GPT2Model"];
    let unknown = |value: &Value| Problem::UnknownArchitecture {
        name: value.as_str().map_or_else(|| shortened(value), |name| shortened(&name)),
    };
    let model_type = present(map, "model_type");
    if let Some(value) = model_type.filter(|value| *value != "gpt2") {
        return Err(unknown(value));
    }
    match present(map, "architectures") {
        Some(Value::Array(classes)) => {
            match classes.iter().find(|class| !CLASSES.iter().any(|known| *class == known)) {
                Some(class) => Err(unknown(class)),
                None => Ok(()),
            }
        }
        Some(_) => Err(Problem::key("architectures", "is not a list")),
        None if model_type.is_none() => Err(Problem::MissingKey { key: "model_type".into() }),
        None => Ok(()),
    }
}

/// Settings that would make the forward pass another function.
fn check_computation(map: &Map<String, Value>) -> Result<(), Problem> {
    if let Some(activation) = present(map, "activation_function") {
        // The second name is the same function: the tanh approximation.
        if activation != "gelu_new" && activation != "gelu_pytorch_tanh" {
            return Err(Problem::key(
                "activation_function",
                format!("is {}; only gelu_new is known", shortened(activation)),
            ));
        }
    }
    let plain = [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("reorder_and_upcast_attn", false),
        ("add_cross_attention", false),
    ];
    for (key, implemented) in plain {
        if let Some(set) = flag(map, key)?.filter(|&set| set != implemented) {
            return Err(Problem::key(key, format!("is {set}, which is not implemented")));
        }
    }
    if present(map, "quantization_config").is_some() {
        return Err(Problem::key("quantization_config", "is set, which is not implemented for safetensors"));
    }
    Ok(())
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
