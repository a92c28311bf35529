//! What `golden/regenerate` left beside the goldens, and a person's answer to it, as users of insta know it.
//!
//! A new capture of `MODEL/ENGINE/PROMPT` is pending as `MODEL/ENGINE/PROMPT.pending` until it is accepted, and takes
//! the golden's place, or rejected, and goes away. Where `CI` is true nothing is written.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::table::{captures, is_pending};
use super::{Golden, GoldenError};
use crate::parity::capture::Capture;

/// The ending of a pending capture's folder.
pub const PENDING: &str = "pending";

/// Whether goldens may be written at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    Allowed,
    /// `CI` is true: what changes there changes unseen.
    Refused,
}

impl Writing {
    pub fn from_environment() -> Writing {
        let is_ci = std::env::var("CI").is_ok_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        if is_ci { Writing::Refused } else { Writing::Allowed }
    }

    fn or_refuse(self) -> Result<(), GoldenError> {
        if self == Writing::Allowed { Ok(()) } else { Err(GoldenError::Ci) }
    }
}

/// A capture that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `MODEL/ENGINE/PROMPT`
    pub name: String,
    pub golden: PathBuf,
    pub pending: PathBuf,
    /// There is no golden yet.
    pub is_new: bool,
}

/// All of them, below the folder of goldens.
pub fn pending(folder: &Path) -> Result<Vec<Pending>, GoldenError> {
    let waiting = captures(folder)?.into_iter().filter(|path| is_pending(path));
    Ok(waiting
        .map(|pending| {
            let golden = pending.with_extension("");
            let below = golden.strip_prefix(folder).unwrap_or(&golden);
            let name = below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
            let is_new = !golden.exists();
            Pending { name, golden, pending, is_new }
        })
        .collect())
}

/// Those that were asked for by name or part of it; all for none. Asked for and not there is an error.
fn chosen(folder: &Path, filter: Option<&str>, writing: Writing) -> Result<Vec<Pending>, GoldenError> {
    writing.or_refuse()?;
    let mut chosen = pending(folder)?;
    chosen.retain(|one| filter.is_none_or(|filter| one.name.contains(filter)));
    if chosen.is_empty() {
        return Err(GoldenError::NothingPending(filter.map(|name| format!(" under {name}")).unwrap_or_default()));
    }
    Ok(chosen)
}

/// Puts pending captures in their goldens' places; gives those that were. One that cannot be read is never accepted, and
/// then none is.
pub fn accept(folder: &Path, filter: Option<&str>, writing: Writing) -> Result<Vec<Pending>, GoldenError> {
    let chosen = chosen(folder, filter, writing)?;
    for one in &chosen {
        Golden::read(&one.pending)?;
    }
    for one in &chosen {
        let former = beside(&one.golden, "former");
        let moved = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(|source| GoldenError::File { path: from.to_path_buf(), source })
        };
        if one.golden.exists() {
            moved(&one.golden, &former)?;
        }
        moved(&one.pending, &one.golden)?;
        if former.exists() {
            remove(&former)?;
        }
    }
    Ok(chosen)
}

/// Removes pending captures; gives those that were.
pub fn reject(folder: &Path, filter: Option<&str>, writing: Writing) -> Result<Vec<Pending>, GoldenError> {
    let chosen = chosen(folder, filter, writing)?;
    chosen.iter().try_for_each(|one| remove(&one.pending))?;
    Ok(chosen)
}

/// Leaves a capture beside a golden, to be looked at, in place of one that was left there before.
pub fn propose(golden: &Path, capture: &Capture, writing: Writing) -> Result<PathBuf, GoldenError> {
    writing.or_refuse()?;
    let pending = beside(golden, PENDING);
    if pending.exists() {
        remove(&pending)?;
    }
    capture.write(&pending)?;
    Ok(pending)
}

fn beside(golden: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(golden.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    golden.with_file_name(name)
}

fn remove(folder: &Path) -> Result<(), GoldenError> {
    fs::remove_dir_all(folder).map_err(|source| GoldenError::File { path: folder.to_path_buf(), source })
}
