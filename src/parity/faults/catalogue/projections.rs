//! Checkpoints 1 and 2: layer norm; q, k and v.

use super::super::Fault::*;
use super::super::{Entry, Reveal};
use super::{NORMS, PROJECTED};
use crate::layers::Station;

pub const LAYER_NORM: &[Entry] = &[
    Entry::new(UnbiasedVariance, "unbiased variance (N − 1)")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("σ² = Σ(x − μ)² / (C − 1)", "σ² = Σ(x − μ)² / C")
        .change("divide by N, not N − 1 (numpy: ddof=0, torch: unbiased=False)"),
    Entry::new(Epsilon1e6, "epsilon 1e-6")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("√(σ² + 1e-6)", "√(σ² + 1e-5)")
        .change("take layer_norm_epsilon from the model's configuration")
        .by(Reveal::SmallVariance),
    Entry::new(Epsilon1e12, "epsilon 1e-12")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("√(σ² + 1e-12)", "√(σ² + 1e-5)")
        .also(&["no epsilon"])
        .change("take layer_norm_epsilon from the model's configuration")
        .by(Reveal::SmallVariance),
    Entry::new(EpsilonOutsideRoot, "epsilon outside the root")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("(x − μ) / (√σ² + ε)", "(x − μ) / √(σ² + ε)")
        .change("add epsilon to the variance, before the root")
        .by(Reveal::SmallVariance),
    Entry::new(MeanNotSubtracted, "mean not subtracted")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / √(σ² + ε)", "(x − μ) / √(σ² + ε)")
        .change("subtract the row's mean before dividing"),
    Entry::new(WrongAxis, "normalised over the wrong axis")
        .at(1, "cp01.ln_1", NORMS)
        .is("moments over the tokens of a channel", "moments over the channels of a token")
        .change("take the mean of numbers and squares over the last axis, each token by itself")
        .variants(&["over the tokens", "over the whole tensor"]),
    Entry::new(ScaleMissing, "scale missing")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("n + bias", "n · weight + bias")
        .change("multiply the normalised row by the layer norm's weight"),
    Entry::new(ShiftMissing, "shift missing")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("n · weight", "n · weight + bias")
        .change("add the layer norm's bias"),
    Entry::new(RmsNorm, "RMSNorm instead of layer norm")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("x / √(Σx² / C + ε) · weight", "(x − μ) / √(σ² + ε) · weight + bias")
        .change("subtract the mean, and add the bias: GPT-2 has layer norm, not RMSNorm")
        .variants(&["without the bias", "with the bias"]),
    Entry::new(OtherEpsilon, "epsilon is not the model's")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("√(σ² + another ε)", "√(σ² + ε)")
        .change("take layer_norm_epsilon from the model's configuration")
        .by(Reveal::SmallVariance)
        .variants(&["1e-3", "1e-4", "1e-7", "1e-8"])
        .extra(),
    Entry::new(RootMissing, "divided by the variance, without the root")
        .gpt2()
        .at(1, "cp01.ln_1", NORMS)
        .is("(x − μ) / (σ² + ε)", "(x − μ) / √(σ² + ε)")
        .change("divide by the standard deviation")
        .extra(),
];

pub const QKV: &[Entry] = &[
    Entry::new(ProjectionTransposed, "c_attn weight transposed (Conv1D taken for Linear)")
        .gpt2()
        .at(2, "cp02.q", PROJECTED)
        .is("x · Wᵀ", "x · W")
        .change("the weights are Conv1D, [in, out]: transpose them for a layer that wants [out, in]")
        .variants(&["q, k and v each as a square matrix", "the whole weight read as [3C, C]"]),
    Entry::new(ProjectionBiasMissing, "c_attn bias missing")
        .gpt2()
        .at(2, "cp02.q", PROJECTED)
        .is("x · W", "x · W + b")
        .change("add attn.c_attn.bias to q, k and v"),
    Entry::new(KeyValueSwapped, "k and v swapped")
        .at(2, "cp02.k", &[Station::Key, Station::Value])
        .is("k = x · Wv + bv, v = x · Wk + bk", "k = x · Wk + bk, v = x · Wv + bv")
        .change("the order in one matrix made of all three (c_attn) is q, k, v"),
    Entry::new(QueryKeySwapped, "q and k swapped")
        .gpt2()
        .at(2, "cp02.q", &[Station::Query, Station::Key])
        .is("q = qkv[C..2C], k = qkv[0..C]", "q = qkv[0..C], k = qkv[C..2C]")
        .change("the order in c_attn is q, k, v"),
    Entry::new(HeadsInterleaved, "heads interleaved ([T, D, H])")
        .at(2, "cp02.q", PROJECTED)
        .is("q[t, h, d] = row[d · H + h]", "q[t, h, d] = row[h · D + d]")
        .change("view the columns as [H, D]: head after head, each D wide"),
    Entry::new(SplitPerHead, "split per head ([H, 3, D] instead of [3, H, D])")
        .gpt2()
        .at(2, "cp02.q", PROJECTED)
        .is("q[t, h, d] = row[(3h) · D + d]", "q[t, h, d] = row[h · D + d]")
        .change("split c_attn's output into q, k and v first, and each into heads after"),
    Entry::new(OneBiasMissing, "bias of one of q, k and v missing")
        .at(2, "cp02.q", PROJECTED)
        .is("x · W for one of them", "x · W + b")
        .change("add all three of them")
        .variants(&["q", "k", "v"])
        .extra(),
    Entry::new(QueryValueSwapped, "q and v swapped")
        .gpt2()
        .at(2, "cp02.q", &[Station::Query, Station::Value])
        .is("q = qkv[2C..3C], v = qkv[0..C]", "q = qkv[0..C], v = qkv[2C..3C]")
        .change("the order in c_attn is q, k, v")
        .extra(),
];
