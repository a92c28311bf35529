//! Checkpoints 3, 4 and 5: the cache, the scores, the output of attention.

use super::super::Fault::*;
use super::super::{Entry, Reveal};
use super::CACHED;
use crate::layers::Station;

pub const CACHE: &[Entry] = &[
    Entry::new(WrittenLate, "cache written one position late")
        .at(3, "cp03.step0.k", CACHED)
        .is("cache[start + t + 1] = k[t]", "cache[start + t] = k[t]")
        .change("write token t of a chunk at start_pos + t"),
    Entry::new(WrittenEarly, "cache written one position early")
        .at(3, "cp03.step0.k", CACHED)
        .is("cache[start + t − 1] = k[t]", "cache[start + t] = k[t]")
        .change("write token t of a chunk at start_pos + t"),
    Entry::new(StartNeverAdvanced, "start_pos never advanced (overwrites slot 0)")
        .at(3, "cp03.step1.k", CACHED)
        .is("cache[t] = k[t] in every chunk", "cache[start + t] = k[t]")
        .change("advance start_pos by the number of tokens after each pass"),
    Entry::new(ValueInKeySlot, "v stored in k's slot")
        .at(3, "cp03.step0.k", &[Station::CachedKeys])
        .is("keys[start + t] = v[t]", "keys[start + t] = k[t]")
        .change("store k with the keys and v with the values"),
    Entry::new(StaleEntry, "stale cache entry kept after reset")
        .at(3, "cp03.step0.k", CACHED)
        .is("cache[0] = an earlier job's", "cache[0] = k[0]")
        .change("forget the former job's length on reset, so that every position is written again")
        .parametric(),
    Entry::new(OtherLayersCache, "cache of another layer read")
        .at(3, "cp03.step0.k.L01", &[Station::CachedKeys, Station::CachedValues, Station::Scores, Station::Merged])
        .is("keys, values = cache[another layer]", "keys, values = cache[layer]")
        .change("index the cache by the layer")
        .variants(&["the layer before", "layer 0", "the layer before, behind the tap"]),
    Entry::new(SquareMask, "T × T mask used for a chunk that needs T × N")
        .at(3, "cp04.scores_masked", &[Station::ScoresMasked])
        .is("−∞ where s > t", "−∞ where s > start_pos + t")
        .change("count positions, not rows: token t of a chunk may see up to start_pos + t")
        .by(Reveal::SecondChunk),
];

pub const SCORES: &[Entry] = &[
    Entry::new(ScoreScaleMissing, "scale missing")
        .at(4, "cp04.scores", &[Station::Scores])
        .is("q · k", "q · k / √D")
        .change("divide the scores by √D, D the width of one head"),
    Entry::new(ScaledByHeadSize, "scale D instead of √D")
        .at(4, "cp04.scores", &[Station::Scores])
        .is("q · k / D", "q · k / √D")
        .change("divide by √D, once")
        .also(&["scale applied twice"]),
    Entry::new(KeyNotTransposed, "k not transposed")
        .at(4, "cp04.scores", &[Station::Scores])
        .is("Σ_d q[t, d] · k[d, s] / √D", "Σ_d q[t, d] · k[s, d] / √D")
        .change("multiply q by kᵀ: rows of q with rows of k")
        .by(Reveal::SquareScores),
    Entry::new(MaskMissing, "causal mask missing")
        .at(4, "cp04.scores_masked", &[Station::ScoresMasked])
        .is("scores", "−∞ where s > start_pos + t")
        .change("set the scores of later positions to −∞ before the softmax")
        .also(&["mask added as 0"]),
    Entry::new(CurrentMasked, "mask off by one: the current token is masked")
        .at(4, "cp04.scores_masked", &[Station::ScoresMasked])
        .is("−∞ where s ≥ start_pos + t", "−∞ where s > start_pos + t")
        .change("a token sees itself: mask strictly above the diagonal"),
    Entry::new(FutureVisible, "mask off by one: one future token is visible")
        .at(4, "cp04.scores_masked", &[Station::ScoresMasked])
        .is("−∞ where s > start_pos + t + 1", "−∞ where s > start_pos + t")
        .change("mask everything above the diagonal, the first place too"),
    Entry::new(MaskTooSmall, "mask −1e4 instead of −∞")
        .at(4, "cp04.scores_masked", &[Station::ScoresMasked])
        .is("−1e4 where s > start_pos + t", "−∞ where s > start_pos + t")
        .change("mask with −∞: a large score outweighs −1e4")
        .variants(&["set to it", "added"]),
    Entry::new(PositionBias, "position bias added to the scores")
        .at(4, "cp04.scores", &[Station::Scores])
        .is("q · k / √D + bias(h, s − t)", "q · k / √D")
        .change(
            "add nothing: positions are in the embedding (GPT-2), or in q and k (rotary): no ALiBi, no relative bias",
        )
        .parametric(),
    Entry::new(MaskedToZero, "masked scores set to 0 instead of −∞")
        .at(4, "cp04.scores_masked", &[Station::ScoresMasked])
        .is("0 where s > start_pos + t", "−∞ where s > start_pos + t")
        .change("set masked scores to −∞; multiplying by the mask makes them 0, which is a score like others")
        .extra(),
    Entry::new(MaskReversed, "mask the wrong way round: only the future is visible")
        .at(4, "cp04.scores_masked", &[Station::ScoresMasked])
        .is("−∞ where s < start_pos + t", "−∞ where s > start_pos + t")
        .change("keep the lower triangle, mask the upper")
        .extra(),
    Entry::new(ScaledByWidth, "scale √C instead of √D")
        .at(4, "cp04.scores", &[Station::Scores])
        .is("q · k / √C", "q · k / √D")
        .change("D is the width of one head: C / H in GPT-2, head_dim where a file says so")
        .variants(&["", "√(C / H), which is not D here"])
        .extra(),
];

pub const OUTPUT: &[Entry] = &[
    Entry::new(SoftmaxWrongAxis, "softmax over the wrong axis")
        .at(5, "cp05.probs", &[Station::Probabilities])
        .is("Σ over the queries is 1", "Σ over the positions is 1")
        .change("take the softmax over the last axis, the positions attended to")
        .variants(&["over the queries", "over the heads"]),
    Entry::new(SoftmaxMissing, "softmax missing")
        .at(5, "cp05.probs", &[Station::Probabilities])
        .is("p = masked scores", "p = softmax(masked scores)")
        .change("take the softmax of the masked scores")
        .variants(&["with −∞ where masked", "with 0 where masked"]),
    Entry::new(OtherHeadsValues, "v from the wrong head")
        .at(5, "cp05.merged", &[Station::Merged])
        .is("Σ p[h, t, s] · v[s, another head]", "Σ p[h, t, s] · v[s, h]")
        .change("index v by the head whose probabilities weigh it")
        .variants(&["the next head", "head 0", "the head before", "the heads in reverse"]),
    Entry::new(MergedHeadFirst, "heads merged in [H, T] order")
        .at(5, "cp05.merged", &[Station::Merged])
        .is("[H, T, D] read as [T, C]", "[T, H, D] read as [T, C]")
        .change("transpose [H, T, D] to [T, H, D] (and make it contiguous) before flattening the heads"),
    Entry::new(OutputBiasMissing, "bias of the output projection missing")
        .at(5, "cp05.attn_out", &[Station::AttentionOutput])
        .is("x · W", "x · W + b")
        .change("add attn.c_proj.bias"),
    Entry::new(OutputTransposed, "attention c_proj weight transposed")
        .gpt2()
        .at(5, "cp05.attn_out", &[Station::AttentionOutput])
        .is("x · Wᵀ + b", "x · W + b")
        .change("the weight is Conv1D, [in, out]; being square, it fits both ways"),
    Entry::new(MaskAfterSoftmax, "mask applied after the softmax, without renormalising")
        .at(5, "cp05.probs", &[Station::Probabilities])
        .is("softmax(scores), then 0 where s > t", "softmax(−∞ where s > t)")
        .change("mask the scores, not the probabilities")
        .extra(),
    Entry::new(EvenAttention, "attention spread evenly over the visible positions")
        .at(5, "cp05.probs", &[Station::Probabilities])
        .is("p = 1 / number of visible positions", "p = softmax(masked scores)")
        .change("use the scores: they are constant, or never reach the softmax")
        .extra(),
];
