//! The `engine` part of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// Where a server is built from, when none is found.
    pub source: Option<Source>,
    pub gpu: Gpu,
    /// Passed on to the server as they are.
    pub flags: Vec<String>,
    /// Where sources and builds are kept; the default is the user's cache folder.
    pub cache_dir: Option<PathBuf>,
    /// What `provision` starts it on.
    pub model: Option<String>,
    pub pool_id: Option<String>,
    pub replica_id: Option<String>,
    /// Jobs that run at a time.
    pub slots: Option<u16>,
}

/// One of these; `ref` goes with `git`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// A checkout that is there.
    pub folder: Option<PathBuf>,
    /// A repository, and the tag, branch or commit of it.
    pub git: Option<String>,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// A `.tar.gz`: a path or a URL.
    pub archive: Option<String>,
    /// The version of the Python source distribution that carries the sources.
    pub pypi: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Gpu {
    #[default]
    None,
    Cuda,
    Metal,
    Vulkan,
    Rocm,
}

impl Gpu {
    pub fn word(self) -> &'static str {
        match self {
            Gpu::None => "none",
            Gpu::Cuda => "cuda",
            Gpu::Metal => "metal",
            Gpu::Vulkan => "vulkan",
            Gpu::Rocm => "rocm",
        }
    }
}

/// Flags that the provisioner sets itself.
const RESERVED: [&str; 12] = [
    "--host",
    "--port",
    "--model",
    "-m",
    "--parallel",
    "-np",
    "--metrics",
    "--api-key",
    "--api-key-file",
    "--alias",
    "-a",
    "--no-webui",
];

impl EngineSettings {
    pub fn slots(&self) -> u16 {
        self.slots.unwrap_or(1)
    }

    /// The refusal names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.slots == Some(0) {
            return Err("engine.slots: '0' is refused; allowed: 1 to 65535".to_owned());
        }
        if let Some(flag) = self.flags.iter().find(|flag| {
            let name = flag.split('=').next().unwrap_or_default();
            RESERVED.contains(&name)
        }) {
            return Err(format!("engine.flags: '{flag}' is refused: the provisioner sets it"));
        }
        if let Some(replica) = self.replica_id.as_ref().filter(|replica| !super::super::configuration::is_name(replica))
        {
            return Err(format!("engine.replica_id: '{replica}' is refused; allowed: 1 to 64 of A-Z a-z 0-9 . _ -"));
        }
        self.source.as_ref().map_or(Ok(()), Source::check)
    }
}

impl Source {
    fn check(&self) -> Result<(), String> {
        let given = [self.folder.is_some(), self.git.is_some(), self.archive.is_some(), self.pypi.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(
                "engine.source is refused; allowed: exactly one of folder, git (with ref), archive, pypi".to_owned()
            );
        }
        match (&self.git, &self.reference) {
            (Some(_), None) => return Err("engine.source.git needs engine.source.ref".to_owned()),
            (None, Some(_)) => return Err("engine.source.ref goes with engine.source.git only".to_owned()),
            _ => {}
        }
        // They become words of command lines: none may be read as a flag.
        let words = [&self.git, &self.reference, &self.archive, &self.pypi];
        match words.into_iter().flatten().find(|word| word.is_empty() || word.starts_with('-')) {
            Some(word) => Err(format!("engine.source: '{word}' is refused; allowed: a word that begins with no dash")),
            None => Ok(()),
        }
    }
}
