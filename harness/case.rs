//! One case: a scenario, or one row of an outline, with the address that names it for ever.
//!
//! Everything that the runner and the writers need is read here once from the tags. An address is a tag and never a
//! position, so that moving a scenario does not rename it: `@case:worker/execute/4` is `worker/execute/4`, and the row
//! of an outline adds its first cell, `worker/execute/7/2.1`.

use serde::Serialize;

/// How much a case weighs when it does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Level {
    /// `@must`: broken is FAIL.
    Must,
    /// `@should`: broken is NON-STRICT.
    Should,
    /// `@ours`: a MUST for the built-in worker, a SHOULD for any other.
    Ours,
}

impl Level {
    fn of_tag(tag: &str) -> Option<Self> {
        match tag {
            "must" => Some(Level::Must),
            "should" => Some(Level::Should),
            "ours" => Some(Level::Ours),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
            Level::Ours => "OURS",
        }
    }
}

/// What a case needs that a bare machine does not have. Outside the default scope; asked for, its absence is a FAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    RealLlama,
    Docker,
    Gpu,
    RealGpt2,
    Hf,
    Sshd,
    /// And a C compiler.
    Cmake,
    Schemathesis,
    /// Nothing but time.
    Storm,
}

impl Lane {
    pub const ALL: [Lane; 9] = [
        Lane::RealLlama,
        Lane::Docker,
        Lane::Gpu,
        Lane::RealGpt2,
        Lane::Hf,
        Lane::Sshd,
        Lane::Cmake,
        Lane::Schemathesis,
        Lane::Storm,
    ];

    /// As in `@lane:real-llama`.
    pub fn word(self) -> &'static str {
        match self {
            Lane::RealLlama => "real-llama",
            Lane::Docker => "docker",
            Lane::Gpu => "gpu",
            Lane::RealGpt2 => "real-gpt2",
            Lane::Hf => "hf",
            Lane::Sshd => "sshd",
            Lane::Cmake => "cmake",
            Lane::Schemathesis => "schemathesis",
            Lane::Storm => "storm",
        }
    }

    /// Set to 1, it turns the lane's absence into a failure.
    pub fn variable(self) -> &'static str {
        match self {
            Lane::RealLlama => "REQUIRE_REAL_LLAMA",
            Lane::Docker => "REQUIRE_DOCKER",
            Lane::Gpu => "REQUIRE_GPU",
            Lane::RealGpt2 => "REQUIRE_REAL_GPT2",
            Lane::Hf => "REQUIRE_HF",
            Lane::Sshd => "REQUIRE_SSHD",
            Lane::Cmake => "REQUIRE_CMAKE",
            Lane::Schemathesis => "REQUIRE_SCHEMATHESIS",
            Lane::Storm => "REQUIRE_STORM",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        Lane::ALL.into_iter().find(|lane| lane.word() == word)
    }
}

/// Where something stands in a feature file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: String,
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    pub address: String,
    pub name: String,
    /// The name of the feature it stands in.
    pub feature: String,
    pub level: Level,
    /// `M0-W-1300`, `SYS-6.3.4`, or one of our own series, `LL-…`.
    pub requirements: Vec<String>,
    pub lanes: Vec<Lane>,
    /// Which of the checkpoints 0–12 it belongs to.
    pub checkpoint: Option<u8>,
    /// Which rung of the ladder it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rung: Option<u8>,
    /// Under a few hundred milliseconds, and part of the ten-second selection.
    pub quick: bool,
    /// Runs while no other case does.
    pub serial: bool,
    /// Wants a worker that nobody has used.
    pub fresh: bool,
    /// Only asked of a stub backend of ours.
    pub stub: bool,
    pub place: Place,
    /// Every tag that holds for it, its feature's and rule's included.
    #[serde(skip)]
    pub tags: Vec<String>,
}

/// Why a scenario is not a case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    #[error("{0}: no address: give the scenario a tag like @case:worker/execute/4")]
    NoAddress(Titled),
    #[error("{0}: the address {1:?} may hold only letters, digits and . _ - /")]
    BadAddress(Titled, String),
    #[error("{0}: no level: one of @must, @should, @ours")]
    NoLevel(Titled),
    #[error("{0}: more than one level: exactly one of @must, @should, @ours")]
    ManyLevels(Titled),
    #[error("{0}: no requirement: a tag like @M0-W-1300, @SYS-6.3.4 or one of our own series, @LL-…")]
    NoRequirement(Titled),
    #[error("{0}: the lane {1:?} is not one of real-llama, docker, gpu, real-gpt2, hf, sshd, storm")]
    UnknownLane(Titled, String),
    #[error("{0}: no steps")]
    NoSteps(Titled),
}

/// A scenario as an error names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Titled {
    pub place: Place,
    pub name: String,
}

impl std::fmt::Display for Titled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.place, self.name)
    }
}

impl Case {
    /// Reads one expanded scenario; `tags` are all that hold for it, those of the feature first.
    pub(super) fn read(
        feature: &gherkin::Feature,
        scenario: &gherkin::Scenario,
        tags: Vec<String>,
        file: &str,
    ) -> Result<Case, CaseError> {
        let place = Place { file: file.to_owned(), line: scenario.position.line };
        let titled = || Titled { place: place.clone(), name: scenario.name.clone() };
        let after = |prefix: &str| tags.iter().filter_map(|tag| tag.strip_prefix(prefix)).collect::<Vec<_>>();

        let address = *after("case:").last().ok_or_else(|| CaseError::NoAddress(titled()))?;
        let clean = !address.is_empty() && address.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        if !clean {
            return Err(CaseError::BadAddress(titled(), address.to_owned()));
        }
        let address = match row_key(scenario) {
            Some(key) => format!("{address}/{key}"),
            None => address.to_owned(),
        };

        // The innermost level wins: a scenario may soften or harden what its feature says.
        let own: Vec<Level> = scenario.tags.iter().filter_map(|tag| Level::of_tag(tag)).collect();
        let inherited: Vec<Level> = tags.iter().filter_map(|tag| Level::of_tag(tag)).collect();
        let level = match (own.as_slice(), inherited.as_slice()) {
            ([one], _) | ([], [one]) => *one,
            ([], []) => return Err(CaseError::NoLevel(titled())),
            _ => return Err(CaseError::ManyLevels(titled())),
        };

        let mut requirements: Vec<String> = tags.iter().filter(|tag| is_requirement(tag)).cloned().collect();
        requirements.dedup();
        if requirements.is_empty() {
            return Err(CaseError::NoRequirement(titled()));
        }
        let lanes = after("lane:")
            .into_iter()
            .map(|word| Lane::of_word(word).ok_or_else(|| CaseError::UnknownLane(titled(), word.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        if scenario.steps.is_empty() {
            return Err(CaseError::NoSteps(titled()));
        }
        let rung = after("rung:").last().and_then(|number| number.parse().ok());
        let checkpoint = after("checkpoint:").last().and_then(|number| number.parse().ok());
        let has = |name: &str| tags.iter().any(|tag| tag == name);
        Ok(Case {
            name: scenario.name.clone(),
            feature: feature.name.clone(),
            level,
            requirements,
            lanes,
            checkpoint: checkpoint.or_else(|| checkpoint_of(file)),
            rung,
            quick: has("quick"),
            serial: has("serial"),
            fresh: has("fresh"),
            stub: has("stub"),
            address,
            place,
            tags,
        })
    }

    /// A test of a single part, which is no scenario and is reported beside them.
    pub fn unit(name: &str) -> Case {
        Case {
            address: name.to_owned(),
            name: name.rsplit('/').next().unwrap_or(name).replace('_', " "),
            feature: "unit tests".to_owned(),
            level: Level::Must,
            requirements: Vec::new(),
            lanes: Vec::new(),
            checkpoint: None,
            rung: None,
            quick: true,
            serial: false,
            fresh: false,
            stub: false,
            place: Place { file: "harness/unit".to_owned(), line: 0 },
            tags: Vec::new(),
        }
    }

    /// About the harness itself.
    pub fn is_selftest(&self) -> bool {
        self.address.starts_with("selftest/")
    }

    /// About the form of an engine's own API.
    pub fn is_of_an_api(&self) -> bool {
        self.address.starts_with("api/")
    }

    /// About the harness itself, or about the daemons around a worker: whatever the target, and only where it is asked for.
    pub fn is_beside_the_target(&self) -> bool {
        self.is_selftest() || self.tags.iter().any(|tag| tag == "chain")
    }

    pub fn is_unit(&self) -> bool {
        self.place.line == 0
    }
}

/// `M0-W-1300`, `SYS-6.3.4`, `LL-EXIT-4`.
fn is_requirement(tag: &str) -> bool {
    let milestone = tag.strip_prefix('M').and_then(|rest| rest.split_once('-')).is_some_and(|(number, rest)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty()
    });
    milestone || ["SYS-", "LL-"].iter().any(|series| tag.strip_prefix(series).is_some_and(|rest| !rest.is_empty()))
}

/// `features/checkpoints/04_attention_scores.feature` belongs to checkpoint 4.
fn checkpoint_of(file: &str) -> Option<u8> {
    let (_, name) = file.rsplit_once("checkpoints/")?;
    name.split_once('_')?.0.parse().ok()
}

/// The first cell of an outline's row, as a shell and nextest can carry it.
fn row_key(scenario: &gherkin::Scenario) -> Option<String> {
    let table = scenario.examples.first()?.table.as_ref()?;
    let cell = table.rows.get(1)?.first()?;
    let key: String = cell
        .chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect();
    // `.` and `..` would read as folders, and an empty cell as none.
    Some(match key.as_str() {
        "" => "empty".to_owned(),
        "." | ".." => key.replace('.', "_"),
        _ => key,
    })
}
