//! GPT-2. T tokens, C width, H heads, D head size.

use candle_core::Tensor;
use candle_nn::ops::layer_norm;

use super::attention::{Heads, attend};
use super::pass::{Pass, PassError};
use super::weights::{Embedding, Layout, Linear, Loader};
use crate::layers::{Station, Tap};
use crate::model::{Gpt2Configuration, ModelError};

pub struct Gpt2 {
    token_embedding: Embedding, // [V, C]
    position_embedding: Tensor, // [context, C]
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    pub head: Linear,
    n_head: usize,
}

struct LayerNorm {
    weight: Tensor, // [C]
    bias: Tensor,   // [C]
    epsilon: f32,
}

struct Block {
    ln_1: LayerNorm,
    attention: Linear, // C → 3C: q, k, v
    attention_output: Linear,
    ln_2: LayerNorm,
    hidden: Linear, // C → 4C
    output: Linear, // 4C → C
}

impl LayerNorm {
    /// (x − mean) / √(variance + ε) · weight + bias
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }
}

impl Gpt2 {
    pub fn load(configuration: &Gpt2Configuration, loader: &mut Loader<'_>) -> Result<Self, ModelError> {
        let Gpt2Configuration { n_layer, n_head, n_embd: c, n_inner, n_ctx, vocab_size, .. } = *configuration;
        let epsilon = configuration.layer_norm_epsilon as f32;
        let token_embedding = loader.embedding("wte.weight", [vocab_size, c])?;
        let position_embedding = loader.dense("wpe.weight", &[n_ctx, c])?;
        let norm = |loader: &mut Loader<'_>, name: &str| -> Result<LayerNorm, ModelError> {
            let weight = loader.dense(&format!("{name}.weight"), &[c])?;
            Ok(LayerNorm { weight, bias: loader.dense(&format!("{name}.bias"), &[c])?, epsilon })
        };
        let mut blocks = Vec::new();
        for layer in 0..n_layer {
            let name = |part: &str| format!("h.{layer}.{part}");
            let ln_1 = norm(loader, &name("ln_1"))?;
            let ln_2 = norm(loader, &name("ln_2"))?;
            let mut linear = |part: &str, sizes| loader.linear(&name(part), sizes, Layout::InOut, true);
            blocks.push(Block {
                ln_1,
                attention: linear("attn.c_attn", [c, 3 * c])?,
                attention_output: linear("attn.c_proj", [c, c])?,
                ln_2,
                hidden: linear("mlp.c_fc", [c, n_inner])?,
                output: linear("mlp.c_proj", [n_inner, c])?,
            });
        }
        let ln_f = norm(loader, "ln_f")?;
        let head = loader.head(&token_embedding, [vocab_size, c])?;
        Ok(Self { token_embedding, position_embedding, blocks, ln_f, head, n_head })
    }

    /// What the head reads: [T, C]
    pub fn forward<T: Tap>(&self, tokens: &Tensor, pass: &mut Pass<'_, T>) -> Result<Tensor, PassError> {
        let positions = self.position_embedding.narrow(0, pass.start(), tokens.dim(0)?)?; // [T, C]
        let mut x = self.token_embedding.forward(tokens)?.add(&positions)?; // [T, C]
        pass.show(Station::Embedding, 0, &x)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = self.attention(block, layer, &x, pass)?;
            x = feed_forward(block, layer, &x, pass)?;
        }
        let normed = self.ln_f.forward(&x)?;
        pass.show(Station::FinalLayerNorm, 0, &normed)?;
        Ok(normed)
    }

    /// x + attention(ln_1(x))
    fn attention<T: Tap>(
        &self,
        block: &Block,
        layer: usize,
        x: &Tensor,
        pass: &mut Pass<'_, T>,
    ) -> Result<Tensor, PassError> {
        let (count, width) = x.dims2()?;
        let normed = block.ln_1.forward(x)?;
        pass.show(Station::LayerNorm1, layer, &normed)?;

        let qkv = pass.apply(&block.attention, &normed)?; // [T, 3C]
        let qkv = qkv.reshape((count, 3, self.n_head, width / self.n_head))?;
        let part = |index: usize| qkv.narrow(1, index, 1)?.squeeze(1); // [T, H, D]
        let heads = Heads { q: part(0)?, k: part(1)?, v: part(2)? };
        for (station, tensor) in [(Station::Query, &heads.q), (Station::Key, &heads.k), (Station::Value, &heads.v)] {
            pass.show(station, layer, tensor)?;
        }
        let merged = attend(&heads, layer, pass)?;
        let stations = [Station::AttentionOutput, Station::AttentionResidual];
        pass.add(x, (&block.attention_output, &merged), layer, stations)
    }
}

/// x + output(gelu(hidden(ln_2(x))))
fn feed_forward<T: Tap>(block: &Block, layer: usize, x: &Tensor, pass: &mut Pass<'_, T>) -> Result<Tensor, PassError> {
    let normed = block.ln_2.forward(x)?;
    pass.show(Station::LayerNorm2, layer, &normed)?;
    let hidden = pass.apply(&block.hidden, &normed)?; // [T, 4C]
    pass.show(Station::FeedForwardHidden, layer, &hidden)?;
    let activated = hidden.gelu()?; // the tanh form
    pass.show(Station::Gelu, layer, &activated)?;
    let x = pass.add(x, (&block.output, &activated), layer, [Station::FeedForwardOutput, Station::Block])?;
    pass.show(Station::BlockOutput, layer, &x)?;
    Ok(x)
}
