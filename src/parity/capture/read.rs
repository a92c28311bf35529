//! Captures from disk: finds out which form a path has, reads it, and holds the manifest against the tensors.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::error::{CaptureError, Problem};
use super::manifest::{self, Listed, Manifest};
use super::safetensors::Stored;
use super::{Capture, MANIFEST, MANIFEST_KEY, TENSORS, Tensor, npy, npz, safetensors, summary};
use crate::model::weights::bytes::FileBytes;

const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// A capture whose files are sound, and where its manifest says something else than its tensors.
#[derive(Debug)]
pub struct Opened {
    pub capture: Capture,
    /// Empty for a capture that nobody touched.
    pub disagreements: Vec<CaptureError>,
}

impl Capture {
    /// Reads a capture in any form; a manifest that says something else than the tensors is an error.
    pub fn read(path: &Path) -> Result<Capture, CaptureError> {
        let Opened { capture, disagreements } = open(path)?;
        disagreements.into_iter().next().map_or(Ok(capture), Err)
    }
}

/// Reads a capture in any form, and lists what the manifest says wrongly.
pub fn open(path: &Path) -> Result<Opened, CaptureError> {
    let metadata = fs::metadata(path).map_err(|error| Problem::Read(error).of(path))?;
    if metadata.is_dir() {
        return open_folder(path);
    }
    if path.file_name().is_some_and(|name| name == MANIFEST) {
        return open_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    }
    if form(path).is_none() {
        return Err(Problem::NotACapture("neither a folder nor .safetensors, .npz or .npy".to_owned()).of(path));
    }
    let bytes = FileBytes::map(path).map_err(|problem| Problem::from(problem).of(path))?;
    open_bytes(path, &bytes)
}

/// The forms of a single file.
#[derive(Clone, Copy)]
enum Form {
    Safetensors,
    Npz,
    Npy,
}

fn form(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()? {
        "safetensors" => Some(Form::Safetensors),
        "npz" => Some(Form::Npz),
        "npy" => Some(Form::Npy),
        _ => None,
    }
}

/// The same, of a file whose bytes are in memory: its name says which form it has.
pub fn open_bytes(path: &Path, bytes: &[u8]) -> Result<Opened, CaptureError> {
    let of_file = |problem: Problem| problem.of(path);
    match form(path) {
        Some(Form::Safetensors) => {
            let contents = safetensors::read(bytes).map_err(of_file)?;
            let expected = "`llorch.manifest` in the file's metadata";
            let missing = || of_file(Problem::NoManifest { expected });
            let text = contents.metadata.get(MANIFEST_KEY).ok_or_else(missing)?;
            join(path, path, text, contents.tensors)
        }
        Some(Form::Npz) => {
            let npz::Contents { manifest, tensors } = npz::read(bytes).map_err(of_file)?;
            of_arrays(path, manifest, tensors)
        }
        Some(Form::Npy) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let tensor = npy::read(&name, bytes).map_err(of_file)?;
            of_arrays(path, None, BTreeMap::from([(name, tensor)]))
        }
        None => Err(of_file(Problem::NotACapture("no .safetensors, .npz or .npy".to_owned()))),
    }
}

fn open_folder(folder: &Path) -> Result<Opened, CaptureError> {
    let (manifest, tensors) = (folder.join(MANIFEST), folder.join(TENSORS));
    if tensors.exists() {
        if !manifest.exists() {
            return Err(Problem::NoManifest { expected: "manifest.json beside tensors.safetensors" }.of(folder));
        }
        let text = read_text(&manifest)?;
        let of_file = |problem: Problem| problem.of(&tensors);
        let map = FileBytes::map(&tensors).map_err(|problem| of_file(problem.into()))?;
        let contents = safetensors::read(&map).map_err(of_file)?;
        return join(&manifest, &tensors, &text, contents.tensors);
    }
    let mut arrays = BTreeMap::new();
    for path in entries(folder)?.into_iter().filter(|path| path.extension().is_some_and(|word| word == "npy")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let read = FileBytes::map(&path).map_err(Problem::from).and_then(|bytes| npy::read(&name, &bytes));
        arrays.insert(name, read.map_err(|problem| problem.of(&path))?);
    }
    if !arrays.is_empty() {
        let text = if manifest.exists() { Some(read_text(&manifest)?) } else { None };
        return of_arrays(folder, text, arrays);
    }
    let why = if manifest.exists() {
        "there is a manifest.json, and no tensors.safetensors beside it".to_owned()
    } else {
        let inside = entries(folder)?.into_iter().filter(|path| path.join(MANIFEST).exists());
        let inside: Vec<String> = inside.map(|path| path.display().to_string()).collect();
        let hint = if inside.is_empty() { String::new() } else { format!("; there are in {}", inside.join(", ")) };
        format!("the folder has no manifest.json with tensors.safetensors and no .npy files{hint}")
    };
    Err(Problem::NotACapture(why).of(folder))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let unreadable = |error| Problem::Read(error).of(folder);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

fn read_text(file: &Path) -> Result<String, CaptureError> {
    let read = || -> Result<String, Problem> {
        if !fs::metadata(file).map_err(Problem::Read)?.is_file() {
            return Err(Problem::NotACapture("the manifest is not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        let opened = fs::File::open(file).map_err(Problem::Read)?;
        opened.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes).map_err(Problem::Read)?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(Problem::ManifestField(format!("it has more than {MAX_MANIFEST_BYTES} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| Problem::ManifestField("it is not UTF-8".to_owned()))
    };
    read().map_err(|problem| problem.of(file))
}

/// numpy's files say nothing of who computed them, unless a manifest lies with them; its digests are those of the numbers
/// as this tool holds them.
fn of_arrays(path: &Path, manifest: Option<String>, tensors: BTreeMap<String, Tensor>) -> Result<Opened, CaptureError> {
    match manifest {
        Some(text) => {
            let stored = tensors.into_iter().map(|(name, tensor)| {
                let (element, sha256) = (tensor.values.dtype().to_owned(), summary::sha256(&tensor));
                (name, Stored { tensor, element, sha256 })
            });
            join(path, path, &text, stored.collect())
        }
        None => {
            let manifest =
                Manifest { architecture: String::new(), taps: "numpy arrays".to_owned(), ..Manifest::default() };
            Ok(Opened { capture: Capture { manifest, tensors }, disagreements: Vec::new() })
        }
    }
}

/// The manifest and the tensors, held against each other.
fn join(
    manifest_file: &Path,
    tensors_file: &Path,
    text: &str,
    mut stored: BTreeMap<String, Stored>,
) -> Result<Opened, CaptureError> {
    let (manifest, listed) = manifest::parse(text).map_err(|problem| problem.of(manifest_file))?;
    let mut tensors = BTreeMap::new();
    let mut problems = Vec::new();
    for entry in listed {
        match stored.remove(&entry.name) {
            Some(found) => {
                disagreements(&entry, &found, &mut problems);
                tensors.insert(entry.name, found.tensor);
            }
            None => problems.push(Problem::Missing { tensor: entry.name }),
        }
    }
    for (tensor, found) in stored {
        problems.push(Problem::Unlisted { tensor: tensor.clone() });
        tensors.insert(tensor, found.tensor);
    }
    let disagreements = problems.into_iter().map(|problem| problem.of(tensors_file)).collect();
    Ok(Opened { capture: Capture { manifest, tensors }, disagreements })
}

fn disagreements(listed: &Listed, found: &Stored, problems: &mut Vec<Problem>) {
    let tensor = || listed.name.clone();
    if listed.shape != found.tensor.shape {
        let (expected, found) = (listed.shape.clone(), found.tensor.shape.clone());
        problems.push(Problem::Shape { tensor: tensor(), expected, found });
    }
    if listed.dtype != found.element {
        let (expected, found) = (listed.dtype.clone(), found.element.clone());
        problems.push(Problem::Dtype { tensor: tensor(), expected, found });
    }
    let count = found.tensor.count() as u64;
    if let Some(expected) = listed.count.filter(|expected| *expected != count) {
        problems.push(Problem::Count { tensor: tensor(), expected, found: count });
    }
    if let Some(expected) = listed.sha256.as_ref().filter(|expected| !expected.eq_ignore_ascii_case(&found.sha256)) {
        problems.push(Problem::Digest { tensor: tensor(), expected: expected.clone(), found: found.sha256.clone() });
    }
}
