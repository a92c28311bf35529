//! Mistakes that implementations of GPT-2, Llama and Qwen2 make, one by one: each can be injected into the f64 reference, so that the
//! harness can prove that it would be noticed ([`kill_matrix`]), and recognised in somebody's trace
//! ([`diagnose`](super::diagnose)).
//!
//! [`CATALOGUE`] is the table that a person reads: what the mistake is, where it lives, where it first shows, and what to
//! change. [`Injected`] is the reference with one or more of them: it replaces the functions of the stations that a fault
//! acts on, and nothing else. Workers are built without this module.

mod catalogue;
mod entry;
mod inject;
mod kill_matrix;
pub mod revealing;

use super::oracle::Model;
pub use catalogue::{CATALOGUE, EQUIVALENT};
pub use entry::{Entry, Equivalent, Family, Reveal};
pub use inject::{Injected, Injection, without_table};
pub use kill_matrix::{Kill, KillMatrix, Outcome, differing, in_f32, kill, kill_matrix, kills};

/// The name of a mistake in the code; [`Fault::entry`] has the one for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    // 1, layer norm
    UnbiasedVariance,
    Epsilon1e6,
    Epsilon1e12,
    EpsilonOutsideRoot,
    MeanNotSubtracted,
    WrongAxis,
    ScaleMissing,
    ShiftMissing,
    RmsNorm,
    OtherEpsilon,
    RootMissing,
    // 2, q, k and v
    ProjectionTransposed,
    ProjectionBiasMissing,
    KeyValueSwapped,
    QueryKeySwapped,
    HeadsInterleaved,
    SplitPerHead,
    OneBiasMissing,
    QueryValueSwapped,
    // 3, the cache
    WrittenLate,
    WrittenEarly,
    StartNeverAdvanced,
    ValueInKeySlot,
    StaleEntry,
    OtherLayersCache,
    SquareMask,
    // 4, scores
    ScoreScaleMissing,
    ScaledByHeadSize,
    KeyNotTransposed,
    MaskMissing,
    CurrentMasked,
    FutureVisible,
    MaskTooSmall,
    PositionBias,
    MaskedToZero,
    MaskReversed,
    ScaledByWidth,
    // 5, the output of attention
    SoftmaxWrongAxis,
    SoftmaxMissing,
    OtherHeadsValues,
    MergedHeadFirst,
    OutputBiasMissing,
    OutputTransposed,
    MaskAfterSoftmax,
    EvenAttention,
    // 6, feed-forward
    ErfGelu,
    Relu,
    Silu,
    GeluMissing,
    HiddenBiasMissing,
    FeedForwardBiasMissing,
    QuickGelu,
    FeedForwardTransposed,
    // 7, the block
    PostNorm,
    FirstResidualMissing,
    SecondResidualMissing,
    ResidualTwice,
    SecondNormSkipped,
    FirstNormsWeights,
    Parallel,
    FirstNormSkipped,
    AttentionSkipped,
    FeedForwardSkipped,
    ResidualFromInput,
    OtherLayersWeights,
    // 8, all blocks and the head
    LastBlockSkipped,
    BlockTwice,
    LayersReversed,
    FinalNormSkipped,
    FinalNormTwice,
    UntiedHead,
    HeadBias,
    PositionOffByOne,
    PositionMissing,
    EmbeddingScaled,
    BlockSkipped,
    LogitsScaled,
    // 9, the selected row
    FirstRow,
    LastButOneRow,
    MeanOfRows,
    // 10, argmax
    Argmin,
    ArgmaxOfWrongRow,
    HighestOnTies,
    SampledAtZero,
    // 11, softmax
    TemperatureMultiplies,
    TemperatureIgnored,
    MaximumNotSubtracted,
    LogSoftmax,
    // 12, generation
    CacheDropped,
    PositionRestarted,
    PromptTwice,
    TokenNotAppended,
    StopsEarly,
    BeginningOfText,
    JoinedWithSpaces,
    ByteTableMissing,
    // Llama and Qwen2: the norm
    RmsEpsilon,
    RmsEpsilonOutsideRoot,
    MeanSubtracted,
    NormWeightMissing,
    NormWeightPlusOne,
    RmsRootMissing,
    SumNotMean,
    // q, k and v
    QkvBiasesZeroed,
    LinearTransposed,
    RotaryRowsPermuted,
    // rotary positions
    RotaryAdjacentPairs,
    RopeBase,
    RopePositionOffByOne,
    RotaryReversed,
    RotaryMissing,
    RotaryQueriesUnturned,
    RotaryKeysUnturned,
    RopeScalingIgnored,
    RotaryOnValues,
    KeysCachedUnturned,
    KeysTurnedTwice,
    // attention in groups
    HeadGroup,
    // the gated feed-forward layer
    GateUpSwapped,
    UpActivated,
    GeluGate,
    ReluGate,
    SigmoidGate,
    SiluMissing,
    UpMissing,
    ProductActivated,
    // the head
    TiedHead,
}

impl Fault {
    pub fn entry(self) -> &'static Entry {
        // The table is in the order of the names above, which a test holds.
        let mut index = self as usize;
        for checkpoint in CATALOGUE {
            if let Some(entry) = checkpoint.get(index) {
                return entry;
            }
            index -= checkpoint.len();
        }
        &CATALOGUE[0][0]
    }

    /// Every fault, in the order of the catalogue.
    pub fn all() -> impl Iterator<Item = &'static Entry> {
        CATALOGUE.iter().copied().flatten()
    }

    /// Those that can be made in a model.
    pub fn of(model: Model<'_>) -> impl Iterator<Item = &'static Entry> {
        Fault::all().filter(move |entry| entry.applies(&model))
    }
}
