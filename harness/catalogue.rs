//! Every case there is, read from the features: those embedded in the binary, or a folder's.
//!
//! A catalogue with a mistake in it is no catalogue: a missing or doubled address, level or requirement is an error that
//! names every place, before anything runs.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cucumber::feature::Ext as _;
use include_dir::{Dir, include_dir};

use super::case::{Case, CaseError};

static FEATURES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/features");

#[derive(Clone, Debug)]
pub struct Catalogue {
    features: Vec<gherkin::Feature>,
    cases: Vec<Arc<Case>>,
}

/// Cases chosen to be played, and the features cut down to them.
#[derive(Clone, Debug)]
pub struct Script {
    pub cases: Vec<Arc<Case>>,
    pub features: Vec<gherkin::Feature>,
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("failed to read features from {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not valid in the features:{}", if mistakes.len() == 1 { "1 thing" } else { "more than one thing" }, list(mistakes))]
    Invalid { mistakes: Vec<Mistake> },
}

#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    #[error("{file}: {source}")]
    Syntax { file: String, source: gherkin::ParseError },
    #[error("{file}: {source}")]
    Outline { file: String, source: cucumber::feature::ExpandExamplesError },
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error(
        "{second}: the address {address} is taken by {first}; in an outline, the first column must differ in every row"
    )]
    Doubled { address: String, first: String, second: String },
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect()
}

impl Catalogue {
    /// The features that this binary carries.
    pub fn embedded() -> Result<Self, CatalogueError> {
        let mut texts = Vec::new();
        collect_embedded(&FEATURES, &mut texts);
        Self::parse(texts)
    }

    /// The features below a folder.
    pub fn of_folder(folder: &Path) -> Result<Self, CatalogueError> {
        let mut texts = Vec::new();
        collect_folder(folder, &mut texts)?;
        Self::parse(texts)
    }

    /// From `(path as shown, text)`, in the order of the paths.
    pub fn parse(mut texts: Vec<(String, String)>) -> Result<Self, CatalogueError> {
        texts.sort();
        let mut catalogue = Catalogue { features: Vec::new(), cases: Vec::new() };
        let mut mistakes = Vec::new();
        for (file, text) in &texts {
            match read_feature(file, text) {
                Ok(feature) => catalogue.add(feature, file, &mut mistakes),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let mut places: HashMap<&str, String> = HashMap::new();
        for case in &catalogue.cases {
            if let Some(first) = places.insert(&case.address, case.place.to_string()) {
                let address = case.address.clone();
                mistakes.push(Mistake::Doubled { address, first, second: case.place.to_string() });
            }
        }
        if mistakes.is_empty() { Ok(catalogue) } else { Err(CatalogueError::Invalid { mistakes }) }
    }

    fn add(&mut self, mut feature: gherkin::Feature, file: &str, mistakes: &mut Vec<Mistake>) {
        let shell = gherkin::Feature { scenarios: Vec::new(), rules: Vec::new(), ..feature.clone() };
        let mut read = |scenario: &mut gherkin::Scenario, outer: &[String]| {
            let tags = outer.iter().chain(&scenario.tags).cloned().collect();
            match Case::read(&shell, scenario, tags, file) {
                Ok(case) => {
                    // From here on the tag is the whole address, the row's key included: it leads back to the case.
                    scenario.tags.retain(|tag| !tag.starts_with("case:"));
                    scenario.tags.push(format!("case:{}", case.address));
                    self.cases.push(Arc::new(case));
                }
                Err(mistake) => mistakes.push(mistake.into()),
            }
        };
        for scenario in &mut feature.scenarios {
            read(scenario, &feature.tags);
        }
        for rule in &mut feature.rules {
            let outer: Vec<String> = feature.tags.iter().chain(&rule.tags).cloned().collect();
            for scenario in &mut rule.scenarios {
                read(scenario, &outer);
            }
        }
        self.features.push(feature);
    }

    pub fn cases(&self) -> &[Arc<Case>] {
        &self.cases
    }

    /// The features cut down to the cases that `wanted` keeps.
    pub fn script(&self, wanted: impl Fn(&Case) -> bool) -> Script {
        Script { cases: self.cases.clone(), features: self.features.clone() }.keep(wanted)
    }

    /// Addresses that somebody who typed `wrong` may have meant, the likeliest first.
    pub fn near(&self, wrong: &str) -> Vec<&str> {
        let mut ranked: Vec<(usize, &str)> =
            self.cases.iter().map(|case| (distance(wrong, &case.address), case.address.as_str())).collect();
        ranked.sort();
        let limit = wrong.len().max(6);
        ranked.into_iter().filter(|(far, _)| *far < limit).take(5).map(|(_, address)| address).collect()
    }
}

impl Script {
    #[must_use]
    pub fn keep(mut self, wanted: impl Fn(&Case) -> bool) -> Script {
        self.cases.retain(|case| wanted(case));
        let kept: HashSet<&str> = self.cases.iter().map(|case| case.address.as_str()).collect();
        let keep = |scenario: &gherkin::Scenario| address_of(scenario).is_some_and(|address| kept.contains(address));
        for feature in &mut self.features {
            feature.scenarios.retain(keep);
            for rule in &mut feature.rules {
                rule.scenarios.retain(keep);
            }
            feature.rules.retain(|rule| !rule.scenarios.is_empty());
        }
        self.features.retain(|feature| feature.count_scenarios() > 0);
        self
    }
}

/// The address that the catalogue wrote onto an expanded scenario.
pub fn address_of(scenario: &gherkin::Scenario) -> Option<&str> {
    scenario.tags.iter().rev().find_map(|tag| tag.strip_prefix("case:"))
}

fn read_feature(file: &str, text: &str) -> Result<gherkin::Feature, Mistake> {
    let mut feature = gherkin::Feature::parse(text, gherkin::GherkinEnv::default())
        .map_err(|source| Mistake::Syntax { file: file.to_owned(), source })?;
    feature.path = Some(PathBuf::from(file));
    feature.expand_examples().map_err(|source| Mistake::Outline { file: file.to_owned(), source })
}

fn collect_embedded(folder: &Dir<'_>, texts: &mut Vec<(String, String)>) {
    for file in folder.files().filter(|file| file.path().extension().is_some_and(|end| end == "feature")) {
        let text = String::from_utf8_lossy(file.contents()).into_owned();
        texts.push((format!("features/{}", file.path().display()), text));
    }
    for inner in folder.dirs() {
        collect_embedded(inner, texts);
    }
}

fn collect_folder(folder: &Path, texts: &mut Vec<(String, String)>) -> Result<(), CatalogueError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| CatalogueError::Read { path, source }
    };
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.is_dir() {
            collect_folder(&path, texts)?;
        } else if path.extension().is_some_and(|end| end == "feature") {
            let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
            texts.push((path.display().to_string(), text));
        }
    }
    Ok(())
}

/// How many characters must change to turn one into the other (Levenshtein, one row at a time).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
