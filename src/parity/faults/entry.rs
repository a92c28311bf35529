//! A row of the catalogue.

use super::Fault;
use crate::layers::Station;
use crate::model::Configuration;
use crate::model::configuration::RopeScaling;
use crate::parity::oracle::Model;

/// What is known of a fault, written by hand.
#[derive(Clone, Debug)]
pub struct Entry {
    pub fault: Fault,
    pub family: Family,
    /// A phrase that a person understands.
    pub name: &'static str,
    /// Other names of the same function.
    pub also: &'static [&'static str],
    /// The checkpoint whose code has the mistake.
    pub lives: u8,
    /// The first tensor that it changes, in a capture that has them all. `{last}` is the last layer.
    pub shows: &'static str,
    /// The stations whose function it changes: nowhere else is there a local difference.
    pub acts: &'static [Station],
    /// What the station computes, and what it computes with the mistake.
    pub formula: &'static str,
    pub faulty: &'static str,
    /// What to change in the code.
    pub change: &'static str,
    /// The input that shows it.
    pub reveal: Reveal,
    /// Ways to make the mistake; the first is the one that is injected, and all are recognised.
    pub variants: &'static [&'static str],
    /// Whether the mistake has a number of its own (a bias, another matrix), which the diagnosis has to find.
    pub parametric: bool,
    /// Whether it is of the list that the harness promises; the others are found in practice and recognised too.
    pub listed: bool,
}

/// Whose mistake it is: it can be made in every model, or in those of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Every,
    Gpt2,
    /// Llama and Qwen2.
    Llama,
}

impl Family {
    /// As a table heads its column.
    pub fn name(self) -> &'static str {
        match self {
            Family::Every => "every model",
            Family::Gpt2 => "GPT-2",
            Family::Llama => "Llama, Qwen2",
        }
    }
}

/// What an input must be like for a fault to change a tensor by more than the tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reveal {
    /// Any prompt of a few tokens, with two decode steps.
    Ordinary,
    /// Rows of small variance in the residual stream.
    SmallVariance,
    /// A prompt whose end goes through in a chunk of its own.
    SecondChunk,
    /// As many tokens as a head is wide: a matrix that should be transposed has the right shape.
    SquareScores,
    /// Two tokens share the largest logit.
    Tie,
    /// Logits whose exponential overflows.
    LargeLogits,
    /// A text with a blank in it.
    Blank,
}

impl Reveal {
    pub const ALL: [Reveal; 7] = [
        Reveal::Ordinary,
        Reveal::SmallVariance,
        Reveal::SecondChunk,
        Reveal::SquareScores,
        Reveal::Tie,
        Reveal::LargeLogits,
        Reveal::Blank,
    ];

    pub fn phrase(self) -> &'static str {
        match self {
            Reveal::Ordinary => "any prompt",
            Reveal::SmallVariance => "rows of small variance",
            Reveal::SecondChunk => "a prompt in two chunks",
            Reveal::SquareScores => "T = D",
            Reveal::Tie => "two equal largest logits",
            Reveal::LargeLogits => "logits whose exponential overflows",
            Reveal::Blank => "a text with a blank",
        }
    }
}

impl Entry {
    pub(super) const fn new(fault: Fault, name: &'static str) -> Self {
        Self {
            fault,
            family: Family::Every,
            name,
            also: &[],
            lives: 0,
            shows: "",
            acts: &[],
            formula: "",
            faulty: "",
            change: "",
            reveal: Reveal::Ordinary,
            variants: &[""],
            parametric: false,
            listed: true,
        }
    }

    /// The checkpoint that it lives at, and the tensor that shows it first.
    pub(super) const fn at(self, lives: u8, shows: &'static str, acts: &'static [Station]) -> Self {
        Self { lives, shows, acts, ..self }
    }

    pub(super) const fn is(self, faulty: &'static str, formula: &'static str) -> Self {
        Self { formula, faulty, ..self }
    }

    pub(super) const fn change(self, change: &'static str) -> Self {
        Self { change, ..self }
    }

    pub(super) const fn by(self, reveal: Reveal) -> Self {
        Self { reveal, ..self }
    }

    pub(super) const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    pub(super) const fn variants(self, variants: &'static [&'static str]) -> Self {
        Self { variants, ..self }
    }

    pub(super) const fn gpt2(self) -> Self {
        Self { family: Family::Gpt2, ..self }
    }

    pub(super) const fn llama(self) -> Self {
        Self { family: Family::Llama, ..self }
    }

    pub(super) const fn parametric(self) -> Self {
        Self { parametric: true, ..self }
    }

    pub(super) const fn extra(self) -> Self {
        Self { listed: false, ..self }
    }

    /// Whether the model has what the mistake is made in; in another it changes nothing, or cannot be made.
    pub fn applies(&self, model: &Model<'_>) -> bool {
        let (heads, key_heads) = (model.configuration.n_head(), model.configuration.n_kv_head());
        let (is_of_the_family, part) = match model.configuration {
            Configuration::Gpt2(_) => (self.family != Family::Llama, true),
            Configuration::Llama(sizes) => {
                let part = match self.fault {
                    Fault::QkvBiasesZeroed | Fault::OneBiasMissing => sizes.qkv_bias,
                    Fault::OutputBiasMissing => sizes.output_bias,
                    Fault::RopeScalingIgnored => sizes.rope_scaling != RopeScaling::None,
                    Fault::RotaryAdjacentPairs | Fault::RotaryRowsPermuted => sizes.head_size > 2,
                    Fault::HeadGroup => 1 < key_heads && key_heads < heads,
                    _ => true,
                };
                (self.family != Family::Gpt2, part)
            }
        };
        let whole = match self.fault {
            Fault::OtherHeadsValues => key_heads > 1,
            Fault::UntiedHead => !model.has_own_head(),
            Fault::TiedHead => model.has_own_head(),
            _ => true,
        };
        is_of_the_family && part && whole
    }

    /// `unbiased-variance`: what a command line calls it.
    pub fn slug(&self) -> String {
        let mut slug = String::new();
        for letter in format!("{:?}", self.fault).chars() {
            if letter.is_ascii_uppercase() && !slug.is_empty() {
                slug.push('-');
            }
            slug.push(letter.to_ascii_lowercase());
        }
        slug
    }

    /// The first tensor that it changes, in a model of so many layers.
    pub fn shows_in(&self, layers: usize) -> String {
        self.shows.replace("{last}", &format!("{:02}", layers - 1))
    }

    /// What the name leaves open, for a variant that is not the only one.
    pub fn variant(&self, number: usize) -> Option<&'static str> {
        self.variants.get(number).copied().filter(|variant| !variant.is_empty())
    }
}

/// A change of the code that changes no tensor beyond rounding, and that nobody can catch.
#[derive(Clone, Copy, Debug)]
pub struct Equivalent {
    pub name: &'static str,
    pub lives: u8,
    pub reason: &'static str,
}
