//! Files that others read while they are written: replaced whole or not at all, by one writer at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Replaces a file by these bytes. A reader sees the old file or the new one, also after the machine lost its power.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Beside the file, since a rename is atomic only within one file system.
    let written = folder.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
    let outcome = write_through(&written, bytes).and_then(|()| fs::rename(&written, path));
    if outcome.is_err() {
        // Half a file under a name that nobody reads: if it can't be removed either, nothing is lost.
        let _ = fs::remove_file(&written);
        return outcome;
    }
    File::open(folder)?.sync_all()
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Held while a file is read and replaced; given back when it is dropped, or when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the lock {} can't be taken: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("another process has held the lock {} for {} s", path.display(), patience.as_secs())]
    Held { path: PathBuf, patience: Duration },
}

impl Lock {
    /// Waits for its turn, up to the patience. The file stays behind, empty: who removed it could let two in.
    pub fn take(path: &Path, patience: Duration) -> Result<Lock, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        fs::create_dir_all(folder_of(path)).map_err(failed)?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        // The kernel lets waiters in one after another; asking again and again would let a late one in first. A waiter
        // that gives up leaves its thread in the queue, which takes the lock and drops it at once.
        let (sender, taken) = mpsc::channel();
        let wait = move || {
            let outcome = file.lock().map(|()| file);
            let _ = sender.send(outcome);
        };
        std::thread::Builder::new().name("lock".into()).spawn(wait).map_err(failed)?;
        match taken.recv_timeout(patience) {
            Ok(Ok(file)) => Ok(Lock { _file: file }),
            Ok(Err(source)) => Err(failed(source)),
            Err(_) => Err(LockError::Held { path: path.to_owned(), patience }),
        }
    }
}
