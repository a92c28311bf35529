//! What is kept about each worker of this machine: `.runtime/workers/<id>.json`, its log beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::ProcessId;
use crate::pool::durable::{self, Lock, LockError};

/// Where the workers' files lie, in the pool's folder.
pub const FOLDER: &str = ".runtime/workers";
/// A spawn holds the lock until the worker is started and its file is written, not until it is ready.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    pub worker_id: String,
    #[serde(flatten)]
    pub process: ProcessId,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub backend: String,
    pub gpu: u16,
    pub model_id: String,
    pub port: u16,
    /// How long it was told to let a running job end when it is stopped.
    #[serde(default = "default_drain")]
    pub drain_sec: u64,
}

/// What a worker does where nobody says otherwise.
pub fn default_drain() -> u64 {
    30
}

/// `worker-<backend>-<gpu>`.
pub fn worker_id(backend: &str, gpu: u16) -> String {
    format!("worker-{backend}-{gpu}")
}

/// It is the name of files, so the two names that are folders are none.
pub fn is_worker_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

/// A worker's file, as it was found.
#[derive(Debug)]
pub enum Record {
    Readable(WorkerInfo),
    /// With the reason.
    Unreadable(String),
}

/// The folder of the workers' files.
#[derive(Clone, Debug)]
pub struct Workers {
    folder: PathBuf,
}

impl Workers {
    /// Of the pool in this folder.
    pub fn new(pool: &Path) -> Workers {
        Workers { folder: pool.join(FOLDER) }
    }

    pub fn info_path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    pub fn log_path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.log"))
    }

    /// Only one at a time starts, stops or cleans up after this worker.
    pub fn lock(&self, id: &str) -> Result<Lock, LockError> {
        Lock::take(&self.folder.join(format!("{id}.lock")), PATIENCE)
    }

    pub fn write(&self, info: &WorkerInfo) -> io::Result<()> {
        let text = serde_json::to_string_pretty(info).map_err(io::Error::from)?;
        durable::replace(&self.info_path(&info.worker_id), text.as_bytes())
    }

    pub fn read(&self, id: &str) -> io::Result<Option<Record>> {
        match std::fs::read(self.info_path(id)) {
            Ok(bytes) => Ok(Some(match serde_json::from_slice::<WorkerInfo>(&bytes) {
                Ok(info) if info.worker_id == id => Record::Readable(info),
                Ok(info) => Record::Unreadable(format!("it says it is about {:?}", info.worker_id)),
                Err(problem) => Record::Unreadable(problem.to_string()),
            })),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    pub fn remove(&self, id: &str) -> io::Result<()> {
        match std::fs::remove_file(self.info_path(id)) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => Err(problem),
            _ => Ok(()),
        }
    }

    /// The ids of all files, in order; none where nothing was ever started.
    pub fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(problem) => return Err(problem),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json")).filter(|id| is_worker_id(id));
            ids.extend(id.map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }

    /// The folder, as the kernel names it in links.
    pub fn real_folder(&self) -> Option<PathBuf> {
        self.folder.canonicalize().ok()
    }
}
