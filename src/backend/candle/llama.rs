//! Llama and Qwen2: RMS norms, rotary positions, shared heads of keys and values, gated feed-forward layers. T tokens, C
//! width, H query heads, KV heads of keys and values, D head size.

use candle_core::Tensor;
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::rope_thd;

use super::attention::{Heads, attend};
use super::pass::{Pass, PassError};
use super::weights::{Embedding, Layout, Linear, Loader};
use crate::layers::{Station, Tap};
use crate::model::error::Problem;
use crate::model::{LlamaConfiguration, ModelError};

pub struct Llama {
    embedding: Embedding, // [V, C]
    blocks: Vec<Block>,
    norm: RmsNorm,
    pub head: Linear,
    /// Of each position and pair of channels: [context, D / 2]
    cosines: Tensor,
    sines: Tensor,
    configuration: LlamaConfiguration,
}

struct RmsNorm {
    weight: Tensor, // [C]
    epsilon: f32,
}

struct Block {
    input_norm: RmsNorm,
    q: Linear, // C → H · D
    k: Linear, // C → KV · D
    v: Linear, // C → KV · D
    attention_output: Linear,
    feed_forward_norm: RmsNorm,
    gate: Linear, // C → inner
    up: Linear,   // C → inner
    down: Linear, // inner → C
}

impl RmsNorm {
    /// x / √(Σx² / C + ε) · weight
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        rms_norm(x, &self.weight, self.epsilon)
    }
}

impl Llama {
    pub fn load(
        configuration: &LlamaConfiguration,
        context: usize,
        loader: &mut Loader<'_>,
    ) -> Result<Self, ModelError> {
        let LlamaConfiguration { n_layer, n_head, n_kv_head, head_size, n_embd: c, n_inner, vocab_size, .. } =
            *configuration;
        let (queries, keys) = (n_head * head_size, n_kv_head * head_size);
        let LlamaConfiguration { qkv_bias, output_bias, .. } = *configuration;
        let epsilon = configuration.rms_norm_epsilon as f32;
        let norm = |loader: &mut Loader<'_>, name: &str| -> Result<RmsNorm, ModelError> {
            Ok(RmsNorm { weight: loader.dense(&format!("{name}.weight"), &[c])?, epsilon })
        };
        let embedding = loader.embedding("embed_tokens.weight", [vocab_size, c])?;
        let mut blocks = Vec::new();
        for layer in 0..n_layer {
            let name = |part: &str| format!("layers.{layer}.{part}");
            let input_norm = norm(loader, &name("input_layernorm"))?;
            let feed_forward_norm = norm(loader, &name("post_attention_layernorm"))?;
            let mut linear = |part: &str, sizes, bias| loader.linear(&name(part), sizes, Layout::OutIn, bias);
            blocks.push(Block {
                input_norm,
                q: linear("self_attn.q_proj", [c, queries], qkv_bias)?,
                k: linear("self_attn.k_proj", [c, keys], qkv_bias)?,
                v: linear("self_attn.v_proj", [c, keys], qkv_bias)?,
                attention_output: linear("self_attn.o_proj", [queries, c], output_bias)?,
                feed_forward_norm,
                gate: linear("mlp.gate_proj", [c, n_inner], false)?,
                up: linear("mlp.up_proj", [c, n_inner], false)?,
                down: linear("mlp.down_proj", [n_inner, c], false)?,
            });
        }
        let norm = norm(loader, "norm")?;
        let head = loader.head(&embedding, [vocab_size, c])?;
        let turn = |function: fn(f64) -> f64| rotations(configuration, context, function, loader);
        let (cosines, sines) = (turn(f64::cos)?, turn(f64::sin)?);
        Ok(Self { embedding, blocks, norm, head, cosines, sines, configuration: configuration.clone() })
    }

    /// What the head reads: [T, C]
    pub fn forward<T: Tap>(&self, tokens: &Tensor, pass: &mut Pass<'_, T>) -> Result<Tensor, PassError> {
        let mut x = self.embedding.forward(tokens)?; // [T, C]
        pass.show(Station::Embedding, 0, &x)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = self.attention(block, layer, &x, pass)?;
            x = feed_forward(block, layer, &x, pass)?;
        }
        let normed = self.norm.forward(&x)?;
        pass.show(Station::FinalLayerNorm, 0, &normed)?;
        Ok(normed)
    }

    /// x + attention(norm(x))
    fn attention<T: Tap>(
        &self,
        block: &Block,
        layer: usize,
        x: &Tensor,
        pass: &mut Pass<'_, T>,
    ) -> Result<Tensor, PassError> {
        let LlamaConfiguration { n_head, n_kv_head, head_size, .. } = self.configuration;
        let (count, start) = (x.dim(0)?, pass.start());
        let normed = block.input_norm.forward(x)?;
        pass.show(Station::LayerNorm1, layer, &normed)?;
        let q = pass.apply(&block.q, &normed)?.reshape((count, n_head, head_size))?; // [T, H, D]
        let k = pass.apply(&block.k, &normed)?.reshape((count, n_kv_head, head_size))?; // [T, KV, D]
        let v = pass.apply(&block.v, &normed)?.reshape((count, n_kv_head, head_size))?; // [T, KV, D]
        for (station, tensor) in [(Station::Query, &q), (Station::Key, &k), (Station::Value, &v)] {
            pass.show(station, layer, tensor)?;
        }

        // channel i of a head turns with channel i + D/2
        let cosines = self.cosines.narrow(0, start, count)?;
        let sines = self.sines.narrow(0, start, count)?;
        let turned = |heads: &Tensor| rope_thd(&heads.unsqueeze(0)?, &cosines, &sines)?.squeeze(0);
        let (q, k) = (turned(&q)?, turned(&k)?);
        pass.show(Station::QueryRotated, layer, &q)?;
        pass.show(Station::KeyRotated, layer, &k)?;

        let merged = attend(&Heads { q, k, v }, layer, pass)?;
        let stations = [Station::AttentionOutput, Station::AttentionResidual];
        pass.add(x, (&block.attention_output, &merged), layer, stations)
    }
}

/// x + down(silu(gate(n)) · up(n)), n = norm(x)
fn feed_forward<T: Tap>(block: &Block, layer: usize, x: &Tensor, pass: &mut Pass<'_, T>) -> Result<Tensor, PassError> {
    let normed = block.feed_forward_norm.forward(x)?;
    pass.show(Station::LayerNorm2, layer, &normed)?;
    let gate = pass.apply(&block.gate, &normed)?; // [T, inner]
    pass.show(Station::Gate, layer, &gate)?;
    let up = pass.apply(&block.up, &normed)?; // [T, inner]
    pass.show(Station::Up, layer, &up)?;
    let product = silu(&gate)?.mul(&up)?;
    pass.show(Station::GatedProduct, layer, &product)?;
    let x = pass.add(x, (&block.down, &product), layer, [Station::FeedForwardOutput, Station::Block])?;
    pass.show(Station::BlockOutput, layer, &x)?;
    Ok(x)
}

/// The cosine or sine of each position's turn of each pair, computed in f64: [context, D / 2]
fn rotations(
    configuration: &LlamaConfiguration,
    context: usize,
    function: fn(f64) -> f64,
    loader: &Loader<'_>,
) -> Result<Tensor, ModelError> {
    let frequencies = configuration.rotary_frequencies(); // [D / 2]
    let of = |position: usize| frequencies.iter().map(move |frequency| function(position as f64 * frequency) as f32);
    let values: Vec<f32> = (0..context).flat_map(of).collect();
    Tensor::from_vec(values, (context, frequencies.len()), loader.device())
        .map_err(|error| loader.problem(Problem::key("rope", format!("can't be brought to the device: {error}"))))
}
