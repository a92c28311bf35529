//! Writes a recipe model to disk as it is computed: no more than a few hundred kilobytes are in memory, and nobody sees a
//! file that is not complete, since it is written under another name and renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Recipe, config, gguf_writer, tokenizer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// A folder: `model.safetensors`, `config.json`, `tokenizer.json`.
    Safetensors,
    /// One file.
    Gguf,
}

#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    #[error("{} is no name for a model", .0.display())]
    NoName(PathBuf),
    #[error("failed to write {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Recipe {
    /// Writes the model to `output`, which must not exist yet. Answers with the bytes of its weights.
    pub fn write(&self, output: &Path, format: OutputFormat) -> Result<u64, RecipeError> {
        if output.symlink_metadata().is_ok() {
            return Err(RecipeError::Exists(output.into()));
        }
        let Some(name) = output.file_name() else { return Err(RecipeError::NoName(output.into())) };
        let partial = Partial(output.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id())));
        let written = match format {
            OutputFormat::Safetensors => self.write_folder(&partial.0),
            OutputFormat::Gguf => {
                let name = output.file_stem().unwrap_or(name).to_string_lossy();
                write_file(&partial.0, |sink| gguf_writer::write(self, &name, sink))
            }
        };
        let renamed = written.and_then(|()| fs::rename(&partial.0, output));
        renamed.map_err(|source| RecipeError::Io { path: output.into(), source })?;
        Ok(self.tensors().iter().map(|(_, shape)| 4 * shape.iter().product::<usize>() as u64).sum())
    }

    fn write_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)?;
        let vocab_size = self.configuration().vocab_size();
        write_file(&folder.join("config.json"), |sink| sink.write_all(self.config_json().as_bytes()))?;
        let tokenizer = tokenizer::tokenizer_json(vocab_size);
        write_file(&folder.join("tokenizer.json"), |sink| sink.write_all(tokenizer.as_bytes()))?;
        write_file(&folder.join("model.safetensors"), |sink| self.write_safetensors(sink))
    }

    /// The text of the `config.json`, as Hugging Face reads it.
    pub fn config_json(&self) -> String {
        config::text(self)
    }

    /// The text of the `tokenizer.json`.
    pub fn tokenizer_json(&self) -> String {
        tokenizer::tokenizer_json(self.configuration().vocab_size())
    }

    fn write_safetensors(&self, sink: &mut dyn Write) -> io::Result<()> {
        let mut tensors = self.tensors();
        tensors.sort();
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".into(), json!({"format": "pt"}));
        let mut end = 0;
        for (name, shape) in &tensors {
            let begin = end;
            end += 4 * shape.iter().product::<usize>();
            header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}));
        }
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(64) + 56, b' '); // the data begin at a multiple of 64
        sink.write_all(&(header.len() as u64).to_le_bytes())?;
        sink.write_all(&header)?;
        for (name, shape) in &tensors {
            let tensor = self.tensor(name);
            write_values(sink, shape.iter().product::<usize>() as u64, |index| tensor.value(index))?;
        }
        Ok(())
    }
}

/// `count` values as little-endian f32, in runs.
pub fn write_values(sink: &mut dyn Write, count: u64, value: impl Fn(u64) -> f32) -> io::Result<()> {
    const RUN: u64 = 1 << 14;
    let mut bytes = vec![0; 4 * RUN as usize];
    for first in (0..count).step_by(RUN as usize) {
        let run = RUN.min(count - first);
        let bytes = &mut bytes[..4 * run as usize];
        for (index, bytes) in (first..).zip(bytes.as_chunks_mut::<4>().0) {
            *bytes = value(index).to_le_bytes();
        }
        sink.write_all(bytes)?;
    }
    Ok(())
}

fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut sink = BufWriter::with_capacity(1 << 16, File::create_new(path)?);
    write(&mut sink)?;
    sink.flush()
}

/// What was begun; taken away again unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename neither is there, which is as it should be.
        let _ = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}
