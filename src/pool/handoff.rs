//! Handoff files: how an engine, whoever started it, says that it is there.
//!
//! `<runtime>/<pool_id>-<replica_id>.json`, written under another name and renamed, so that nobody reads half of one. The
//! watcher looks at the folder again and again: a new or rewritten file is bound to a replica, a removed one is taken
//! out, a broken one is said once and read again when it changes. An engine that does not answer is not ready.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use super::adapter::llamacpp::LlamaCpp;
use super::configuration::is_name;
use super::node::Node;
use super::registry::{Parts, Replica, Upstream};

/// The `provisioning_mode` of engines that live and die with this daemon.
pub const MANAGED: &str = "managed";
/// The longest file that is read.
const FILE_BYTES: u64 = 1024 * 1024;
/// Between two looks at an engine that is not ready.
const CONNECT_LOOK: Duration = Duration::from_millis(500);
/// Between two looks at one that is.
const HEALTH_LOOK: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handoff {
    pub pool_id: String,
    pub replica_id: String,
    pub engine: String,
    #[serde(default)]
    pub engine_version: String,
    #[serde(default)]
    pub provisioning_mode: String,
    pub url: String,
    pub model: Model,
    #[serde(default)]
    pub device_mask: Option<String>,
    #[serde(default)]
    pub slots_total: Option<usize>,
    #[serde(default, alias = "slots")]
    pub slots_free: Option<usize>,
    #[serde(default)]
    pub pid: Option<u32>,
    #[serde(default)]
    pub flags: Vec<String>,
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    #[serde(default)]
    pub path: Option<PathBuf>,
}

impl Handoff {
    /// The refusal is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let handoff: Self = serde_json::from_str(text).map_err(|error| format!("it can't be read: {error}"))?;
        if !is_name(&handoff.pool_id) || !is_name(&handoff.replica_id) {
            return Err("pool_id and replica_id are 1 to 64 of A-Z a-z 0-9 . _ -".to_owned());
        }
        if handoff.engine != "llamacpp" {
            return Err(format!("engine '{}' has no adapter here; allowed: llamacpp", handoff.engine));
        }
        handoff.base()?;
        Ok(handoff)
    }

    fn base(&self) -> Result<Url, String> {
        let url = Url::parse(&self.url).ok().filter(|url| url.scheme() == "http" && url.host_str().is_some());
        url.ok_or_else(|| format!("url '{}' is refused; allowed: a complete http:// URL", self.url))
    }

    /// Writes it for others to find: whole, or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", std::process::id()));
        let written = path.with_file_name(name);
        let outcome = std::fs::write(&written, text).and_then(|()| std::fs::rename(&written, path));
        if outcome.is_err() {
            let _ = std::fs::remove_file(&written);
        }
        outcome
    }

    /// The key, from a file that nobody else reads.
    fn api_key(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.api_key_file else { return Ok(None) };
        let refuse = |reason: String| format!("the API key file {}: {reason}", path.display());
        let mode = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.mode();
        if mode & 0o077 != 0 {
            return Err(refuse(format!("its mode is {:o}; allowed: 600", mode & 0o777)));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let key = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(key.map(str::to_owned))
    }

    /// Every name under which its model may be asked for.
    fn models(&self) -> Vec<String> {
        let mut models = vec![self.model.id.clone()];
        models.extend(self.model.path.as_ref().map(|path| format!("file:{}", path.display())));
        models.dedup();
        models
    }
}

/// A file as it was when it was read: another one differs in at least one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let data = std::fs::metadata(path)?;
        Ok(Self { modified: (data.mtime(), data.mtime_nsec()), length: data.len(), inode: data.ino() })
    }
}

struct Seen {
    stamp: Stamp,
    /// None for a file that is broken. Held, not read: dropping it is what counts.
    _bound: Option<Bound>,
}

/// A file's engine and the task that tends it. Dropped, the engine takes no job any more.
struct Bound {
    task: AbortHandle,
    node: Arc<Node>,
    pool_id: String,
    replica_id: String,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.task.abort();
        let Some(pool) = self.node.registry.find(&self.pool_id) else { return };
        for replica in pool.replicas() {
            if replica.id == self.replica_id && matches!(replica.upstream, Upstream::LlamaCpp(_)) {
                replica.set_ready(false);
                pool.remove(&replica);
            }
        }
        self.node.registry.changed.notify_one();
    }
}

/// Watches the folder, until it is dropped.
pub async fn watch(node: Arc<Node>) {
    sweep(&node.configuration.runtime_dir);
    let mut seen = BTreeMap::new();
    let mut folder_there = true;
    loop {
        match list(&node.configuration.runtime_dir) {
            Ok(files) => {
                folder_there = true;
                look(&node, &files, &mut seen);
            }
            Err(error) => {
                if std::mem::take(&mut folder_there) {
                    info!(
                        actor = "pool-managerd",
                        action = "handoff_wait",
                        target = %node.configuration.runtime_dir.display(),
                        reason = %error,
                        human = "The folder of handoff files is not there yet",
                        "The folder of handoff files is not there yet"
                    );
                }
                seen.clear();
            }
        }
        tokio::select! {
            () = sleep(node.configuration.watch_interval) => {}
            () = node.look_again.notified() => {}
        }
    }
}

/// Removes what an earlier life of this daemon left behind: files of engines that it had started, and that are gone.
fn sweep(folder: &Path) {
    for path in list(folder).unwrap_or_default() {
        let Ok(handoff) = read(&path) else { continue };
        let gone = |pid: u32| i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
        if handoff.provisioning_mode == MANAGED && handoff.pid.is_some_and(gone) {
            let _ = std::fs::remove_file(&path);
            let _ = handoff.api_key_file.map(std::fs::remove_file);
            narrate(&path, "handoff_swept", "The handoff file of an engine that is gone was removed");
        }
    }
}

/// The handoff files of a folder. Names that begin with a dot are still being written.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ending| ending == "json") && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn look(node: &Arc<Node>, files: &[PathBuf], seen: &mut BTreeMap<PathBuf, Seen>) {
    seen.retain(|path, _| {
        let there = files.contains(path);
        if !there {
            narrate(path, "handoff_removed", "A handoff file is gone");
        }
        there
    });
    for path in files {
        let Ok(stamp) = Stamp::of(path) else { continue }; // removed just now: seen at the next look
        if seen.get(path).is_some_and(|known| known.stamp == stamp) {
            continue;
        }
        // What it said before does not hold any more, whatever it says now.
        seen.remove(path);
        let bound = match read(path).and_then(|handoff| bind(node, handoff)) {
            Ok(bound) => {
                narrate(path, "handoff_bound", "A handoff file binds an engine");
                Some(bound)
            }
            Err(reason) => {
                warn!(
                    actor = "pool-managerd",
                    action = "handoff_broken",
                    target = %path.display(),
                    reason,
                    human = "A handoff file can't be used",
                    "A handoff file can't be used"
                );
                None
            }
        };
        seen.insert(path.clone(), Seen { stamp, _bound: bound });
    }
}

fn narrate(path: &Path, action: &str, human: &str) {
    info!(actor = "pool-managerd", action, target = %path.display(), human, "{human}");
}

fn read(path: &Path) -> Result<Handoff, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES {
        return Err(format!("it has {length} bytes; allowed: {FILE_BYTES}"));
    }
    Handoff::parse(&std::fs::read_to_string(path).map_err(|error| error.to_string())?)
}

fn bind(node: &Arc<Node>, handoff: Handoff) -> Result<Bound, String> {
    if node.registry.find(&handoff.pool_id).is_none() {
        return Err(format!("this node has no pool {}", handoff.pool_id));
    }
    let (pool_id, replica_id) = (handoff.pool_id.clone(), handoff.replica_id.clone());
    let task = tokio::spawn(tend(node.clone(), handoff)).abort_handle();
    Ok(Bound { task, node: node.clone(), pool_id, replica_id })
}

/// Meets the engine as soon as it answers, and says whether it still does.
async fn tend(node: Arc<Node>, handoff: Handoff) {
    let Some(pool) = node.registry.find(&handoff.pool_id).cloned() else { return };
    let engine = loop {
        let met = match (handoff.base(), handoff.api_key()) {
            (Ok(base), Ok(key)) => LlamaCpp::connect(base, key).await.map_err(|error| error.to_string()),
            (Err(reason), _) | (_, Err(reason)) => Err(reason),
        };
        match met {
            Ok(engine) => break Arc::new(engine),
            Err(reason) => pool.set_error(format!("replica {}: {reason}", handoff.replica_id)),
        }
        sleep(CONNECT_LOOK).await;
    };
    let properties = engine.properties();
    let replica = Arc::new(Replica::new(
        Parts {
            id: handoff.replica_id.clone(),
            pool_id: handoff.pool_id.clone(),
            engine: handoff.engine.clone(),
            engine_version: if properties.version.is_empty() {
                handoff.engine_version.clone()
            } else {
                properties.version.clone()
            },
            models: handoff.models(),
            context_length: Some(properties.context_length),
            device_mask: handoff.device_mask.clone(),
            pid: handoff.pid,
            slots_total: properties.slots,
            upstream: Upstream::LlamaCpp(engine.clone()),
        },
        true,
    ));
    pool.add(replica.clone());
    node.registry.changed.notify_one();
    loop {
        sleep(if replica.is_ready() { HEALTH_LOOK } else { CONNECT_LOOK }).await;
        let health = engine.health().await;
        if replica.set_ready(health.is_ok()) {
            if let Err(error) = &health {
                pool.set_error(format!("replica {}: {error}", replica.id));
            }
            info!(
                actor = "pool-managerd",
                action = "engine_health",
                target = replica.id,
                pool_id = replica.pool_id,
                ready = health.is_ok(),
                human = "An engine's health changed",
                "An engine's health changed"
            );
            node.registry.changed.notify_one();
        }
    }
}
