//! What the user asked for: which cases, and of which target. Raw flags become these once, and nothing else reads flags.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cucumber::tag::Ext as _;
use gherkin::tagexpr::TagOperation;

use super::api::Api;
use super::case::{Case, Lane};
use super::catalogue::{Catalogue, Script};

#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub tags: Option<TagOperation>,
    /// Addresses, or what they begin with: `worker/execute` is all of it.
    pub addresses: Vec<String>,
    pub checkpoint: Option<u8>,
    /// Of the ladder.
    pub rung: Option<u8>,
    pub quick: bool,
    /// Found in the scenario's name.
    pub name: Option<regex::Regex>,
    /// Lanes whose absence is a failure: by `REQUIRE_…`, or by their tag in the expression.
    pub required: BTreeSet<Lane>,
    /// Also the cases that are about no target: the harness itself, and the chain of daemons; one that is named is always
    /// kept.
    pub beside: bool,
    /// Of an engine with an API of its own, the cases about that API are asked too.
    pub api: Api,
}

#[derive(Debug, thiserror::Error)]
#[error("no case is selected{}", hint(near))]
pub struct NothingSelected {
    pub near: Vec<String>,
}

fn hint(near: &[String]) -> String {
    match near {
        [] => "; `llorch list` shows every case".to_owned(),
        near => format!("; near what was asked: {}", near.join(", ")),
    }
}

impl Selection {
    /// A selection that requires the lanes that the environment asks for.
    pub fn from_environment() -> Self {
        let asked = |lane: &Lane| std::env::var(lane.variable()).is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
        Selection { required: Lane::ALL.into_iter().filter(asked).collect(), ..Selection::default() }
    }

    /// Cases whose tags the expression keeps. A lane that it names outright is asked for.
    #[must_use]
    pub fn with_tags(mut self, expression: TagOperation) -> Self {
        name_lanes(&expression, true, &mut self.required);
        self.beside |= names_what_is_beside(&expression);
        self.tags = Some(expression);
        self
    }

    /// True where the user named scope, so that what of it could not be tested has to be said by the exit code.
    pub fn is_named(&self) -> bool {
        self.tags.is_some()
            || !self.addresses.is_empty()
            || self.checkpoint.is_some()
            || self.rung.is_some()
            || self.name.is_some()
    }

    pub fn keeps(&self, case: &Case) -> bool {
        self.tags.as_ref().is_none_or(|expression| expression.eval(&case.tags))
            && (self.addresses.is_empty() || self.addresses.iter().any(|address| is_within(&case.address, address)))
            && (self.beside || !case.is_beside_the_target() || !self.addresses.is_empty())
            && (!self.api.is_native() || !case.is_of_an_api() || !self.addresses.is_empty())
            && self.checkpoint.is_none_or(|number| case.checkpoint == Some(number))
            && self.rung.is_none_or(|number| case.rung == Some(number))
            && (!self.quick || case.quick)
            && self.name.as_ref().is_none_or(|pattern| pattern.is_match(&case.name))
    }

    pub fn choose(&self, catalogue: &Catalogue) -> Result<Script, NothingSelected> {
        let script = catalogue.script(|case| self.keeps(case));
        // An address that names nothing is a mistake even beside others that do.
        let lost: Vec<&String> = self
            .addresses
            .iter()
            .filter(|address| !catalogue.cases().iter().any(|case| is_within(&case.address, address)))
            .collect();
        if script.cases.is_empty() || !lost.is_empty() {
            let near = lost.iter().flat_map(|address| catalogue.near(address)).map(str::to_owned).collect();
            return Err(NothingSelected { near });
        }
        Ok(script)
    }
}

/// `worker/execute/7/2.1` is within `worker/execute/7`, and `worker/execute/70` is not.
fn is_within(address: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('/');
    address.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn names_what_is_beside(expression: &TagOperation) -> bool {
    match expression {
        TagOperation::And(left, right) | TagOperation::Or(left, right) => {
            names_what_is_beside(left) || names_what_is_beside(right)
        }
        TagOperation::Not(_) => false,
        // Most lanes are about no target, and who names one asks for all of it.
        TagOperation::Tag(tag) => matches!(tag.as_str(), "selftest" | "chain") || tag.starts_with("lane:"),
    }
}

fn name_lanes(expression: &TagOperation, asked: bool, lanes: &mut BTreeSet<Lane>) {
    match expression {
        TagOperation::And(left, right) | TagOperation::Or(left, right) => {
            name_lanes(left, asked, lanes);
            name_lanes(right, asked, lanes);
        }
        TagOperation::Not(inner) => name_lanes(inner, !asked, lanes),
        TagOperation::Tag(tag) if asked => lanes.extend(tag.strip_prefix("lane:").and_then(Lane::of_word)),
        TagOperation::Tag(_) => {}
    }
}

/// The target as it was asked for, before anything has been started.
#[derive(Clone, Debug)]
pub struct TargetRequest {
    pub kind: TargetKind,
    /// The model file that the target runs, for known answers.
    pub model: Option<PathBuf>,
    /// In which formats the harness may hand model files to a target that it starts.
    pub model_formats: Vec<ModelFormat>,
    /// In which words it is asked.
    pub api: Api,
    /// The binary that carries the daemons: this one, or the one beside the test.
    pub llorch: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// `llorch llorch-cpud …`, with a backend of its own choosing or the one named.
    BuiltIn { backend: Option<BuiltInBackend> },
    /// A command that the harness starts; it can be split as a shell does.
    Spawn { command: String },
    /// A worker that runs already.
    Url { url: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BuiltInBackend {
    Stub,
    Cpu,
    /// llorch-candled, on the processor
    #[cfg(feature = "candle")]
    Candle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ModelFormat {
    Safetensors,
    Gguf,
}

impl ModelFormat {
    /// By the name of the file; a folder holds safetensors.
    pub fn of(path: &Path) -> ModelFormat {
        if path.extension().is_some_and(|end| end == "gguf") { ModelFormat::Gguf } else { ModelFormat::Safetensors }
    }
}
