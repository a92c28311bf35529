//! Where a forward pass shows its tensors. A type parameter, not a branch: with [`NoTap`] nothing of it is compiled in.

/// The places that a capture knows, in the order in which a pass comes by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Station {
    Embedding,
    LayerNorm1,
    Query,
    Key,
    Value,
    /// Queries and keys turned by their positions, in architectures that do so.
    QueryRotated,
    KeyRotated,
    CachedKeys,
    CachedValues,
    Scores,
    ScoresMasked,
    Probabilities,
    Merged,
    AttentionOutput,
    AttentionResidual,
    LayerNorm2,
    FeedForwardHidden,
    Gelu,
    /// Of a gated feed-forward layer: silu(gate) · up.
    Gate,
    Up,
    GatedProduct,
    FeedForwardOutput,
    /// A block's output as the result of its own checkpoint…
    Block,
    /// …and as one of all blocks' outputs.
    BlockOutput,
    FinalLayerNorm,
    Logits,
    SelectedLogits,
    /// The token of the highest logit.
    Argmax,
    /// Probabilities at temperature ½, 1 and 2.
    SoftmaxHalf,
    SoftmaxOne,
    SoftmaxTwo,
    /// All that was generated.
    GeneratedIds,
}

impl Station {
    pub const ALL: [Station; 32] = [
        Station::Embedding,
        Station::LayerNorm1,
        Station::Query,
        Station::Key,
        Station::Value,
        Station::QueryRotated,
        Station::KeyRotated,
        Station::CachedKeys,
        Station::CachedValues,
        Station::Scores,
        Station::ScoresMasked,
        Station::Probabilities,
        Station::Merged,
        Station::AttentionOutput,
        Station::AttentionResidual,
        Station::LayerNorm2,
        Station::FeedForwardHidden,
        Station::Gelu,
        Station::Gate,
        Station::Up,
        Station::GatedProduct,
        Station::FeedForwardOutput,
        Station::Block,
        Station::BlockOutput,
        Station::FinalLayerNorm,
        Station::Logits,
        Station::SelectedLogits,
        Station::Argmax,
        Station::SoftmaxHalf,
        Station::SoftmaxOne,
        Station::SoftmaxTwo,
        Station::GeneratedIds,
    ];

    /// Inside a block: there is one for each layer.
    pub fn is_of_a_layer(self) -> bool {
        (Station::LayerNorm1..=Station::BlockOutput).contains(&self)
    }

    /// The tensor's name in a capture. `step` counts the passes of a generation, 0 for the prefill; layers other than 0
    /// get a suffix where the name does not have the layer anyway.
    pub fn name(self, layer: usize, step: usize) -> String {
        let name = match self {
            Station::Embedding => "cp00.embed",
            Station::LayerNorm1 => "cp01.ln_1",
            Station::Query => "cp02.q",
            Station::Key => "cp02.k",
            Station::Value => "cp02.v",
            Station::QueryRotated => "cp02.q_rope",
            Station::KeyRotated => "cp02.k_rope",
            Station::CachedKeys => return suffixed(format!("cp03.step{step}.k"), layer),
            Station::CachedValues => return suffixed(format!("cp03.step{step}.v"), layer),
            Station::Scores => "cp04.scores",
            Station::ScoresMasked => "cp04.scores_masked",
            Station::Probabilities => "cp05.probs",
            Station::Merged => "cp05.merged",
            Station::AttentionOutput => "cp05.attn_out",
            Station::AttentionResidual => "cp07.attn_residual",
            Station::LayerNorm2 => "cp06.ln_2",
            Station::FeedForwardHidden => "cp06.c_fc",
            Station::Gelu => "cp06.gelu",
            Station::Gate => "cp06.gate",
            Station::Up => "cp06.up",
            Station::GatedProduct => "cp06.swiglu",
            Station::FeedForwardOutput => "cp06.c_proj",
            Station::Block => "cp07.block",
            Station::BlockOutput => return format!("cp08.block.{layer:02}"),
            Station::FinalLayerNorm => "cp08.ln_f",
            Station::Logits => "cp08.logits",
            Station::SelectedLogits => "cp09.logits",
            Station::Argmax => "cp10.argmax",
            Station::SoftmaxHalf => "cp11.probs.t0.5",
            Station::SoftmaxOne => "cp11.probs.t1.0",
            Station::SoftmaxTwo => "cp11.probs.t2.0",
            Station::GeneratedIds => "cp12.ids",
        };
        suffixed(name.to_owned(), layer)
    }
}

fn suffixed(name: String, layer: usize) -> String {
    if layer == 0 { name } else { format!("{name}.L{layer:02}") }
}

pub trait Tap {
    /// Without a tap the last layer and the head compute the last row only; with one, every row is there.
    const ON: bool;

    /// `values` makes a copy of the tensor, row-major in `shape`: a tap that does not want it does not call it. Stations
    /// outside the blocks have layer 0.
    fn tensor(&mut self, station: Station, layer: usize, shape: &[usize], values: impl FnOnce() -> Vec<f32>);
}

/// Nobody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTap;

impl Tap for NoTap {
    const ON: bool = false;
    #[inline(always)]
    fn tensor(&mut self, _: Station, _: usize, _: &[usize], _: impl FnOnce() -> Vec<f32>) {}
}
