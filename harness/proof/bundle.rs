//! The folder: `<root>/<kind>/<run id>/`, each file with its secrets removed, and a hash of every one at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::redact::Redactor;
use crate::model::digest::sha256_hex;

/// The file of hashes: one line for each other file, as `sha256sum --check` reads them.
pub const MANIFEST: &str = "MANIFEST.sha256";

/// What kind of run it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Unit,
    Integration,
    Contract,
    Bdd,
    Determinism,
    E2eHaiku,
    Checkpoints,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Unit => "unit",
            Kind::Integration => "integration",
            Kind::Contract => "contract",
            Kind::Bdd => "bdd",
            Kind::Determinism => "determinism",
            Kind::E2eHaiku => "e2e-haiku",
            Kind::Checkpoints => "checkpoints",
        }
    }
}

/// Where the bundle of a run goes that starts now: `$LLORCH_PROOF_DIR` or `.proof_bundle`, and `$LLORCH_RUN_ID` or the time
/// with the commit's first eight digits.
pub fn place(kind: Kind, root: Option<&Path>) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root =
        root.map(Path::to_path_buf).or_else(|| set("LLORCH_PROOF_DIR")).unwrap_or_else(|| ".proof_bundle".into());
    let folder = root.join(kind.word());
    if let Some(id) = set("LLORCH_RUN_ID") {
        return folder.join(id);
    }
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
    let id = format!("{now}-{}", super::environment::commit());
    // two runs within a second are two bundles
    (1..)
        .map(|count| if count == 1 { folder.join(&id) } else { folder.join(format!("{id}-{count}")) })
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join(id))
}

pub struct Bundle {
    folder: PathBuf,
    redactor: Redactor,
    hashes: BTreeMap<String, String>,
}

impl Bundle {
    /// A folder of its own: one that has files in it already is refused, or two runs would be mixed.
    pub fn create(folder: PathBuf, redactor: Redactor) -> io::Result<Bundle> {
        fs::create_dir_all(&folder)?;
        if fs::read_dir(&folder)?.next().is_some() {
            let problem = format!("{} is not empty: a bundle holds one run", folder.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
        Ok(Bundle { folder, redactor, hashes: BTreeMap::new() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        let text = self.redactor.clean(text);
        fs::write(self.folder.join(name), &text)?;
        self.hashes.insert(name.to_owned(), sha256_hex(text.as_bytes()));
        Ok(())
    }

    /// What was written, read back.
    pub fn read(&self, name: &str) -> io::Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(self.folder.join(name))?)?)
    }

    pub fn read_lines(&self, name: &str) -> io::Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.join(name))?;
        text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
    }

    /// The value as it is after it was written.
    pub fn cleaned<T: Serialize + DeserializeOwned>(&self, value: &T) -> io::Result<T> {
        Ok(serde_json::from_str(&self.redactor.clean(&serde_json::to_string(value)?))?)
    }

    pub fn json(&mut self, name: &str, value: &Value) -> io::Result<()> {
        self.text(name, &format!("{value:#}\n"))
    }

    pub fn lines(&mut self, name: &str, lines: &[Value]) -> io::Result<()> {
        self.text(name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>())
    }

    /// Writes the hashes: nothing is added afterwards.
    pub fn seal(self) -> io::Result<PathBuf> {
        let lines: String = self.hashes.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
        fs::write(self.folder.join(MANIFEST), lines)?;
        Ok(self.folder)
    }
}
