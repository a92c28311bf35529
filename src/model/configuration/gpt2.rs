//! GPT-2.

use super::{MAX_HEADS, MAX_INNER, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, check_epsilon, check_ids, check_sizes};
use crate::model::error::Problem;

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
}
