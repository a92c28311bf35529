//! The list of models that a machine has or may have: `.test-models/catalog.json`.
//!
//! `Store` is the file. It is read whole and checked, changed under a lock and replaced whole: writers lose nothing to
//! each other, readers never wait, and a file that can't be read is left exactly as it is.

mod entry;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::durable::{self, Lock, LockError};
pub use entry::{ARCHITECTURE_RULE, Format, ID_RULE, Model, REPO_RULE, is_architecture, is_model_id, is_repo};

/// Where models and their catalog lie, in the pool's folder.
pub const FOLDER: &str = ".test-models";
pub const VERSION: &str = "1.0";
/// For one change, which is milliseconds of work: nobody holds the lock while it downloads.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    pub version: String,
    /// The machine's name, as it was when the catalog began.
    pub pool_id: String,
    /// RFC 3339, UTC.
    pub updated_at: String,
    pub models: Vec<Model>,
    /// What others wrote here and we don't know is kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Each message is a whole sentence.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("the catalog {} can't be read: {source}; it was left as it is", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the catalog {} is damaged: {reason}; it was left as it is: mend it by hand, or move it away and register the \
         models again", path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error("the catalog can't be changed: {0}")]
    Lock(#[from] LockError),
    #[error("the catalog {} can't be written: {source}; it was left as it is", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("there is no model {id:?} in the catalog{}", known(known_ids))]
    UnknownModel { id: String, known_ids: Vec<String> },
}

fn known(ids: &[String]) -> String {
    match ids {
        [] => ", which is empty. Run: llorch-pool models register <id> --name … --repo … --architecture …".to_owned(),
        ids => format!("; it has: {}", ids.join(", ")),
    }
}

/// The catalog's file.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Of the pool in this folder.
    pub fn new(pool: &Path) -> Store {
        Store { folder: pool.join(FOLDER) }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("catalog.json")
    }

    /// The catalog as it stands; an empty one where there is no file yet.
    pub fn read(&self) -> Result<Catalog, CatalogError> {
        let path = self.path();
        match std::fs::read(&path) {
            Ok(bytes) => Catalog::parse(&bytes).map_err(|reason| CatalogError::Damaged { path, reason }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Catalog::empty()),
            Err(source) => Err(CatalogError::Read { path, source }),
        }
    }

    /// Reads, changes and replaces the catalog, while nobody else does. Nothing is written where the change fails.
    pub fn change<T, E: From<CatalogError>>(&self, change: impl FnOnce(&mut Catalog) -> Result<T, E>) -> Result<T, E> {
        let lock = Lock::take(&self.folder.join("catalog.lock"), PATIENCE).map_err(CatalogError::from)?;
        let mut catalog = self.read()?;
        let value = change(&mut catalog)?;
        catalog.updated_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let path = self.path();
        let written = catalog.text().map_err(io::Error::from).and_then(|text| durable::replace(&path, text.as_bytes()));
        written.map_err(|source| CatalogError::Write { path, source })?;
        drop(lock);
        Ok(value)
    }
}

impl Catalog {
    fn empty() -> Catalog {
        let pool_id = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Catalog {
            version: VERSION.to_owned(),
            pool_id: pool_id.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned()),
            updated_at: jiff::Timestamp::UNIX_EPOCH.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            models: Vec::new(),
            other: Map::new(),
        }
    }

    /// Checked: the version is ours, every entry is whole, and no id stands twice.
    pub fn parse(bytes: &[u8]) -> Result<Catalog, String> {
        if bytes.is_empty() {
            return Err("the file is empty".to_owned());
        }
        let catalog: Catalog = serde_json::from_slice(bytes).map_err(|problem| problem.to_string())?;
        if catalog.version != VERSION {
            return Err(format!("its version is {:?}, and {VERSION:?} is read here", catalog.version));
        }
        let mut seen = HashSet::new();
        for model in &catalog.models {
            if !is_model_id(&model.id) {
                return Err(format!("{:?} is no model id: {ID_RULE}", model.id));
            }
            if !seen.insert(&model.id) {
                return Err(format!("the model {:?} stands in it twice", model.id));
            }
        }
        Ok(catalog)
    }

    /// Without a newline at its end: so no proper beginning of the file is a catalog, and a cut is always seen.
    pub fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub fn model(&self, id: &str) -> Result<&Model, CatalogError> {
        self.models.iter().find(|model| model.id == id).ok_or_else(|| self.unknown(id))
    }

    pub fn model_mut(&mut self, id: &str) -> Result<&mut Model, CatalogError> {
        let unknown = self.unknown(id);
        self.models.iter_mut().find(|model| model.id == id).ok_or(unknown)
    }

    fn unknown(&self, id: &str) -> CatalogError {
        let known_ids = self.models.iter().map(|model| model.id.clone()).collect();
        CatalogError::UnknownModel { id: id.to_owned(), known_ids }
    }
}
