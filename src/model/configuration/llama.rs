//! The family of RMSNorm, rotary positions and gated feed-forward layers: Llama and Qwen2.

use super::{MAX_HEADS, MAX_INNER, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, check_epsilon, check_ids, check_sizes};
use crate::model::error::Problem;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlamaArchitecture {
    Llama,
    Qwen2,
}

impl LlamaArchitecture {
    /// In GGUF and in `config.json` alike.
    pub fn name(self) -> &'static str {
        match self {
            LlamaArchitecture::Llama => "llama",
            LlamaArchitecture::Qwen2 => "qwen2",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfiguration {
    pub architecture: LlamaArchitecture,
    /// L, the number of blocks.
    pub n_layer: usize,
    /// H, the heads of the queries.
    pub n_head: usize,
    /// KV, the heads of keys and values; divides H. Query head h attends with head h / (H / KV).
    pub n_kv_head: usize,
    /// D, the width of one head; even. H · D need not be C.
    pub head_size: usize,
    /// C, the width.
    pub n_embd: usize,
    /// The width inside the feed-forward layers.
    pub n_inner: usize,
    /// The longest context.
    pub n_ctx: usize,
    /// V.
    pub vocab_size: usize,
    /// Inside the root of every norm.
    pub rms_norm_epsilon: f64,
    /// The base of the rotary frequencies.
    pub rope_theta: f64,
    pub rope_scaling: RopeScaling,
    /// q, k and v have biases: Qwen2's always, Llama's where the file says so.
    pub qkv_bias: bool,
    /// And so has the projection after attention: Llama's, with `attention_bias`.
    pub output_bias: bool,
    /// The end of text, inside the vocabulary; the first where there are several.
    pub eos_token_id: Option<u32>,
    pub bos_token_id: Option<u32>,
}

/// How the rotary frequencies are stretched for contexts longer than those of the training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    None,
    /// All of them divided by one factor.
    Linear {
        factor: f64,
    },
    /// Low frequencies divided, high ones left, and those between mixed: Llama 3.1 and later.
    Llama3 {
        factor: f64,
        low_frequency_factor: f64,
        high_frequency_factor: f64,
        original_context: usize,
    },
    /// Each frequency has a divisor of its own, as GGUF's `rope_freqs.weight` gives them: `[D / 2]`.
    Divisors(Vec<f32>),
}

/// What no model exceeds in its context: Llama 4's ten million.
const MAX_CONTEXT: usize = 1 << 24;
const MAX_HEAD_SIZE: usize = 1 << 12;

impl LlamaConfiguration {
    /// Every tensor of the model with its shape, by Hugging Face's names without the `model.` prefix, in the order of
    /// computation; matrices are `[out, in]`. The head is not listed: where it is tied it is `embed_tokens.weight` again.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.n_embd, self.n_inner);
        let (queries, keys) = (self.n_head * self.head_size, self.n_kv_head * self.head_size);
        let mut tensors = vec![("embed_tokens.weight".to_string(), vec![self.vocab_size, width])];
        for layer in 0..self.n_layer {
            let mut add =
                |name: &str, shape: &[usize]| tensors.push((format!("layers.{layer}.{name}"), shape.to_vec()));
            add("input_layernorm.weight", &[width]);
            for (name, rows) in [("q", queries), ("k", keys), ("v", keys)] {
                add(&format!("self_attn.{name}_proj.weight"), &[rows, width]);
                if self.qkv_bias {
                    add(&format!("self_attn.{name}_proj.bias"), &[rows]);
                }
            }
            add("self_attn.o_proj.weight", &[width, queries]);
            if self.output_bias {
                add("self_attn.o_proj.bias", &[width]);
            }
            add("post_attention_layernorm.weight", &[width]);
            add("mlp.gate_proj.weight", &[inner, width]);
            add("mlp.up_proj.weight", &[inner, width]);
            add("mlp.down_proj.weight", &[width, inner]);
        }
        tensors.push(("norm.weight".into(), vec![width]));
        tensors
    }

    /// By how much each pair of a head's channels (i and i + D/2) is turned from one position to the next, in radians:
    /// `[D / 2]`.
    pub fn rotary_frequencies(&self) -> Vec<f64> {
        let pairs = self.head_size / 2;
        let plain = (0..pairs).map(|pair| self.rope_theta.powf(-(pair as f64) / pairs as f64));
        plain.enumerate().map(|(pair, frequency)| self.rope_scaling.scaled(pair, frequency)).collect()
    }

    /// The same configuration, if a model can be built of it.
    pub fn checked(self) -> Result<Self, Problem> {
        check_sizes([
            ("n_layer", self.n_layer, MAX_LAYERS),
            ("n_head", self.n_head, MAX_HEADS),
            ("n_kv_head", self.n_kv_head, MAX_HEADS),
            ("head_size", self.head_size, MAX_HEAD_SIZE),
            ("n_embd", self.n_embd, MAX_WIDTH),
            ("n_inner", self.n_inner, MAX_INNER),
            ("n_ctx", self.n_ctx, MAX_CONTEXT),
            ("vocab_size", self.vocab_size, MAX_VOCABULARY),
        ])?;
        if !self.n_head.is_multiple_of(self.n_kv_head) {
            return Err(Problem::key(
                "n_kv_head",
                format!("is {}, which does not divide n_head {}", self.n_kv_head, self.n_head),
            ));
        }
        if !self.head_size.is_multiple_of(2) {
            return Err(Problem::key("head_size", format!("is {}, which has no halves to turn", self.head_size)));
        }
        check_epsilon("rms_norm_epsilon", self.rms_norm_epsilon)?;
        if !(self.rope_theta >= 1.0 && self.rope_theta.is_finite()) {
            return Err(Problem::key("rope_theta", format!("is {}, not 1 or more", self.rope_theta)));
        }
        self.rope_scaling.check(self.head_size)?;
        check_ids(self.vocab_size, self.eos_token_id, self.bos_token_id)?;
        Ok(self)
    }
}

impl RopeScaling {
    fn scaled(&self, pair: usize, frequency: f64) -> f64 {
        match self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Divisors(divisors) => frequency / f64::from(divisors[pair]),
            &RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context,
            } => {
                // how often this pair turns around in the context of the training
                let turns = original_context as f64 * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
        }
    }

    fn check(&self, head_size: usize) -> Result<(), Problem> {
        let positive = |key: &str, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Problem::key(key, format!("is {value}, not a positive number"))),
        };
        match self {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", *factor),
            &RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context,
            } => {
                positive("rope_scaling.factor", factor)?;
                positive("rope_scaling.low_freq_factor", low)?;
                positive("rope_scaling.high_freq_factor", high)?;
                check_sizes([("rope_scaling.original_max_position_embeddings", original_context, MAX_CONTEXT)])?;
                if high <= low {
                    return Err(Problem::key("rope_scaling.high_freq_factor", format!("is {high}, not above {low}")));
                }
                Ok(())
            }
            RopeScaling::Divisors(divisors) if divisors.len() != head_size / 2 => {
                let found = vec![divisors.len() as u64];
                Err(Problem::Shape { tensor: "rope_freqs.weight".into(), expected: vec![head_size / 2], found })
            }
            RopeScaling::Divisors(divisors) => {
                divisors.iter().try_for_each(|divisor| positive("rope_freqs.weight", f64::from(*divisor)))
            }
        }
    }
}
