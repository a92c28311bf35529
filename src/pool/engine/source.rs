//! Sources of llama.cpp, brought into a folder.

use std::path::{Path, PathBuf};

use super::build::Workshop;
use super::settings::Source;

/// The Python source distribution carries the whole tree.
const PACKAGE: &str = "llama-cpp-python";

/// A command as words, the program first.
pub type Words = Vec<String>;

fn words(words: &[&str]) -> Words {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The commands that bring a source into `into`, in order; none for a folder that is there.
pub fn commands(source: &Source, into: &Path) -> Vec<Words> {
    let folder = into.display().to_string();
    let unpack = |archive: &str| words(&["tar", "-xzf", archive, "-C", &folder]);
    if let (Some(url), Some(reference)) = (&source.git, &source.reference) {
        // One commit, named by a tag, a branch or its hash.
        return vec![
            words(&["git", "-C", &folder, "init", "--quiet"]),
            words(&["git", "-C", &folder, "fetch", "--quiet", "--depth", "1", "--", url, reference]),
            words(&["git", "-C", &folder, "checkout", "--quiet", "--detach", "FETCH_HEAD"]),
        ];
    }
    if let Some(archive) = &source.archive {
        if !archive.contains("://") {
            return vec![unpack(archive)];
        }
        let file = into.join("source.tar.gz").display().to_string();
        return vec![
            words(&["curl", "--fail", "--location", "--silent", "--show-error", "--retry", "3", "-o", &file, archive]),
            unpack(&file),
        ];
    }
    if let Some(version) = &source.pypi {
        let requirement = format!("{PACKAGE}=={version}");
        return vec![words(&[
            "python3",
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-binary",
            PACKAGE, // not ":all:": what it is built with would be compiled too, cmake itself among it
            "--dest",
            &folder,
            &requirement,
        ])];
    }
    Vec::new()
}

/// Brings the source and finds its tree. The refusal is a sentence.
pub async fn bring(source: &Source, workshop: &Workshop<'_>) -> Result<PathBuf, String> {
    if let Some(folder) = &source.folder {
        let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
        return root(&folder).ok_or_else(|| format!("{} holds no sources of llama.cpp", folder.display()));
    }
    let into = workshop.folder.join("source");
    std::fs::create_dir_all(&into).map_err(|error| format!("{} can't be made: {error}", into.display()))?;
    for command in commands(source, &into) {
        workshop.run(&command, "fetch").await?;
    }
    if source.pypi.is_some() {
        let archives = std::fs::read_dir(&into).map_err(|error| error.to_string())?;
        let archive = archives
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.to_string_lossy().ends_with(".tar.gz"))
            .ok_or_else(|| "the package index gave no source archive".to_owned())?;
        let (archive, folder) = (archive.display().to_string(), into.display().to_string());
        workshop.run(&words(&["tar", "-xzf", &archive, "-C", &folder]), "unpack").await?;
    }
    root(&into).ok_or_else(|| "the source that came holds no llama.cpp".to_owned())
}

/// The tree itself, its archive's one folder, or what a package carries along.
pub fn root(folder: &Path) -> Option<PathBuf> {
    let mut candidates = vec![folder.to_owned()];
    let inner = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    candidates.extend(inner.filter(|path| path.is_dir()));
    let vendored: Vec<PathBuf> = candidates.iter().map(|folder| folder.join("vendor/llama.cpp")).collect();
    candidates.extend(vendored);
    let is_tree = |folder: &PathBuf| {
        let server = ["tools/server", "examples/server"].iter().any(|part| folder.join(part).is_dir());
        folder.join("CMakeLists.txt").is_file() && folder.join("ggml").is_dir() && server
    };
    candidates.into_iter().find(is_tree)
}
