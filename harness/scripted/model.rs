//! What is loaded at the start: the bytes of a model file, which this worker only holds and digests, so that another
//! file gives another text.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::logs::Log;
use super::words::{digest, vocabulary_bytes};

pub struct Model {
    pub name: String,
    pub digest: u64,
    /// Bytes held: the file's and the vocabulary's.
    pub bytes: u64,
    _weights: Vec<u8>,
}

impl Model {
    /// The vocabulary alone.
    pub fn built_in() -> Self {
        Self { name: "scripted".into(), digest: 0, bytes: vocabulary_bytes(), _weights: Vec::new() }
    }

    /// Reads the file that the path names, or the one in the folder; an error is a sentence.
    pub fn load(path: Option<&str>, log: &Log) -> Result<Self, String> {
        log.info("model_load_start", "Loading model...", json!({}));
        let model = match path {
            None => {
                (0..=4).for_each(|quarter| progress(log, quarter, 4));
                Self::built_in()
            }
            Some(path) => {
                Self::read(Path::new(path), log).map_err(|reason| format!("failed to load {path}: {reason}"))?
            }
        };
        log.info("model_load_complete", "Model loaded", json!({"memory_bytes": model.bytes}));
        Ok(model)
    }

    fn read(path: &Path, log: &Log) -> Result<Self, String> {
        let path = if path.is_dir() { file_in(path)? } else { path.to_path_buf() };
        let mut file = File::open(&path).map_err(|error| error.to_string())?;
        let size = file.metadata().map_err(|error| error.to_string())?.len();
        let mut weights = Vec::new();
        progress(log, 0, size);
        for quarter in 1..=4 {
            let wanted = size * quarter / 4 - weights.len() as u64;
            (&mut file).take(wanted).read_to_end(&mut weights).map_err(|error| error.to_string())?;
            if quarter < 4 {
                progress(log, weights.len() as u64, size);
            }
        }
        let right = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gguf") => weights.starts_with(b"GGUF"),
            Some("safetensors") => has_safetensors_header(&weights),
            _ => false,
        };
        if !right {
            return Err("neither a GGUF nor a safetensors file".into());
        }
        progress(log, size, size);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = vocabulary_bytes() + weights.len() as u64;
        Ok(Self { name, digest: digest(&weights), bytes, _weights: weights })
    }
}

fn progress(log: &Log, read: u64, size: u64) {
    let percent = (read * 4).checked_div(size).unwrap_or(4) * 25;
    log.info("model_load_progress", &format!("Loading model: {percent} %"), json!({"percent": percent}));
}

fn file_in(folder: &Path) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let model =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf" || extension == "safetensors");
    files.into_iter().find(model).ok_or("no model file in the folder".into())
}

fn has_safetensors_header(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    let header = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| rest.get(..length));
    header.is_some_and(|header| serde_json::from_slice::<serde_json::Map<_, _>>(header).is_ok())
}
