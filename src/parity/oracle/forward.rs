//! The operations in their order, and the name that each result has in a capture.

use std::collections::BTreeMap;

use super::Tensor;
use super::operations::{add, causal_mask, embed, gelu, head, heads, layer_norm, linear, merge, scores, softmax};
use crate::model::{Gpt2Configuration, ModelError, Weights};

/// Every station of every layer, under the names of a capture; layers other than 0 with `.L01`, `.L02`, …
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub tensors: BTreeMap<String, Tensor>,
}

impl Trace {
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    fn keep(&mut self, name: &str, layer: usize, tensor: &Tensor) {
        let name = if layer == 0 { name.to_owned() } else { format!("{name}.L{layer:02}") };
        self.tensors.insert(name, tensor.clone());
    }
}

/// The pass over all tokens from position 0. Tokens must be in the vocabulary, and fit the context.
pub fn trace(configuration: &Gpt2Configuration, weights: &Weights, tokens: &[u32]) -> Result<Trace, ModelError> {
    let Gpt2Configuration { n_layer, n_head, n_embd: c, n_inner, n_ctx, vocab_size, layer_norm_epsilon, .. } =
        *configuration;
    let head_size = c / n_head;
    let mut trace = Trace::default();
    let wte = weights.get("wte.weight", &[vocab_size, c])?;
    let wpe = weights.get("wpe.weight", &[n_ctx, c])?;

    let mut x = embed(tokens, &wte, &wpe); // [T, C]
    trace.keep("cp00.embed", 0, &x);
    for layer in 0..n_layer {
        let get = |name: &str, shape: &[usize]| weights.get(&format!("h.{layer}.{name}"), shape);
        let norm = |x: &Tensor, name: &str| -> Result<Tensor, ModelError> {
            let (weight, bias) = (get(&format!("{name}.weight"), &[c])?, get(&format!("{name}.bias"), &[c])?);
            Ok(layer_norm(x, &weight, &bias, layer_norm_epsilon))
        };
        let project = |x: &Tensor, name: &str, inputs: usize, outputs: usize| -> Result<Tensor, ModelError> {
            let weight = get(&format!("{name}.weight"), &[inputs, outputs])?;
            Ok(linear(x, &weight, &get(&format!("{name}.bias"), &[outputs])?))
        };

        let normed = norm(&x, "ln_1")?; // [T, C]
        trace.keep("cp01.ln_1", layer, &normed);
        let qkv = project(&normed, "attn.c_attn", c, 3 * c)?; // [T, 3C]
        let [q, k, v] = [0, c, 2 * c].map(|first| heads(&qkv, first, n_head, head_size)); // [T, H, D]
        trace.keep("cp02.q", layer, &q);
        trace.keep("cp02.k", layer, &k);
        trace.keep("cp02.v", layer, &v);
        trace.keep("cp03.step0.k", layer, &k);
        trace.keep("cp03.step0.v", layer, &v);
        let scores = scores(&q, &k); // [H, T, T]
        trace.keep("cp04.scores", layer, &scores);
        let masked = causal_mask(&scores);
        trace.keep("cp04.scores_masked", layer, &masked);
        let probabilities = softmax(&masked); // [H, T, T]
        trace.keep("cp05.probs", layer, &probabilities);
        let merged = merge(&probabilities, &v); // [T, C]
        trace.keep("cp05.merged", layer, &merged);
        let attention = project(&merged, "attn.c_proj", c, c)?; // [T, C]
        trace.keep("cp05.attn_out", layer, &attention);
        let h = add(&x, &attention); // [T, C]
        trace.keep("cp07.attn_residual", layer, &h);

        let normed = norm(&h, "ln_2")?; // [T, C]
        trace.keep("cp06.ln_2", layer, &normed);
        let hidden = project(&normed, "mlp.c_fc", c, n_inner)?; // [T, 4C]
        trace.keep("cp06.c_fc", layer, &hidden);
        let activated = gelu(&hidden);
        trace.keep("cp06.gelu", layer, &activated);
        let mlp = project(&activated, "mlp.c_proj", n_inner, c)?; // [T, C]
        trace.keep("cp06.c_proj", layer, &mlp);
        x = add(&h, &mlp); // [T, C]
        trace.keep("cp07.block", layer, &x);
        trace.tensors.insert(format!("cp08.block.{layer:02}"), x.clone());
    }
    let (weight, bias) = (weights.get("ln_f.weight", &[c])?, weights.get("ln_f.bias", &[c])?);
    let normed = layer_norm(&x, &weight, &bias, layer_norm_epsilon); // [T, C]
    trace.keep("cp08.ln_f", 0, &normed);
    let logits = head(&normed, &wte); // [T, V]
    trace.keep("cp08.logits", 0, &logits);
    let last = &logits.values[(tokens.len() - 1) * vocab_size..];
    trace.keep("cp09.logits", 0, &Tensor { shape: vec![vocab_size], values: last.to_vec() });
    Ok(trace)
}
