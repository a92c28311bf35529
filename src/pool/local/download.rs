//! Brings a model's files through the `hf` command, and believes it only after looking at them.
//!
//! `hf` is started without a shell, its output goes into a log, and what it has brought stays when it is cut off, so that
//! the next attempt resumes. The catalog changes at the very end, when every file was checked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::files::{self, FilesError, Mismatch};
use super::logs;
use super::spawn::shell_word;
use crate::pool::catalog::{CatalogError, Format, Model, Store};
use crate::pool::durable::{Lock, LockError};

/// Where the logs of downloads lie, in the pool's folder.
pub const FOLDER: &str = ".runtime/downloads";
const ATTEMPTS: u32 = 3;
/// Before the second attempt; twice as long before the third.
const BACK_OFF: Duration = Duration::from_secs(1);
/// How often a running `hf` is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Between asking `hf` to end and making it.
const END_WITHIN: Duration = Duration::from_secs(3);
const TAIL: usize = 12;

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(
        "the model {id:?} is downloaded already ({}); --force downloads it again", path.display()
    )]
    Already { id: String, path: PathBuf },
    #[error("the model {0:?} has no repo in the catalog: nobody knows where its files come from")]
    NoRepo(String),
    #[error("`hf` is not installed, and downloads need it. Install it: pip install -U huggingface_hub")]
    HfMissing,
    #[error("`hf` can't be started: {0}")]
    HfNotStarted(io::Error),
    #[error(
        "`hf` failed {ATTEMPTS} times ({exit}); what has come is kept, and the next download resumes; the end of {}:\n{tail}",
        log.display()
    )]
    HfFailed { exit: String, log: PathBuf, tail: String },
    #[error(
        "`hf` was ended by {signal} half-way; what has come is kept. Resume: llorch-pool models download {}",
        shell_word(id)
    )]
    HfKilled { id: String, signal: String },
    #[error("the download was interrupted; what has come is kept. Resume: llorch-pool models download {}", shell_word(.0))]
    Interrupted(String),
    #[error("`hf` says that it is done, but {source}; the catalog was left as it is")]
    Incomplete { source: FilesError },
    #[error(
        "`hf` says that it is done, but files are not what they should be; those were removed, and the catalog was left \
         as it is:\n{}",
        lines(wrong)
    )]
    Wrong { wrong: Vec<Mismatch> },
    #[error("another download of {id:?} runs: {source}")]
    Busy { id: String, source: LockError },
    #[error("the files of the model can't be read or written: {0}")]
    Io(#[from] io::Error),
}

fn lines(wrong: &[Mismatch]) -> String {
    wrong.iter().map(|mismatch| format!("  {mismatch}")).collect::<Vec<_>>().join("\n")
}

/// What there is to say while it goes on.
pub enum Progress {
    /// Bytes that are here, of an amount that only `hf` knows.
    Came(u64),
    Failed {
        attempt: u32,
        exit: String,
        again_in: Duration,
    },
    /// Begins to read this many bytes.
    Checking(u64),
    Checked(u64),
}

/// The arguments that bring an entry's files. One pattern to each `--include`: what stands after a pattern is read as the
/// name of a file.
pub fn arguments(model: &Model, repo: &str) -> Vec<String> {
    let named = model.metadata.get("file").and_then(serde_json::Value::as_str);
    let patterns: Vec<&str> = match (model.format, named) {
        (Format::Gguf, Some(file)) => vec![file],
        (Format::Gguf, None) => vec!["*.gguf"],
        (Format::Safetensors, _) => vec!["*.safetensors", "*.json", "tokenizer.model", "merges.txt"],
    };
    let mut words = vec!["download".to_owned(), repo.to_owned()];
    words.extend(patterns.iter().flat_map(|pattern| ["--include".to_owned(), (*pattern).to_owned()]));
    words.extend(["--local-dir".to_owned(), model.path.display().to_string()]);
    words
}

/// Downloads and checks one model of the catalog of this pool. `stop` is set when the user has had enough.
pub fn download(
    pool: &Path,
    id: &str,
    force: bool,
    stop: &Arc<AtomicBool>,
    tell: &mut dyn FnMut(Progress),
) -> Result<Model, DownloadError> {
    let store = Store::new(pool);
    let model = store.read()?.model(id)?.clone();
    let is_here = |model: &Model| model.downloaded && !force;
    let already = |model: &Model| DownloadError::Already { id: id.to_owned(), path: pool.join(&model.path) };
    if is_here(&model) {
        return Err(already(&model));
    }
    let repo = model.repo().ok_or_else(|| DownloadError::NoRepo(id.to_owned()))?.to_owned();
    // Two at once would write into the same files.
    let lock = pool.join(FOLDER).join(format!("{id}.lock"));
    let busy = |source| DownloadError::Busy { id: id.to_owned(), source };
    let _lock = Lock::take(&lock, Duration::from_secs(1)).map_err(busy)?;
    let model = store.read()?.model(id)?.clone();
    if is_here(&model) {
        return Err(already(&model));
    }
    let folder = pool.join(&model.path);
    if force {
        forget(&folder)?;
    }
    run_hf(pool, &model, &repo, stop, tell)?;
    let checked = check(&model, &folder, tell)?;
    store.change(|catalog| {
        let entry = catalog.model_mut(id)?;
        entry.downloaded = true;
        entry.size_gb = checked.values().map(|file| file.size).sum::<u64>() as f64 / 1e9;
        entry.metadata.insert("files".to_owned(), files::record(&checked));
        Ok(entry.clone())
    })
}

/// What `hf` remembers of finished files, so that it looks at each of them anew.
fn forget(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.join(".cache/huggingface/download")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "metadata") {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

fn run_hf(
    pool: &Path,
    model: &Model,
    repo: &str,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Progress),
) -> Result<(), DownloadError> {
    let log = pool.join(FOLDER).join(format!("{}.log", model.id));
    let words = arguments(model, repo);
    let folder = pool.join(&model.path);
    for attempt in 1.. {
        let output = File::create(&log)?;
        let mut child = Command::new("hf")
            .args(&words)
            .current_dir(pool)
            // Its own bars are for a terminal, and this is a file.
            .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|problem| match problem.kind() {
                io::ErrorKind::NotFound => DownloadError::HfMissing,
                _ => DownloadError::HfNotStarted(problem),
            })?;
        let status = wait(&mut child, stop, &mut || tell(Progress::Came(files::bytes_so_far(&folder))))?;
        let Some(status) = status else { return Err(DownloadError::Interrupted(model.id.clone())) };
        if status.success() {
            return Ok(());
        }
        if let Some(signal) = status.signal() {
            let signal =
                Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |named| named.to_string());
            return Err(DownloadError::HfKilled { id: model.id.clone(), signal });
        }
        let exit = status.to_string();
        if attempt == ATTEMPTS {
            return Err(DownloadError::HfFailed { exit, tail: logs::tail_text(&log, TAIL), log });
        }
        let again_in = BACK_OFF * 2_u32.pow(attempt - 1);
        tell(Progress::Failed { attempt, exit, again_in });
        let until = Instant::now() + again_in;
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return Err(DownloadError::Interrupted(model.id.clone()));
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// None where the user had enough: then it is ended.
fn wait(child: &mut Child, stop: &AtomicBool, look: &mut dyn FnMut()) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!stop.load(Ordering::Relaxed)).then_some(status));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        look();
        std::thread::sleep(LOOK);
    }
    if let Ok(pid) = i32::try_from(child.id()) {
        // It is ours and not reaped: the number is its own. Where it has ended meanwhile nothing is to be done.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
    let until = Instant::now() + END_WITHIN;
    while child.try_wait()?.is_none() {
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}

/// At least one model, and every file what the hub said. A wrong one is removed: `hf` would take it for finished.
fn check(
    model: &Model,
    folder: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<String, files::Actual>, DownloadError> {
    let incomplete = |source| DownloadError::Incomplete { source };
    if !folder.is_dir() || files::models(folder, model.format).map_err(incomplete)?.is_empty() {
        return Err(incomplete(FilesError::NoModel { folder: folder.to_owned(), format: model.format }));
    }
    tell(Progress::Checking(files::all(folder)?.values().sum()));
    let known = [files::said_by_hub(folder)];
    let (actual, wrong) = files::check(folder, &known, &mut |bytes| tell(Progress::Checked(bytes)))?;
    if wrong.is_empty() {
        return Ok(actual);
    }
    for mismatch in wrong.iter().filter(|mismatch| actual.contains_key(mismatch.name())) {
        fs::remove_file(folder.join(mismatch.name()))?;
    }
    forget(folder)?;
    Err(DownloadError::Wrong { wrong })
}
