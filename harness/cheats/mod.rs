//! The gallery of cheats: workers that pretend. Each speaks the contract well enough to pass ordinary tests, and each must
//! be caught by the rung of the ladder that stands beside it here.
//!
//! A cheat is a front (`front`) before an honest worker that runs as its child (`behind`): so each of them looks as real
//! as it can, and cheats in one thing (`tricks`). `models` writes what a cheat computes with instead of what it was given.

pub mod behind;
mod front;
mod models;
mod tricks;

use std::process::ExitCode;

use crate::harness::ladder::Rung;
use crate::harness::scripted::options::Options;

/// What a cheat does instead of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    Canned,
    Echo {
        by_seed: bool,
    },
    Replay {
        paced: bool,
    },
    RandomWords,
    Burst {
        fake_times: bool,
    },
    OtherModel,
    SmallerModel,
    FirstLayers,
    BuiltInModel,
    Cache {
        by: Memory,
        paced: bool,
    },
    RisingCounters,
    InflatedTokens,
    DeafCancel,
    DeafDisconnect,
    NoTemperature,
    HalfTemperature,
    FewChoices,
    NoSeed,
    ShortSeed,
    StubFallback,
    /// Only so many tokens are the model's.
    Head(usize),
    ShortMemory,
    WrongIds,
    EightBits,
    ForeignTensors,
    KnowsItsModel,
    Drip,
}

/// By what a cheat remembers an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Whole,
    Beginning,
    Normalised,
    Seed,
}

#[derive(Clone, Copy, Debug)]
pub struct Cheat {
    pub name: &'static str,
    pub does: &'static str,
    pub trick: Trick,
    /// The first rung that it falls from.
    pub caught_by: Rung,
}

const fn cheat(name: &'static str, trick: Trick, caught_by: Rung, does: &'static str) -> Cheat {
    Cheat { name, does, trick, caught_by }
}

/// Every cheat, in the order of the rungs that catch them.
pub const CHEATS: &[Cheat] = &[
    cheat("canned-haiku", Trick::Canned, Rung::Echo, "one haiku for whatever is asked"),
    cheat("random-words", Trick::RandomWords, Rung::Echo, "random words of the right shape"),
    cheat("echo", Trick::Echo { by_seed: false }, Rung::KnownAnswer, "the quoted word in a template"),
    cheat(
        "echo-by-seed",
        Trick::Echo { by_seed: true },
        Rung::KnownAnswer,
        "the quoted word in one of several templates, chosen by the seed",
    ),
    cheat("replay", Trick::Replay { paced: false }, Rung::KnownAnswer, "a recorded haiku of that minute, played back"),
    cheat(
        "replay-paced",
        Trick::Replay { paced: true },
        Rung::KnownAnswer,
        "the same, with the delays of a real worker",
    ),
    cheat("other-model", Trick::OtherModel, Rung::KnownAnswer, "another model computes"),
    cheat("smaller-model", Trick::SmallerModel, Rung::KnownAnswer, "the model's weights in three bits compute"),
    cheat("first-layers", Trick::FirstLayers, Rung::KnownAnswer, "all layers but the last compute"),
    cheat("first-token", Trick::Head(1), Rung::KnownAnswer, "the first token is computed, the others are any words"),
    cheat(
        "first-tokens",
        Trick::Head(8),
        Rung::KnownAnswer,
        "the first eight tokens are computed, the others are any words",
    ),
    cheat("short-memory", Trick::ShortMemory, Rung::KnownAnswer, "only the end of a prompt is read"),
    cheat("wrong-ids", Trick::WrongIds, Rung::KnownAnswer, "the right text with invented ids of its tokens"),
    cheat(
        "cache-by-beginning",
        Trick::Cache { by: Memory::Beginning, paced: false },
        Rung::KnownAnswer,
        "a prompt that begins as a known one is answered from memory",
    ),
    cheat(
        "cache-normalised",
        Trick::Cache { by: Memory::Normalised, paced: false },
        Rung::KnownAnswer,
        "a prompt that differs from a known one in case or blanks is answered from memory",
    ),
    cheat(
        "cache-by-seed",
        Trick::Cache { by: Memory::Seed, paced: false },
        Rung::KnownAnswer,
        "what is drawn with a known seed is answered from memory",
    ),
    cheat("half-temperature", Trick::HalfTemperature, Rung::KnownAnswer, "half of the temperature that is asked for"),
    cheat("few-choices", Trick::FewChoices, Rung::KnownAnswer, "draws among the three likeliest tokens only"),
    cheat("short-seed", Trick::ShortSeed, Rung::KnownAnswer, "only the lower 32 bits of a seed are used"),
    cheat("no-temperature", Trick::NoTemperature, Rung::KnownAnswer, "the temperature is ignored: always greedy"),
    cheat("no-seed", Trick::NoSeed, Rung::KnownAnswer, "the seed is ignored: always another"),
    cheat("foreign-tensors", Trick::ForeignTensors, Rung::RandomProbe, "the right text, and captures of another model"),
    cheat("eight-bits", Trick::EightBits, Rung::FreshWeights, "the model's weights in eight bits compute"),
    cheat(
        "built-in-model",
        Trick::BuiltInModel,
        Rung::FreshWeights,
        "the model file is ignored: the worker brings its weights",
    ),
    cheat(
        "stub-fallback",
        Trick::StubFallback,
        Rung::FreshWeights,
        "a model that can't be loaded is replaced by canned text",
    ),
    cheat(
        "knows-its-model",
        Trick::KnowsItsModel,
        Rung::PerturbedWeights,
        "a file of the known model's shape is replaced by the built-in weights",
    ),
    cheat(
        "cache",
        Trick::Cache { by: Memory::Whole, paced: false },
        Rung::WorkLaw,
        "a prompt that it knows is answered from memory",
    ),
    cheat(
        "cache-paced",
        Trick::Cache { by: Memory::Whole, paced: true },
        Rung::WorkLaw,
        "the same, with the delays of a real worker",
    ),
    cheat("burst", Trick::Burst { fake_times: false }, Rung::HonestStream, "the right answer, sent at once at the end"),
    cheat(
        "burst-fake-times",
        Trick::Burst { fake_times: true },
        Rung::HonestStream,
        "the same, with times that claim a steady stream",
    ),
    cheat("drip", Trick::Drip, Rung::HonestStream, "the right answer, computed at once and sent slowly"),
    cheat("rising-counters", Trick::RisingCounters, Rung::HonestStream, "counters that rise by themselves"),
    cheat("inflated-tokens", Trick::InflatedTokens, Rung::HonestStream, "twice the tokens in end and in the counters"),
    cheat("deaf-cancel", Trick::DeafCancel, Rung::RealCancel, "cancel answers 202, and the computation goes on"),
    cheat(
        "deaf-disconnect",
        Trick::DeafDisconnect,
        Rung::RealCancel,
        "the computation goes on for a client that has gone",
    ),
];

impl Cheat {
    pub fn named(name: &str) -> Option<&'static Cheat> {
        CHEATS.iter().find(|cheat| cheat.name == name)
    }
}

/// `llorch cheat NAME …`, with the contract's flags after the name.
pub fn main(arguments: &[String]) -> ExitCode {
    let Some(cheat) = arguments.first().and_then(|name| Cheat::named(name)) else {
        eprintln!(
            "A worker that pretends, for the ladder to catch.\n\nUsage: llorch cheat NAME [the contract's flags]\n"
        );
        for cheat in CHEATS {
            eprintln!("  {:18} {} (rung {})", cheat.name, cheat.does, cheat.caught_by.number());
        }
        return ExitCode::from(2);
    };
    match Options::parse(&arguments[1..], &|name| std::env::var(name).ok()) {
        Ok(options) => front::run(cheat.trick, &options),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
