//! Checkpoints 6, 7 and 8: feed-forward, the block, all blocks with embedding and head.

use super::super::Entry;
use super::super::Fault::*;
use crate::layers::Station;

pub const FEED_FORWARD: &[Entry] = &[
    Entry::new(ErfGelu, "erf GELU instead of tanh")
        .gpt2()
        .at(6, "cp06.gelu", &[Station::Gelu])
        .is("½x(1 + erf(x / √2))", "½x(1 + tanh(√(2/π)(x + 0.044715x³)))")
        .change("use the tanh approximation (gelu_new; torch: approximate='tanh')"),
    Entry::new(Relu, "ReLU instead of GELU")
        .gpt2()
        .at(6, "cp06.gelu", &[Station::Gelu])
        .is("max(x, 0)", "½x(1 + tanh(√(2/π)(x + 0.044715x³)))")
        .change("use the tanh approximation of GELU (gelu_new)"),
    Entry::new(Silu, "SiLU instead of GELU")
        .gpt2()
        .at(6, "cp06.gelu", &[Station::Gelu])
        .is("x · σ(x)", "½x(1 + tanh(√(2/π)(x + 0.044715x³)))")
        .change("use the tanh approximation of GELU (gelu_new)"),
    Entry::new(GeluMissing, "GELU missing")
        .gpt2()
        .at(6, "cp06.gelu", &[Station::Gelu])
        .is("x", "½x(1 + tanh(√(2/π)(x + 0.044715x³)))")
        .change("apply GELU between c_fc and c_proj"),
    Entry::new(HiddenBiasMissing, "c_fc bias missing")
        .gpt2()
        .at(6, "cp06.c_fc", &[Station::FeedForwardHidden])
        .is("x · W", "x · W + b")
        .change("add mlp.c_fc.bias"),
    Entry::new(FeedForwardBiasMissing, "mlp.c_proj bias missing")
        .gpt2()
        .at(6, "cp06.c_proj", &[Station::FeedForwardOutput])
        .is("x · W", "x · W + b")
        .change("add mlp.c_proj.bias"),
    Entry::new(QuickGelu, "quick GELU (x · σ(1.702x)) instead of tanh")
        .gpt2()
        .at(6, "cp06.gelu", &[Station::Gelu])
        .is("x · σ(1.702x)", "½x(1 + tanh(√(2/π)(x + 0.044715x³)))")
        .change("use the tanh approximation (gelu_new)")
        .extra(),
    Entry::new(FeedForwardTransposed, "feed-forward weight read as [out, in]")
        .gpt2()
        .at(6, "cp06.c_fc", &[Station::FeedForwardHidden, Station::FeedForwardOutput])
        .is("the bytes of W read in the other shape, x · Wᵀ + b", "x · W + b")
        .change("the weights are Conv1D, [in, out]")
        .extra(),
];

pub const BLOCK: &[Entry] = &[
    Entry::new(PostNorm, "post-norm instead of pre-norm")
        .at(
            7,
            "cp01.ln_1",
            &[
                Station::LayerNorm1,
                Station::Query,
                Station::Key,
                Station::Value,
                Station::LayerNorm2,
                Station::FeedForwardHidden,
                Station::Gate,
                Station::Up,
                Station::Block,
            ],
        )
        .is("h = ln_1(x + attn(x)), y = ln_2(h + mlp(h))", "h = x + attn(ln_1(x)), y = h + mlp(ln_2(h))")
        .change("normalise what goes into attention and MLP, not what comes out"),
    Entry::new(FirstResidualMissing, "first residual missing")
        .at(7, "cp07.attn_residual", &[Station::AttentionResidual])
        .is("h = attn(ln_1(x))", "h = x + attn(ln_1(x))")
        .change("add the block's input to the attention output"),
    Entry::new(SecondResidualMissing, "second residual missing")
        .at(7, "cp07.block", &[Station::Block])
        .is("y = mlp(ln_2(h))", "y = h + mlp(ln_2(h))")
        .change("add h to the MLP's output"),
    Entry::new(ResidualTwice, "residual added twice")
        .at(7, "cp07.attn_residual", &[Station::AttentionResidual, Station::Block])
        .is("h = 2x + attn(ln_1(x))", "h = x + attn(ln_1(x))")
        .change("add each residual once (is one inside the sub-layer already?)")
        .variants(&["the first", "the second"]),
    Entry::new(SecondNormSkipped, "ln_2 skipped")
        .at(7, "cp06.ln_2", &[Station::LayerNorm2])
        .is("mlp(h)", "mlp(ln_2(h))")
        .change("normalise h with ln_2 before the MLP"),
    Entry::new(FirstNormsWeights, "ln_1 weights used for ln_2")
        .at(7, "cp06.ln_2", &[Station::LayerNorm2])
        .is("ln_2 with the weights of ln_1", "ln_2 with its own weights")
        .change("load ln_2 into the second norm"),
    Entry::new(Parallel, "attention and MLP in parallel")
        .at(7, "cp06.ln_2", &[Station::LayerNorm2, Station::FeedForwardHidden, Station::Gate, Station::Up])
        .is("y = x + attn(ln_1(x)) + mlp(ln_2(x))", "h = x + attn(ln_1(x)), y = h + mlp(ln_2(h))")
        .change("feed the MLP the sum of input and attention output, not the input")
        .variants(&["MLP of ln_2(x)", "MLP of ln_1(x)"]),
    Entry::new(FirstNormSkipped, "ln_1 skipped")
        .at(7, "cp01.ln_1", &[Station::LayerNorm1])
        .is("attn(x)", "attn(ln_1(x))")
        .change("normalise the block's input with ln_1 before attention")
        .extra(),
    Entry::new(AttentionSkipped, "attention not added")
        .at(7, "cp07.attn_residual", &[Station::AttentionResidual])
        .is("h = x", "h = x + attn(ln_1(x))")
        .change("add the attention output to the block's input")
        .extra(),
    Entry::new(FeedForwardSkipped, "MLP not added")
        .at(7, "cp07.block", &[Station::Block])
        .is("y = h", "y = h + mlp(ln_2(h))")
        .change("add the MLP's output to h")
        .extra(),
    Entry::new(ResidualFromInput, "second residual taken from the block's input")
        .at(7, "cp07.block", &[Station::Block])
        .is("y = x + mlp(ln_2(h))", "y = h + mlp(ln_2(h))")
        .change("add h, which holds the attention output, not x")
        .extra(),
    Entry::new(OtherLayersWeights, "weights of another layer")
        .at(7, "cp01.ln_1.L01", WEIGHTED)
        .is("block with the weights of another", "block l with the weights of block l")
        .change("load the weights of the layer itself")
        .variants(&["the layer before", "layer 0", "the layer after", "the last layer"])
        .extra(),
];

/// Every station of a block that has weights.
const WEIGHTED: &[Station] = &[
    Station::LayerNorm1,
    Station::Query,
    Station::Key,
    Station::Value,
    Station::AttentionOutput,
    Station::LayerNorm2,
    Station::FeedForwardHidden,
    Station::Gate,
    Station::Up,
    Station::FeedForwardOutput,
];

pub const MODEL: &[Entry] = &[
    Entry::new(LastBlockSkipped, "last block skipped")
        .at(8, "cp08.block.{last}", &[Station::Block])
        .is("blocks 0 … L − 2", "blocks 0 … L − 1")
        .change("run all n_layer blocks"),
    Entry::new(BlockTwice, "one block run twice")
        .at(8, "cp07.block", &[Station::Block])
        .is("x = block(block(x))", "x = block(x)")
        .change("run each block once"),
    Entry::new(LayersReversed, "layers in reverse order")
        .at(8, "cp01.ln_1", WEIGHTED)
        .is("block L − 1 − l as number l", "block l as number l")
        .change("run the blocks from 0 to L − 1"),
    Entry::new(FinalNormSkipped, "ln_f skipped")
        .at(8, "cp08.ln_f", &[Station::FinalLayerNorm])
        .is("logits = x · headᵀ", "logits = ln_f(x) · headᵀ")
        .change("apply ln_f after the last block"),
    Entry::new(FinalNormTwice, "ln_f applied twice")
        .at(8, "cp08.ln_f", &[Station::FinalLayerNorm])
        .is("ln_f(ln_f(x))", "ln_f(x)")
        .change("apply ln_f once"),
    Entry::new(UntiedHead, "head untied (another matrix than the embedding)")
        .at(8, "cp08.logits", &[Station::Logits])
        .is("ln_f(x) · another matrix", "ln_f(x) · embeddingᵀ")
        .change("use the embedding as the head: it is not stored a second time, and must not be initialised anew")
        .parametric(),
    Entry::new(HeadBias, "head with a bias")
        .at(8, "cp08.logits", &[Station::Logits])
        .is("ln_f(x) · headᵀ + b", "ln_f(x) · headᵀ")
        .change("the head has no bias")
        .parametric(),
    Entry::new(PositionOffByOne, "position embedding off by one")
        .gpt2()
        .at(8, "cp00.embed", &[Station::Embedding])
        .is("wte[token] + wpe[position + 1]", "wte[token] + wpe[position]")
        .change("the first token is at position 0")
        .variants(&["one too far", "one too few", "two too far (as OPT has it)"]),
    Entry::new(PositionMissing, "position embedding missing")
        .gpt2()
        .at(8, "cp00.embed", &[Station::Embedding])
        .is("wte[token]", "wte[token] + wpe[position]")
        .change("add wpe[position] to the token embedding"),
    Entry::new(EmbeddingScaled, "token embedding scaled by √C")
        .at(8, "cp00.embed", &[Station::Embedding])
        .is("√C · embedding[token]", "embedding[token]")
        .change("use the embedding as it is")
        .variants(&["the token's", "the sum with the position's"]),
    Entry::new(BlockSkipped, "a block skipped")
        .at(8, "cp07.block", &[Station::Block])
        .is("y = x", "y = block(x)")
        .change("run all n_layer blocks")
        .extra(),
    Entry::new(LogitsScaled, "logits scaled by 1 / √C")
        .at(8, "cp08.logits", &[Station::Logits])
        .is("ln_f(x) · headᵀ / √C", "ln_f(x) · headᵀ")
        .change("use the product as it is")
        .extra(),
];
