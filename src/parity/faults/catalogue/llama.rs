//! What Llama and Qwen2 have of their own: RMSNorm, rotary positions, keys shared by a group of queries, a gated
//! feed-forward layer, a head that may be tied or not.

use super::super::Fault::*;
use super::super::{Entry, Reveal};
use super::NORMS;
use crate::layers::Station;

const RMS: &str = "x / √(Σx² / C + ε) · weight";

pub const NORM: &[Entry] = &[
    Entry::new(RmsEpsilon, "epsilon is not the model's")
        .llama()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / √(Σx² / C + another ε) · weight", RMS)
        .change("take rms_norm_eps from the model's configuration: 1e-5 in Llama 2 and 3, 1e-6 in Qwen2")
        .by(Reveal::SmallVariance)
        .variants(&["1e-5 and 1e-6 taken for each other", "none, or 1e-12", "1e-8", "1e-3", "1e-4", "1e-7"]),
    Entry::new(RmsEpsilonOutsideRoot, "epsilon outside the root")
        .llama()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / (√(Σx² / C) + ε) · weight", RMS)
        .change("add epsilon to the mean of the squares, before the root")
        .by(Reveal::SmallVariance),
    Entry::new(MeanSubtracted, "mean subtracted: layer norm instead of RMSNorm")
        .llama()
        .at(1, "cp01.ln_1", NORMS)
        .is("(x − μ) / √(σ² + ε) · weight", RMS)
        .change("subtract nothing: RMSNorm divides by the root of the mean square and no more")
        .variants(&["before the squares", "after them"]),
    Entry::new(NormWeightMissing, "norm weight missing")
        .llama()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / √(Σx² / C + ε)", RMS)
        .change("multiply the normalised row by the norm's weight"),
    Entry::new(NormWeightPlusOne, "norm weight taken for an offset from 1")
        .llama()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / √(Σx² / C + ε) · (1 + weight)", RMS)
        .change("multiply by the weight itself; 1 + weight is Gemma's")
        .extra(),
    Entry::new(RmsRootMissing, "divided by the mean square, without the root")
        .llama()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / (Σx² / C + ε) · weight", RMS)
        .change("divide by the root of the mean square")
        .extra(),
    Entry::new(SumNotMean, "divided by the root of the sum of squares")
        .llama()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / √(Σx² + ε) · weight", RMS)
        .change("divide the sum of the squares by C before the root")
        .extra(),
];

/// Every station that is a product with a matrix of the block.
const LINEAR: &[Station] = &[
    Station::Query,
    Station::Key,
    Station::Value,
    Station::AttentionOutput,
    Station::Gate,
    Station::Up,
    Station::FeedForwardOutput,
];

pub const PROJECTED: &[Entry] = &[
    Entry::new(QkvBiasesZeroed, "biases of q, k and v zeroed at load")
        .llama()
        .at(2, "cp02.q", super::PROJECTED)
        .is("x · Wᵀ", "x · Wᵀ + b")
        .change("load q_proj.bias, k_proj.bias and v_proj.bias (attn_q.bias, … in GGUF) and add them: Qwen2 always has them")
        .also(&["biases of q, k and v missing"]),
    Entry::new(LinearTransposed, "matrices read as [in, out]")
        .llama()
        .at(2, "cp02.q", LINEAR)
        .is("the bytes of W read in the other shape, x · W", "x · Wᵀ")
        .change("the matrices are [out, in], as torch's Linear stores them; GPT-2's alone are [in, out]"),
    Entry::new(RotaryRowsPermuted, "rows of q and k in the order of adjacent pairs")
        .llama()
        .at(2, "cp02.q", &[Station::Query, Station::Key])
        .is("q[h, 2i + j] = row[h, j · D/2 + i]", "q[h, i] = row[h, i]")
        .change("put the rows back that a Llama GGUF has in pairs, for q_proj and k_proj alike, and no other model's")
        .variants(&["as a GGUF file has them", "put back where they were right"]),
];

const TURNED: &[Station] = &[Station::QueryRotated, Station::KeyRotated];

pub const ROTARY: &[Entry] = &[
    Entry::new(RotaryAdjacentPairs, "rotary embedding on adjacent pairs instead of halves")
        .llama()
        .at(2, "cp02.q_rope", TURNED)
        .is("channels 2i and 2i + 1 turned together", "channels i and i + D/2 turned together")
        .change("pair each channel with the one half a head further on (rotate_half; NeoX order), not with its neighbour")
        .variants(&["by the angle of their pair", "each by the angle that its channel has in halves"]),
    Entry::new(RopeBase, "wrong rope base")
        .llama()
        .at(2, "cp02.q_rope", TURNED)
        .is("angle = position · another base ^ (−2i / D)", "angle = position · rope_theta ^ (−2i / D)")
        .change("take rope_theta from the model's configuration (rope.freq_base in GGUF): Llama 2 has 10 000, Llama 3 500 000, \
                 Qwen2 1 000 000")
        .variants(&["10 000", "500 000", "1 000 000", "5 000 000", "100 000"]),
    Entry::new(RopePositionOffByOne, "rotary position off by one")
        .llama()
        .at(2, "cp02.q_rope", TURNED)
        .is("angle = (position + 1) · frequency", "angle = position · frequency")
        .change("the first token is at position 0")
        .variants(&["one too far", "one too few"]),
    Entry::new(RotaryReversed, "turned the wrong way round")
        .llama()
        .at(2, "cp02.q_rope", TURNED)
        .is("x · cos − half(x) · sin", "x · cos + half(x) · sin, half(x) = (−x₂, x₁)")
        .change("the sign is with the second half: x₁ · cos − x₂ · sin, x₂ · cos + x₁ · sin"),
    Entry::new(RotaryMissing, "no rotary embedding")
        .llama()
        .at(2, "cp02.q_rope", TURNED)
        .is("q, k", "q and k turned by their positions")
        .change("turn queries and keys before the scores"),
    Entry::new(RotaryQueriesUnturned, "rotary embedding on the keys only")
        .llama()
        .at(2, "cp02.q_rope", &[Station::QueryRotated])
        .is("q", "q turned by its position")
        .change("turn the queries too"),
    Entry::new(RotaryKeysUnturned, "rotary embedding on the queries only")
        .llama()
        .at(2, "cp02.k_rope", &[Station::KeyRotated])
        .is("k", "k turned by its position")
        .change("turn the keys too"),
    Entry::new(RopeScalingIgnored, "rope scaling ignored")
        .llama()
        .at(2, "cp02.q_rope", TURNED)
        .is("frequency = rope_theta ^ (−2i / D)", "the same, stretched as rope_scaling says")
        .change("stretch the frequencies as rope_scaling says: llama3 leaves the high ones and divides the low ones")
        .variants(&["", "every frequency divided by the factor"]),
    Entry::new(RotaryOnValues, "rotary embedding on the values too")
        .llama()
        .at(3, "cp03.step0.v", &[Station::CachedValues, Station::Value])
        .is("v turned by its position", "v")
        .change("turn queries and keys only")
        .variants(&["on the way into the cache", "in the projection"]),
    Entry::new(KeysCachedUnturned, "keys cached as they are, and never turned")
        .llama()
        .at(3, "cp03.step0.k", &[Station::CachedKeys])
        .is("cache[start + t] = k[t]", "cache[start + t] = k[t] turned by its position")
        .change("turn the keys before they are cached, or turn all of them when they are read"),
    Entry::new(KeysTurnedTwice, "keys turned twice")
        .llama()
        .at(3, "cp03.step0.k", &[Station::CachedKeys])
        .is("cache[start + t] = k[t] turned, and turned again", "cache[start + t] = k[t] turned by its position")
        .change("turn the keys once: what is in the cache is turned already"),
];

pub const ATTENTION: &[Entry] = &[Entry::new(HeadGroup, "query head reads the wrong head of keys and values")
    .llama()
    .at(4, "cp04.scores", &[Station::Scores, Station::Merged])
    .is("q[h] with k, v of another group", "q[h] with k, v of head h / (H / KV)")
    .change("neighbouring query heads share a head of keys: repeat each H / KV times in place (repeat_interleave)")
    .variants(&["h mod KV", "head 0 for all", "the last head for all after the first KV", "h / KV", "the next group"])];

const ACTIVATED: &str = "silu(gate) · up";

pub const GATED: &[Entry] = &[
    Entry::new(GateUpSwapped, "gate and up swapped")
        .llama()
        .at(6, "cp06.gate", &[Station::Gate, Station::Up])
        .is("gate = x · W_upᵀ, up = x · W_gateᵀ", "gate = x · W_gateᵀ, up = x · W_upᵀ")
        .change(
            "gate_proj (ffn_gate) goes through SiLU, up_proj (ffn_up) does not; in one matrix the gate comes first",
        ),
    Entry::new(UpActivated, "SiLU on up instead of gate")
        .llama()
        .at(6, "cp06.swiglu", &[Station::GatedProduct])
        .is("gate · silu(up)", ACTIVATED)
        .change("apply SiLU to the gate"),
    Entry::new(GeluGate, "GELU instead of SiLU")
        .llama()
        .at(6, "cp06.swiglu", &[Station::GatedProduct])
        .is("gelu(gate) · up", ACTIVATED)
        .change("use SiLU, x · σ(x)")
        .variants(&["erf", "tanh", "x · σ(1.702x)"]),
    Entry::new(ReluGate, "ReLU instead of SiLU")
        .llama()
        .at(6, "cp06.swiglu", &[Station::GatedProduct])
        .is("max(gate, 0) · up", ACTIVATED)
        .change("use SiLU, x · σ(x)")
        .extra(),
    Entry::new(SigmoidGate, "logistic function instead of SiLU")
        .llama()
        .at(6, "cp06.swiglu", &[Station::GatedProduct])
        .is("σ(gate) · up", ACTIVATED)
        .change("SiLU is x · σ(x), not σ(x)")
        .extra(),
    Entry::new(SiluMissing, "SiLU missing")
        .llama()
        .at(6, "cp06.swiglu", &[Station::GatedProduct])
        .is("gate · up", ACTIVATED)
        .change("apply SiLU to the gate before the product"),
    Entry::new(UpMissing, "up left out")
        .llama()
        .at(6, "cp06.swiglu", &[Station::GatedProduct])
        .is("silu(gate)", ACTIVATED)
        .change("multiply by up")
        .extra(),
    Entry::new(ProductActivated, "SiLU of the product")
        .llama()
        .at(6, "cp06.swiglu", &[Station::GatedProduct])
        .is("silu(gate · up)", ACTIVATED)
        .change("apply SiLU to the gate alone")
        .extra(),
];

pub const HEAD: &[Entry] = &[Entry::new(TiedHead, "head tied to the embedding where the model has its own")
    .llama()
    .at(8, "cp08.logits", &[Station::Logits])
    .is("ln_f(x) · embeddingᵀ", "ln_f(x) · lm_headᵀ")
    .change("load lm_head.weight (output.weight in GGUF) where the file has it")];
