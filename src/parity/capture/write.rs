//! Captures onto disk. Everything is written under another name beside its place and renamed when it is whole, so that
//! who finds a capture finds all of it; what fails leaves nothing behind.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{CaptureError, Problem};
use super::{Capture, MANIFEST, MANIFEST_KEY, TENSORS, manifest, safetensors};

/// What the reader takes at most, of names and dimensions.
const NAME_BYTES: usize = 256;
const DIMENSIONS: usize = 8;

impl Capture {
    /// Writes the folder `manifest.json`, `tensors.safetensors`. It must not exist yet, or be empty; folders above it are
    /// made.
    pub fn write(&self, directory: &Path) -> Result<(), CaptureError> {
        self.check().and_then(|()| self.write_folder(directory)).map_err(|problem| problem.of(directory))
    }

    /// Writes one `.safetensors` file with the manifest in it. It must not exist yet.
    pub fn write_file(&self, path: &Path) -> Result<(), CaptureError> {
        self.check().and_then(|()| self.write_one(path)).map_err(|problem| problem.of(path))
    }

    /// Bytes that the tensors take, on disk as in memory.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| (tensor.count() * tensor.values.width()) as u64).sum()
    }

    fn check(&self) -> Result<(), Problem> {
        for (tensor, found) in &self.tensors {
            let refuse = |why| Err(Problem::Name { tensor: tensor.clone(), why });
            if tensor.is_empty() || tensor.len() > NAME_BYTES || tensor == "__metadata__" {
                return refuse("1 to 256 bytes, and not the name of the format's metadata");
            }
            if found.shape.len() > DIMENSIONS {
                return refuse("it has more than 8 dimensions");
            }
            let needed = found.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
            if needed != Some(found.count()) {
                let shape = found.shape.clone();
                return Err(Problem::Inconsistent { tensor: tensor.clone(), shape, found: found.count() });
            }
        }
        Ok(())
    }

    fn write_folder(&self, directory: &Path) -> Result<(), Problem> {
        if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Problem::Exists);
        }
        let partial = Partial::beside(directory)?;
        fs::create_dir(&partial.path).map_err(Problem::Write)?;
        let mut tensors = create(&partial.path.join(TENSORS))?;
        safetensors::write(&self.tensors, None, &mut tensors).map_err(Problem::Write)?;
        finish(tensors)?;
        let mut file = create(&partial.path.join(MANIFEST))?;
        file.write_all(self.manifest_text()?.as_bytes()).map_err(Problem::Write)?;
        finish(file)?;
        partial.become_whole(directory)
    }

    fn write_one(&self, path: &Path) -> Result<(), Problem> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Problem::Exists);
        }
        let partial = Partial::beside(path)?;
        let mut file = create(&partial.path)?;
        let text = self.manifest_text()?;
        safetensors::write(&self.tensors, Some((MANIFEST_KEY, &text)), &mut file).map_err(Problem::Write)?;
        finish(file)?;
        partial.become_whole(path)
    }

    fn manifest_text(&self) -> Result<String, Problem> {
        manifest::text(self).map_err(Problem::ManifestJson)
    }
}

fn create(path: &Path) -> Result<BufWriter<File>, Problem> {
    Ok(BufWriter::with_capacity(1 << 20, File::create_new(path).map_err(Problem::Write)?))
}

fn finish(file: BufWriter<File>) -> Result<(), Problem> {
    file.into_inner().map(drop).map_err(|error| Problem::Write(error.into_error()))
}

/// A file or folder that is not finished; dropped before it is, it goes away.
struct Partial {
    path: PathBuf,
}

impl Partial {
    /// A name beside the place, which no other writer has and, because of `~`, no job's capture can have.
    fn beside(place: &Path) -> Result<Partial, Problem> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let Some(name) = place.file_name() else {
            return Err(Problem::Write(io::Error::new(io::ErrorKind::InvalidInput, "the path has no last part")));
        };
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Problem::Write)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".{}~{}-{number}", name.to_string_lossy(), std::process::id());
        Ok(Partial { path: parent.join(name) })
    }

    fn become_whole(self, place: &Path) -> Result<(), Problem> {
        // A folder is not renamed over one that has something in it: two writers of one place can't mix theirs.
        fs::rename(&self.path, place).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                Problem::Exists
            }
            _ => Problem::Write(error),
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename neither is there.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(&self.path);
    }
}
