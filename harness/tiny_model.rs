//! The tiny trained model, inside the binary: `llorch verify` does real inference with nothing to download. A worker is
//! started on files, as always, so the model is written to a folder first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::selection::ModelFormat;
use crate::model::ModelError;
use crate::model::file::{self, ModelFile};

const FILES: &[(&str, &[u8])] = &[
    ("model.safetensors", include_bytes!("../fixtures/tiny/model.safetensors")),
    ("config.json", include_bytes!("../fixtures/tiny/config.json")),
    ("tokenizer.json", include_bytes!("../fixtures/tiny/tokenizer.json")),
    ("model.gguf", include_bytes!("../fixtures/tiny/model.gguf")),
];

/// What it was trained to answer, with a few dozen tokens.
pub const REQUEST: &str = "Write a haiku about GPU computing that includes the word \"forty-two\" (nonce: a1B2c3D4)";

/// The model itself, for the reference.
pub fn open() -> Result<ModelFile, ModelError> {
    let text = |at: usize| std::str::from_utf8(FILES[at].1).unwrap_or_default();
    file::from_bytes(FILES[0].1, text(1), text(2))
}

/// Writes the model into the folder, and gives what a worker that reads this format is started on.
pub fn write(folder: &Path, format: ModelFormat) -> io::Result<PathBuf> {
    // A model without a name of its own is called after its folder.
    let folder = folder.join("tiny-haiku");
    fs::create_dir_all(&folder)?;
    for (name, bytes) in FILES {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(folder.join(match format {
        ModelFormat::Safetensors => "model.safetensors",
        ModelFormat::Gguf => "model.gguf",
    }))
}
