//! Model files that mean harm, a few of each kind, inside the binary: a worker that is started on one must say what is
//! wrong with it and leave. (Hundreds more are tried on the readers themselves.)

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Their names under `fixtures/hostile`, with what belongs beside them.
const FILES: &[(&str, &[u8])] = &[
    (
        "safetensors/offsets-wrap.safetensors",
        include_bytes!("../fixtures/hostile/safetensors/offsets-wrap.safetensors"),
    ),
    ("safetensors/overlap.safetensors", include_bytes!("../fixtures/hostile/safetensors/overlap.safetensors")),
    (
        "safetensors/truncated-in-data.safetensors",
        include_bytes!("../fixtures/hostile/safetensors/truncated-in-data.safetensors"),
    ),
    (
        "safetensors/missing-c_attn.safetensors",
        include_bytes!("../fixtures/hostile/safetensors/missing-c_attn.safetensors"),
    ),
    ("safetensors/nan.safetensors", include_bytes!("../fixtures/hostile/safetensors/nan.safetensors")),
    ("safetensors/config.json", include_bytes!("../fixtures/hostile/safetensors/config.json")),
    ("gguf/magic.gguf", include_bytes!("../fixtures/hostile/gguf/magic.gguf")),
    ("gguf/alignment-3.gguf", include_bytes!("../fixtures/hostile/gguf/alignment-3.gguf")),
    ("gguf/architecture-other.gguf", include_bytes!("../fixtures/hostile/gguf/architecture-other.gguf")),
    ("gguf/string-length-tebibyte.gguf", include_bytes!("../fixtures/hostile/gguf/string-length-tebibyte.gguf")),
    ("gguf/product-wraps.gguf", include_bytes!("../fixtures/hostile/gguf/product-wraps.gguf")),
    ("gguf/tensors-huge.gguf", include_bytes!("../fixtures/hostile/gguf/tensors-huge.gguf")),
];

/// Writes them all, and gives the one of this name.
pub fn write(name: &str, folder: &Path) -> io::Result<PathBuf> {
    for (file, bytes) in FILES {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)?;
    }
    let path = folder.join(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(io::Error::new(io::ErrorKind::NotFound, format!("no hostile file is called {name:?}"))),
    }
}
