//! The house keeps its rules: a module uses those on its floor or below, and the harness nothing of the servers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub const TESTS: &[(&str, fn())] = &[
    ("architecture/floors", no_module_uses_one_above_its_floor),
    ("architecture/outside", the_harness_and_the_steps_use_nothing_of_the_servers),
    ("architecture/can_fail", a_forbidden_use_is_seen),
    ("architecture/requirements", every_requirement_is_cited),
];

/// The floors of `src/`, from the ground up.
const FLOORS: &[(&str, u32)] = &[
    ("tensor", 1),
    ("model", 1),
    ("layers", 2),
    ("cache", 2),
    ("sampling", 2),
    ("backend", 3),
    ("parity", 3),
    ("http", 3),
    ("worker", 4),
    ("orchestrator", 5),
    ("pool", 5),
    ("cli", 6),
];

const SERVERS: &[&str] = &["worker", "orchestrator", "pool"];

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the package") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The top modules of the library that a source names, as `crate::NAME` or `llorch::NAME`, outside comments.
fn modules_used(source: &str) -> Vec<String> {
    let mut used = Vec::new();
    for line in source.lines().map(|line| line.split("//").next().unwrap_or_default()) {
        for root in ["crate::", "llorch::"] {
            for (at, _) in line.match_indices(root) {
                let rest = &line[at + root.len()..];
                let names = rest.strip_prefix('{').map_or(rest, |list| list);
                let single = rest.len() == names.len();
                for name in names.split(',').take(if single { 1 } else { usize::MAX }) {
                    used.push(name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                }
            }
        }
    }
    used
}

fn no_module_uses_one_above_its_floor() {
    for (module, own) in FLOORS {
        for path in sources(&format!("src/{module}")) {
            for used in modules_used(&fs::read_to_string(&path).expect("a source")) {
                let above = floor(&used).is_some_and(|floor| floor > *own);
                assert!(!above, "{} (floor {own}) uses {used}, which stands above it", path.display());
            }
        }
    }
}

fn the_harness_and_the_steps_use_nothing_of_the_servers() {
    for path in ["harness", "steps"].into_iter().flat_map(sources) {
        if path.components().any(|part| part.as_os_str() == "unit") {
            continue;
        }
        for used in modules_used(&fs::read_to_string(&path).expect("a source")) {
            assert!(!SERVERS.contains(&used.as_str()), "{} uses {used}: it must judge from outside", path.display());
        }
    }
}

fn a_forbidden_use_is_seen() {
    let source = "// crate::nothing\nuse crate::worker::sse;\nuse llorch::{backend, pool::registry};\n";
    assert_eq!(modules_used(source), ["worker", "backend", "pool"]);
}

fn every_requirement_is_cited() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("features");
    let table = fs::read_to_string(root.join("REQUIREMENTS.md")).expect("the table of requirements");
    let mut features = String::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of features") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "feature") {
                features.push_str(&fs::read_to_string(&path).expect("a feature"));
                features.push('\n');
            }
        }
    }
    let cited: BTreeSet<&str> = features.split_whitespace().filter_map(|word| word.strip_prefix('@')).collect();
    for row in table.lines().filter_map(|line| line.strip_prefix("| ")) {
        let id = row.split(' ').next().unwrap_or_default();
        if id.contains('-') && id != "---" {
            assert!(cited.contains(id), "requirement {id} is in the table and in no scenario");
        }
    }
}
