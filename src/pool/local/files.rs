//! The files of a model on this machine: which of them a worker is started on, how large they are, and whether they are
//! what was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::pool::catalog::Format;

/// Where `hf` keeps what it knows about a folder; no part of the model.
const TOOLS_CACHE: &str = ".cache";
const LARGEST_INDEX: u64 = 64 << 20;

/// The one model of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What a worker is started on: the one file, or the folder of the shards.
    pub given: PathBuf,
    pub weights: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("{} can't be read: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("{} has no .{} file", folder.display(), format.word())]
    NoModel { folder: PathBuf, format: Format },
    #[error("{} has more than one model: {}; exactly one is needed", folder.display(), names.join(", "))]
    Several { folder: PathBuf, names: Vec<String> },
    #[error("{} is no index of shards: {reason}", path.display())]
    Index { path: PathBuf, reason: String },
    #[error("{} names shards that are not there: {}", path.display(), missing.join(", "))]
    ShardsMissing { path: PathBuf, missing: Vec<String> },
}

/// Exactly one model: a single file, or the index of its shards with all of them.
pub fn find(path: &Path, format: Format) -> Result<Found, FilesError> {
    let failed = |source| FilesError::Io { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.is_file() {
        return Ok(Found { given: path.to_owned(), weights: vec![path.to_owned()] });
    }
    let models = models(path, format)?;
    match &models[..] {
        [] => Err(FilesError::NoModel { folder: path.to_owned(), format }),
        [one] => Ok(one.clone()),
        several => {
            let name = |found: &Found| match &found.weights[..] {
                [file] => name_of(file),
                shards => format!("{} shards by an index", shards.len()),
            };
            Err(FilesError::Several { folder: path.to_owned(), names: several.iter().map(name).collect() })
        }
    }
}

/// Every model of a folder: a download needs at least one, a worker exactly one.
pub fn models(folder: &Path, format: Format) -> Result<Vec<Found>, FilesError> {
    let failed = |source| FilesError::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.path());
    }
    names.sort();
    let ends_with = |path: &Path, ending: &str| name_of(path).ends_with(ending);
    let mut models = Vec::new();
    let mut sharded = BTreeSet::new();
    if format == Format::Safetensors {
        for index in names.iter().filter(|path| ends_with(path, ".safetensors.index.json")) {
            let shards = shards(index)?;
            sharded.extend(shards.iter().cloned());
            models.push(Found { given: folder.to_owned(), weights: shards });
        }
    }
    let ending = format!(".{}", format.word());
    for file in names.into_iter().filter(|path| ends_with(path, &ending) && !sharded.contains(path)) {
        models.push(Found { given: file.clone(), weights: vec![file] });
    }
    for file in models.iter().flat_map(|found| &found.weights) {
        let failed = |source| FilesError::Io { path: file.clone(), source };
        if fs::metadata(file).map_err(failed)?.len() == 0 {
            return Err(FilesError::Empty { path: file.clone() });
        }
    }
    Ok(models)
}

/// The files that an index names, all of which are there. It is a stranger's: a name that leads elsewhere is refused.
fn shards(index: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let refuse = |reason: String| FilesError::Index { path: index.to_owned(), reason };
    let failed = |source| FilesError::Io { path: index.to_owned(), source };
    let mut text = Vec::new();
    File::open(index).map_err(failed)?.take(LARGEST_INDEX).read_to_end(&mut text).map_err(failed)?;
    let value: Value = serde_json::from_slice(&text).map_err(|problem| refuse(problem.to_string()))?;
    let map = value["weight_map"].as_object().ok_or_else(|| refuse("it has no weight_map".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, name) in map {
        let name = name.as_str().ok_or_else(|| refuse(format!("the shard of {tensor} is no name")))?;
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(refuse(format!("{name:?} is no name of a file beside it")));
        }
        names.insert(name.to_owned());
    }
    if names.is_empty() {
        return Err(refuse("its weight_map is empty".to_owned()));
    }
    let path = |name: &String| index.with_file_name(name);
    let missing: Vec<String> = names.iter().filter(|name| !path(name).is_file()).cloned().collect();
    if !missing.is_empty() {
        return Err(FilesError::ShardsMissing { path: index.to_owned(), missing });
    }
    Ok(names.iter().map(path).collect())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Every file below a model's path with its size, by its name from there; what the tool keeps for itself is not counted.
pub fn all(path: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    if fs::metadata(path)?.is_file() {
        found.insert(name_of(path), fs::metadata(path)?.len());
        return Ok(found);
    }
    collect(path, "", &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, prefix: &str, found: &mut BTreeMap<String, u64>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if prefix.is_empty() && name == TOOLS_CACHE {
            continue;
        }
        // A link to a folder could lead back here; one to a file is that file.
        if kind.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), found)?;
        } else if let Ok(metadata) = fs::metadata(entry.path())
            && metadata.is_file()
        {
            found.insert(format!("{prefix}{name}"), metadata.len());
        }
    }
    Ok(())
}

/// Bytes that have come so far, those of unfinished files included.
pub fn bytes_so_far(path: &Path) -> u64 {
    let mut unfinished = BTreeMap::new();
    // A folder that is not there yet, or a file that is renamed meanwhile, counts for nothing.
    let _ = collect(&path.join(TOOLS_CACHE).join("huggingface/download"), "", &mut unfinished);
    let partial =
        unfinished.iter().filter(|(name, _)| name.ends_with(".incomplete")).map(|(_, size)| size).sum::<u64>();
    partial + all(path).unwrap_or_default().values().sum::<u64>()
}

/// What a file has to be, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub size: Option<u64>,
    pub sha256: Option<String>,
}

/// What the hub said about the files of this folder, as `hf` wrote it down: the listing of the commit, and beside each file
/// its entity tag, which is the SHA-256 of a large one. Absent or unknown in form, it says nothing.
pub fn said_by_hub(folder: &Path) -> BTreeMap<String, Expected> {
    let kept = folder.join(TOOLS_CACHE).join("huggingface");
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    let mut tags = BTreeMap::new();
    let _ = collect(&kept.join("download"), "", &mut tags);
    for name in tags.keys().filter_map(|name| name.strip_suffix(".metadata")) {
        let text = fs::read_to_string(kept.join("download").join(format!("{name}.metadata"))).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        let (Some(commit), Some(tag)) = (lines.next(), lines.next()) else { continue };
        let mut known = listed(&kept, commit, name).unwrap_or_default();
        if is_sha256(tag) {
            known.sha256 = Some(tag.to_ascii_lowercase());
        }
        expected.insert(name.to_owned(), known);
    }
    expected
}

fn listed(kept: &Path, commit: &str, name: &str) -> Option<Expected> {
    if !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let text = fs::read_to_string(kept.join(format!("trees/{commit}.json"))).ok()?;
    let listing: Value = serde_json::from_str(&text).ok()?;
    let file = listing["files"].get(name)?;
    let sha256 = file["lfs_sha256"].as_str().filter(|text| is_sha256(text)).map(str::to_ascii_lowercase);
    Some(Expected { size: file["lfs_size"].as_u64().or_else(|| file["size"].as_u64()), sha256 })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What the catalog says about the files: `metadata.files`, each with `size` and `sha256`.
pub fn said_by_catalog(metadata: &Map<String, Value>) -> BTreeMap<String, Expected> {
    let files = metadata.get("files").and_then(Value::as_object);
    let expected = |file: &Value| Expected {
        size: file["size"].as_u64(),
        sha256: file["sha256"].as_str().map(str::to_ascii_lowercase),
    };
    files.into_iter().flatten().map(|(name, file)| (name.clone(), expected(file))).collect()
}

/// One file as it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actual {
    pub size: u64,
    pub sha256: String,
}

/// For the catalog, so that the files can be verified later without the hub.
pub fn record(files: &BTreeMap<String, Actual>) -> Value {
    let entries = files.iter().map(|(name, file)| (name.clone(), json!({ "size": file.size, "sha256": file.sha256 })));
    Value::Object(entries.collect())
}

/// A file that is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("{name} is not there")]
    Missing { name: String },
    #[error("{name} has {found} bytes, and it should have {expected}")]
    Size { name: String, expected: u64, found: u64 },
    #[error("{name} has the SHA-256 {found}, and it should have {expected}")]
    Digest { name: String, expected: String, found: String },
}

impl Mismatch {
    pub fn name(&self) -> &str {
        match self {
            Mismatch::Missing { name } | Mismatch::Size { name, .. } | Mismatch::Digest { name, .. } => name,
        }
    }
}

/// Reads every file below a model's path and compares it with all that is known; `read` hears of each piece of bytes.
pub fn check(
    path: &Path,
    known: &[BTreeMap<String, Expected>],
    read: &mut dyn FnMut(u64),
) -> io::Result<(BTreeMap<String, Actual>, Vec<Mismatch>)> {
    let is_file = fs::metadata(path)?.is_file();
    let (mut actual, mut wrong) = (BTreeMap::new(), Vec::new());
    for (name, size) in all(path)? {
        let file = if is_file { path.to_owned() } else { path.join(&name) };
        let found = Actual { size, sha256: digest(&file, read)? };
        actual.insert(name, found);
    }
    for (name, expected) in known.iter().flatten() {
        let Some(found) = actual.get(name) else {
            wrong.push(Mismatch::Missing { name: name.clone() });
            continue;
        };
        match expected {
            Expected { size: Some(size), .. } if *size != found.size => {
                wrong.push(Mismatch::Size { name: name.clone(), expected: *size, found: found.size });
            }
            Expected { sha256: Some(sha256), .. } if *sha256 != found.sha256 => {
                let (expected, found) = (sha256.clone(), found.sha256.clone());
                wrong.push(Mismatch::Digest { name: name.clone(), expected, found });
            }
            _ => {}
        }
    }
    Ok((actual, wrong))
}

fn digest(path: &Path, read: &mut dyn FnMut(u64)) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => {
                hasher.update(&buffer[..count]);
                read(count as u64);
            }
        }
    }
}
