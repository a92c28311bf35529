//! The proof that every fault would be noticed: each is injected, and must show at the first station that it changes, at no
//! station that it does not act on, and under its own name.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use super::revealing::{Trial, TrialError, trials};
use super::{Entry, Fault, Injected, Injection, Reveal};
use crate::parity::capture::{Capture, Tensor as Captured, Values};
use crate::parity::diagnose::{Diagnosis, Found, diagnose};
use crate::parity::diff::text::TEXT;
use crate::parity::oracle::{Honest, OracleError, Run, run};
use crate::parity::tolerance::{LogitScale, tolerance};
use crate::parity::{Place, Profile, oracle};

/// What became of every fault.
#[derive(Clone, Debug, Default)]
pub struct KillMatrix {
    /// In the order of the catalogue.
    pub kills: Vec<Kill>,
}

/// What became of one fault on one model.
#[derive(Clone, Debug)]
pub struct Kill {
    pub fault: Fault,
    pub variant: usize,
    pub model: String,
    /// The checkpoints of whose tensors some differ, 1 to 12, in the order of execution: 7 has a station before 6.
    pub differing: Vec<u8>,
    /// How far off each tensor is, in tolerances.
    pub errors: Vec<(Place, f64)>,
    /// The first tensor that differs, and the one that the catalogue names.
    pub first: Option<String>,
    pub expected: String,
    pub outcome: Outcome,
    pub diagnosis: Diagnosis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Caught where the catalogue says, and named.
    Killed,
    /// Nothing differs.
    Survived,
    /// Caught at another tensor than the first that it changes.
    Misplaced,
    /// A local difference at a station that the fault does not act on.
    Spilled(String),
    /// Caught, and not named.
    Unnamed,
}

impl KillMatrix {
    pub fn survivors(&self) -> impl Iterator<Item = &Kill> {
        self.kills.iter().filter(|kill| kill.outcome != Outcome::Killed)
    }
}

impl Kill {
    pub fn entry(&self) -> &'static Entry {
        self.fault.entry()
    }
}

/// Injects every fault of the catalogue, in its first variant, into models of several shapes of each family that has it.
pub fn kill_matrix() -> Result<KillMatrix, &'static TrialError> {
    let all: Result<Vec<_>, _> = Fault::all().map(kills).collect();
    Ok(KillMatrix { kills: all?.concat() })
}

/// What became of one fault, in its first variant, in every model that can have it.
pub fn kills(entry: &'static Entry) -> Result<&'static [Kill], &'static TrialError> {
    SHARED.as_ref()?.kills(entry)
}

/// A matrix is the same whenever it is computed, and several cases want a part of it.
static SHARED: LazyLock<Result<Shared, TrialError>> = LazyLock::new(Shared::new);

struct Shared {
    /// A model on one of the inputs that reveal, with its right run.
    prepared: BTreeMap<(usize, u8), (Trial, Run)>,
    kills: BTreeMap<Fault, OnceLock<Result<Vec<Kill>, TrialError>>>,
}

impl Shared {
    fn new() -> Result<Self, TrialError> {
        let mut prepared = BTreeMap::new();
        for (number, trial) in trials()?.into_iter().enumerate() {
            for reveal in Reveal::ALL {
                let trial = trial.revealing(reveal)?;
                let honest = run(&trial.model(), &trial.request(true), &Honest)?;
                prepared.insert((number, reveal as u8), (trial, honest));
            }
        }
        let kills = Fault::all().map(|entry| (entry.fault, OnceLock::new())).collect();
        Ok(Self { prepared, kills })
    }

    fn kills(&self, entry: &'static Entry) -> Result<&[Kill], &TrialError> {
        let can = |((_, reveal), (trial, _)): &(&(usize, u8), &(Trial, Run))| {
            *reveal == entry.reveal as u8 && entry.applies(&trial.model())
        };
        let made = || {
            let on = |(_, (trial, honest)): (_, &(Trial, Run))| Ok(kill(entry, 0, trial, honest)?);
            self.prepared.iter().filter(can).map(on).collect()
        };
        self.kills[&entry.fault].get_or_init(made).as_ref().map(Vec::as_slice)
    }
}

/// One variant of a fault on one model.
pub fn kill(entry: &'static Entry, variant: usize, trial: &Trial, honest: &Run) -> Result<Kill, OracleError> {
    let model = trial.model();
    let injection = Injection { fault: entry.fault, layer: None, variant };
    let faulty = run(&model, &trial.request(true), &Injected::from(injection))?;
    let (reference, found) = (honest.capture(&model), in_f32(faulty.capture(&model)));
    let errors = errors(&reference, &found);
    let differing: Vec<Place> = errors.iter().filter(|(_, error)| *error > 1.0).map(|(place, _)| *place).collect();
    // The text is no tensor: where it alone differs, it is what shows the fault.
    let other_text = reference.manifest.generated_text != found.manifest.generated_text;
    let first = differing.first().map(|place| place.name()).or_else(|| other_text.then(|| TEXT.to_owned()));
    let mut expected = entry.shows_in(trial.configuration.n_layer());
    // Of tensors with two names, the first in the order of execution.
    if let Some(layer) = expected.strip_prefix("cp08.block.").and_then(|layer| layer.parse::<usize>().ok()) {
        expected = Place::new(crate::layers::Station::Block, layer, 0).name();
    }
    let diagnosis = diagnose(&model, Some(&reference), &found);
    let named = diagnosis
        .findings
        .first()
        .is_some_and(|finding| finding.faults.iter().any(|named| named.fault() == entry.fault));
    let outcome = if first.is_none() {
        Outcome::Survived
    } else if first.as_deref() != Some(expected.as_str()) {
        Outcome::Misplaced
    } else if let Some(place) = spilled(entry, &model, &found) {
        Outcome::Spilled(place.name())
    } else if !named {
        Outcome::Unnamed
    } else {
        Outcome::Killed
    };
    let mut checkpoints = Vec::new();
    for checkpoint in differing.iter().map(|place| place.checkpoint()).chain(other_text.then_some(12)) {
        if !checkpoints.contains(&checkpoint) {
            checkpoints.push(checkpoint);
        }
    }
    Ok(Kill {
        fault: entry.fault,
        variant,
        model: trial.name.clone(),
        differing: checkpoints,
        errors,
        first,
        expected,
        outcome,
        diagnosis,
    })
}

/// As an engine would show it that computes in f32.
pub fn in_f32(mut capture: Capture) -> Capture {
    for tensor in capture.tensors.values_mut() {
        if let Values::F64(values) = &tensor.values {
            *tensor = Captured::f32(&tensor.shape, values.iter().map(|value| *value as f32).collect());
        }
    }
    capture
}

/// The places whose tensors are not within their tolerance, in the order of execution.
pub fn differing(reference: &Capture, found: &Capture) -> Vec<Place> {
    let beyond = |(place, error): (Place, f64)| (error > 1.0).then_some(place);
    errors(reference, found).into_iter().filter_map(beyond).collect()
}

/// How far off each tensor of the reference is, as a multiple of its tolerance: infinitely, where it is missing or no number.
fn errors(reference: &Capture, found: &Capture) -> Vec<(Place, f64)> {
    let mut places: Vec<Place> = reference.tensors.keys().filter_map(|name| Place::of_name(name)).collect();
    places.sort();
    let logits = reference.tensors.get("cp09.logits");
    let largest = logits.map_or(1.0, |logits| logits.to_f64().iter().fold(1.0, |a: f64, b| a.max(b.abs())));
    let error = |place: Place| {
        let (Some(a), Some(b)) = (reference.tensors.get(&place.name()), found.tensors.get(&place.name())) else {
            return f64::INFINITY;
        };
        if a.shape != b.shape {
            return f64::INFINITY;
        }
        let rule = tolerance(place, Profile::Exact, LogitScale { largest }).rule;
        let masked = |x: f64| x < -1e30;
        let error = |(a, b): (&f64, &f64)| {
            let same = a == b || (a.is_nan() && b.is_nan()) || (masked(*a) && masked(*b));
            match (a - b).abs() / rule.allowed(*a) {
                _ if same => 0.0,
                error if a.is_finite() && error.is_finite() => error,
                _ => f64::INFINITY,
            }
        };
        a.to_f64().iter().zip(b.to_f64().iter()).map(error).fold(0.0, f64::max)
    };
    places.into_iter().map(|place| (place, error(place))).collect()
}

/// A place that is wrong on its own inputs, and on which the fault does not act.
fn spilled(entry: &Entry, model: &oracle::Model<'_>, found: &Capture) -> Option<Place> {
    let trace = Found::new(*model, found);
    trace.tensors.keys().copied().find(|place| {
        if entry.acts.is_empty() || entry.acts.contains(&place.station) || place.step > 0 || entry.lives == 12 {
            return false;
        }
        let Some(honest) = trace.recompute(*place, &Honest) else { return false };
        let limit = crate::parity::diagnose::step_tolerance(*place, Profile::Exact);
        trace
            .tensors
            .get(place)
            .is_some_and(|shown| crate::parity::diagnose::apart_in(*place, shown, &honest.tensor) > limit)
    })
}
