//! Two captures held against each other: where they first part, by how much, and what that looks like.
//!
//! `comparable` says whether the question makes sense; `rows` judges each station in the order in which engines compute;
//! `location` and `pattern` describe the first divergence; `story` prints it all for people. What needs the model (each
//! step on its own inputs, the cause by name) comes through [`Insight`], and only through it.

pub mod comparable;
pub mod figures;
pub mod formula;
#[cfg(feature = "bdd")]
mod known;
pub mod location;
pub mod logs;
pub mod pattern;
mod quantised;
mod rows;
#[cfg(feature = "bdd")]
pub mod story;
pub mod text;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::capture::{Capture, Manifest, Tensor};
use super::compare::{Pair, Verdict};
use super::tolerance::Profile;
use super::{Place, Words};

pub use comparable::{Mismatch, TokenDivergence};
#[cfg(feature = "bdd")]
pub use known::Known;
pub use location::Location;
pub use logs::diff_logs;
pub use pattern::Pattern;
pub use quantised::Noise;
pub use rows::{Row, Standing};
pub use text::TextDivergence;

/// A station computed by the reference from the *found* capture's own inputs to it; none where an input is missing.
pub type Steps<'a> = Box<dyn Fn(Place) -> Option<Tensor> + 'a>;

/// What a model lets a diff say beyond the numbers.
pub trait Insight {
    fn steps<'a>(&'a self, found: &'a Capture) -> Steps<'a>;

    /// What is wrong, by name and with its evidence, or why nothing is named.
    fn diagnose(&self, reference: &Capture, found: &Capture) -> Option<Box<dyn fmt::Display>>;
}

#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// What the readers found wrong between manifests and tensors.
    pub disagreements: &'a [String],
    /// A quantised model against its original: judged by signal to noise.
    pub allow_different_weights: bool,
    /// 0 counts as 1.
    pub threads: usize,
    pub insight: Option<&'a dyn Insight>,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    pub engine: String,
    pub engine_version: String,
    pub model: String,
    pub architecture: String,
    pub weights_dtype: String,
    pub compute_dtype: String,
    pub tensors: usize,
}

impl Side {
    fn of(manifest: &Manifest, tensors: usize) -> Side {
        let Manifest { engine, engine_version, model, architecture, weights_dtype, compute_dtype, .. } =
            manifest.clone();
        Side { engine, engine_version, model, architecture, weights_dtype, compute_dtype, tensors }
    }

    /// `transformers 5.1.0, F64`
    pub fn title(&self) -> String {
        let name = if self.engine.is_empty() { "an engine without a name" } else { &self.engine };
        let words = [name, &self.engine_version].into_iter().filter(|word| !word.is_empty());
        let title = words.collect::<Vec<_>>().join(" ");
        if self.compute_dtype.is_empty() { title } else { format!("{title}, {}", self.compute_dtype) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Parity,
    Divergence,
    NotComparable,
}

impl Outcome {
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Parity => 0,
            Outcome::Divergence => 1,
            Outcome::NotComparable => 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    pub outcome: Outcome,
    pub reference: Side,
    pub found: Side,
    pub profile: Profile,
    /// Where quantised weights are judged by signal to noise, and not by a tolerance.
    pub noise: Option<Noise>,
    pub token_ids: Vec<u32>,
    /// Why the two can't be compared at all.
    pub mismatches: Vec<Mismatch>,
    /// What could not be checked, since one side does not say it.
    pub unknown: Vec<&'static str>,
    /// A manifest that says something else than its tensors: a capture that somebody touched is no proof.
    pub disagreements: Vec<String>,
    /// The same prompt became other tokens: nothing after that can agree.
    pub tokens: Option<TokenDivergence>,
    /// In execution order; names that no station has come last.
    pub rows: Vec<Row>,
    pub first: Option<First>,
    /// The generated text is another, though the ids are the same.
    pub text: Option<TextDivergence>,
}

/// The first station that is not as it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct First {
    pub place: Place,
    /// Absent where the numbers can't be paired.
    pub location: Option<Location>,
    pub patterns: Vec<Pattern>,
    /// The cause by name, where a model was there to find it with.
    pub diagnosis: Option<String>,
}

impl Diff {
    pub fn first_row(&self) -> Option<&Row> {
        let place = self.first.as_ref()?.place;
        self.rows.iter().find(|row| row.place == Some(place))
    }

    pub fn count(&self, standing: Standing) -> usize {
        self.rows.iter().filter(|row| row.standing() == standing).count()
    }

    /// In whose words its stations are told.
    pub fn words(&self) -> Words {
        let stations = self.rows.iter().filter_map(|row| Some(row.place?.station));
        Words::of(&self.reference.architecture, stations)
    }

    pub fn missing(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.comparison.verdict == Verdict::Missing)
    }
}

impl Diff {
    /// What the two manifests say, before any tensor is looked at.
    fn open(reference: &Manifest, found: &Manifest, tensors: [usize; 2], other_weights: bool) -> Diff {
        let profiles = [reference, found].into_iter().filter_map(|side| Profile::of_name(&side.tolerance_profile));
        Diff {
            outcome: Outcome::NotComparable,
            reference: Side::of(reference, tensors[0]),
            found: Side::of(found, tensors[1]),
            profile: profiles.max().unwrap_or_default(),
            noise: Noise::between(reference, found, other_weights),
            token_ids: reference.token_ids.clone(),
            mismatches: comparable::mismatches(reference, found, other_weights),
            unknown: comparable::unknown(reference, found),
            disagreements: Vec::new(),
            tokens: comparable::token_divergence(reference, found),
            rows: Vec::new(),
            first: None,
            text: None,
        }
    }

    /// Parity is where nothing is wrong and something was compared.
    fn conclude(&mut self) {
        let wrong_by_itself = |row: &Row| row.local.is_some_and(|local| local.verdict == Verdict::Differs);
        let noisy = self.noise.is_some() && self.rows.iter().any(wrong_by_itself);
        let wrong = noisy || self.rows.iter().any(|row| row.comparison.verdict.is_failure());
        let right = self.rows.iter().any(|row| row.comparison.verdict == Verdict::Pass);
        let diverges =
            wrong || !right || self.tokens.is_some() || self.text.is_some() || !self.disagreements.is_empty();
        self.outcome = if diverges { Outcome::Divergence } else { Outcome::Parity };
    }
}

/// Holds `found` against `reference`.
pub fn diff(reference: &Capture, found: &Capture, options: Options<'_>) -> Diff {
    let tensors = [reference.tensors.len(), found.tensors.len()];
    let mut diff = Diff::open(&reference.manifest, &found.manifest, tensors, options.allow_different_weights);
    diff.disagreements = options.disagreements.to_vec();
    if !diff.mismatches.is_empty() {
        return diff;
    }
    diff.rows = rows::rows(reference, found, diff.profile, options, diff.noise, diff.tokens.is_some());
    let first = diff.rows.iter().find(|row| row.standing() == Standing::Diverges);
    // Causes are told from rounding in f32, which is far below that of quantised activations.
    let insight = options.insight.filter(|_| diff.noise.is_none());
    let cause = || Some(insight?.diagnose(reference, found)?.to_string());
    diff.first = first.and_then(|row| account_for(row, reference, found, &cause));
    diff.text = text::divergence(reference, found, diff.first.is_none());
    if let (Some(text), None) = (&mut diff.text, &diff.first) {
        text.diagnosis = cause();
    }
    diff.conclude();
    diff
}

/// Everything that can be said of the first divergence.
fn account_for(row: &Row, reference: &Capture, found: &Capture, cause: &dyn Fn() -> Option<String>) -> Option<First> {
    let place = row.place?;
    let pair = Pair {
        reference: by_place(reference).get(&place).copied()?,
        found: by_place(found).get(&place).copied()?,
        tolerance: row.tolerance,
        masked: rows::is_masked_station(place),
    };
    let paired = row.comparison.numbers.is_some();
    let location = paired.then(|| location::locate(place, pair)).flatten();
    Some(First {
        place,
        patterns: pattern::patterns(place, pair, reference, location.as_ref()),
        location,
        diagnosis: cause(),
    })
}

/// The tensors that have a place. `cp01.ln_1` and `cp01.ln_1.L00` are one: the first name counts.
fn by_place(capture: &Capture) -> BTreeMap<Place, &Tensor> {
    let mut places = BTreeMap::new();
    for (name, tensor) in &capture.tensors {
        if let Some(place) = Place::of_name(name) {
            places.entry(place).or_insert(tensor);
        }
    }
    places
}
