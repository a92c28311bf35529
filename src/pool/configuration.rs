//! What `pool-managerd` is told at start: variable > YAML file > default. Everything is checked here, once; a refusal
//! names where the value came from, the value, and what is allowed, and all refusals are listed together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::engine::settings::EngineSettings;
use crate::http::access::Tokens;

pub use crate::worker::configuration::UsageError;

/// The shortest token that counts as a secret.
const TOKEN_BYTES: usize = 32;

#[derive(Clone, Debug)]
pub struct Configuration {
    pub addr: SocketAddr,
    /// Handoff files, and beside them the logs of what this node started.
    pub runtime_dir: PathBuf,
    pub watch_interval: Duration,
    pub node_id: String,
    pub machine_id: String,
    /// Under which others reach this node; from the bound address where it is not given.
    pub address: Option<Url>,
    /// At least one; the first takes workers that name none.
    pub pools: Vec<String>,
    pub heartbeat_interval: Duration,
    pub orchestrator: Option<Url>,
    /// Who may ask this daemon for anything.
    pub access: Tokens,
    /// What this daemon shows to the orchestrator.
    pub node_token: Option<String>,
    /// In which the catalog and its models lie.
    pub pool_dir: PathBuf,
    /// Of workers that are asked for without one.
    pub backend: String,
    pub provisioning: Provisioning,
    /// How workers of a backend are started, where it is not this program's own worker.
    pub programs: BTreeMap<String, Vec<String>>,
    /// Workers that are started with the daemon.
    pub workers: Vec<WorkerSettings>,
    pub ready_deadline: Duration,
    pub health_interval: Duration,
    pub drain_deadline: Duration,
    pub engine: EngineSettings,
}

/// One worker of the `workers` list.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    pub pool_id: Option<String>,
    pub model_ref: String,
    #[serde(default = "default_backend")]
    pub backend: String,
    pub gpu_id: Option<u32>,
    /// Started again when it fails.
    #[serde(default = "yes")]
    pub supervise: bool,
}

fn default_backend() -> String {
    "cpu".to_owned()
}

fn yes() -> bool {
    true
}

/// Who may have a missing model fetched or an engine built, and into which pool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Provisioning {
    pub allow: Allow,
    /// Empty: every pool.
    pub pools: Vec<String>,
    /// What `listed` allows.
    pub models: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Allow {
    #[default]
    Never,
    Listed,
    Any,
}

impl Provisioning {
    /// Whether an engine may be built for a pool; the refusal is a sentence.
    pub fn permits_engine(&self, pool_id: &str) -> Result<(), String> {
        if self.allow == Allow::Never {
            return Err("building an engine is not allowed on this node (provisioning.allow is never)".to_owned());
        }
        self.permits_pool(pool_id)
    }

    fn permits_pool(&self, pool_id: &str) -> Result<(), String> {
        if self.pools.is_empty() || self.pools.iter().any(|pool| pool == pool_id) {
            return Ok(());
        }
        Err(format!("provisioning is not allowed into pool {pool_id} (provisioning.pools)"))
    }

    /// Whether `model_ref` may be fetched for a pool; the refusal is a sentence.
    pub fn permits(&self, pool_id: &str, model_ref: &str) -> Result<(), String> {
        if self.allow == Allow::Never {
            return Err("fetching is not allowed on this node (provisioning.allow is never)".to_owned());
        }
        self.permits_pool(pool_id)?;
        if self.allow == Allow::Listed && !self.models.iter().any(|model| model == model_ref) {
            return Err(format!("{model_ref} is not among provisioning.models"));
        }
        Ok(())
    }
}

/// The YAML file. Values that a variable can give too are kept as text, so that both are read by one parser.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    addr: Option<String>,
    runtime_dir: Option<String>,
    watch_interval_ms: Option<serde_json::Number>,
    node_id: Option<String>,
    machine_id: Option<String>,
    address: Option<String>,
    pools: Option<Vec<String>>,
    heartbeat_interval_secs: Option<serde_json::Number>,
    orchestratord_url: Option<String>,
    pool_dir: Option<String>,
    backend: Option<String>,
    ready_deadline_ms: Option<serde_json::Number>,
    health_interval_ms: Option<serde_json::Number>,
    drain_deadline_ms: Option<serde_json::Number>,
    provisioning: Provisioning,
    programs: BTreeMap<String, Vec<String>>,
    workers: Vec<WorkerSettings>,
    engine: Option<EngineSettings>,
    cache_dir: Option<PathBuf>,
}

impl File {
    pub fn read(path: &Path) -> Result<Self, UsageError> {
        let place = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| UsageError(format!("--config: '{place}' can't be read: {error}")))?;
        let file: Option<File> = serde_saphyr::from_str(&text)
            .map_err(|error| UsageError(format!("--config: '{place}' is refused: {error}")))?;
        Ok(file.unwrap_or_default())
    }

    /// The text of a setting, as a variable would have it.
    fn text(&self, key: &str) -> Option<String> {
        let number = |number: &Option<serde_json::Number>| number.as_ref().map(ToString::to_string);
        match key {
            "addr" => self.addr.clone(),
            "runtime_dir" => self.runtime_dir.clone(),
            "watch_interval_ms" => number(&self.watch_interval_ms),
            "node_id" => self.node_id.clone(),
            "machine_id" => self.machine_id.clone(),
            "address" => self.address.clone(),
            "pools" => self.pools.as_ref().map(|pools| pools.join(",")),
            "heartbeat_interval_secs" => number(&self.heartbeat_interval_secs),
            "orchestratord_url" => self.orchestratord_url.clone(),
            "pool_dir" => self.pool_dir.clone(),
            "backend" => self.backend.clone(),
            "ready_deadline_ms" => number(&self.ready_deadline_ms),
            "health_interval_ms" => number(&self.health_interval_ms),
            "drain_deadline_ms" => number(&self.drain_deadline_ms),
            _ => None,
        }
    }
}

/// A setting's variable and its key in the file.
const SETTINGS: [(&str, &str); 14] = [
    ("POOL_MANAGERD_ADDR", "addr"),
    ("POOL_MANAGERD_RUNTIME_DIR", "runtime_dir"),
    ("POOL_MANAGERD_WATCH_INTERVAL_MS", "watch_interval_ms"),
    ("POOL_MANAGERD_NODE_ID", "node_id"),
    ("POOL_MANAGERD_MACHINE_ID", "machine_id"),
    ("POOL_MANAGERD_ADDRESS", "address"),
    ("POOL_MANAGERD_POOLS", "pools"),
    ("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "heartbeat_interval_secs"),
    ("ORCHESTRATORD_URL", "orchestratord_url"),
    ("LLORCH_POOL_DIR", "pool_dir"),
    ("POOL_MANAGERD_BACKEND", "backend"),
    ("POOL_MANAGERD_READY_DEADLINE_MS", "ready_deadline_ms"),
    ("POOL_MANAGERD_HEALTH_INTERVAL_MS", "health_interval_ms"),
    ("POOL_MANAGERD_DRAIN_DEADLINE_MS", "drain_deadline_ms"),
];

struct Reader<'a> {
    variables: &'a BTreeMap<String, String>,
    file: &'a File,
    refused: Vec<String>,
}

impl Reader<'_> {
    /// The value of a setting; a refusal is noted, and none given.
    fn read<T>(&mut self, variable: &str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let key = SETTINGS.iter().find(|(name, _)| *name == variable).map(|(_, key)| *key)?;
        let given = self.variables.get(variable).filter(|value| !value.is_empty());
        let (source, text) = match given {
            Some(value) => (variable.to_owned(), value.clone()),
            None => (format!("{key} in the configuration file"), self.file.text(key)?),
        };
        let value = parse(&text);
        if value.is_none() {
            self.refused.push(format!("{source}: '{text}' is refused; allowed: {allowed}"));
        }
        value
    }

    fn number<T: FromStr + PartialOrd + Display>(&mut self, variable: &str, least: T, most: T) -> Option<T> {
        let allowed = format!("a whole number from {least} to {most}");
        self.read(variable, &allowed, |text| text.parse().ok().filter(|value| (&least..=&most).contains(&value)))
    }

    fn milliseconds(&mut self, variable: &str, default: u64) -> Duration {
        Duration::from_millis(self.number(variable, 1, 86_400_000).unwrap_or(default))
    }

    fn url(&mut self, variable: &str) -> Option<Url> {
        self.read(variable, "a complete http:// URL", |text| {
            let url = Url::parse(text).ok()?;
            (url.scheme() == "http" && url.host_str().is_some_and(|host| !host.is_empty())).then_some(url)
        })
    }

    fn word(&mut self, variable: &str) -> Option<String> {
        let allowed = "1 to 64 of A-Z a-z 0-9 . _ -, and neither '.' nor '..'";
        self.read(variable, allowed, |text| is_name(text).then(|| text.to_owned()))
    }

    fn path(&mut self, variable: &str, default: &str) -> PathBuf {
        self.read(variable, "a path", |text| Some(PathBuf::from(text))).unwrap_or_else(|| default.into())
    }

    /// The tokens of a variable, as they are and as they are compared. The value is a secret: no refusal repeats it.
    fn tokens(&mut self, variable: &str) -> Option<(String, Tokens)> {
        let text = self.variables.get(variable).filter(|text| !text.is_empty())?;
        let first = text.split(',').next().unwrap_or_default().trim().to_owned();
        match Tokens::parse(text) {
            Some(tokens) if text.split(',').all(|token| token.trim().len() >= TOKEN_BYTES) => Some((first, tokens)),
            _ => {
                self.refused.push(format!(
                    "{variable} is refused; allowed: one token, or two with a comma between, each of at least \
                     {TOKEN_BYTES} visible ASCII characters"
                ));
                None
            }
        }
    }
}

impl Configuration {
    /// Checks everything and lists all that is refused.
    pub fn resolve(variables: &BTreeMap<String, String>, file: File) -> Result<Self, UsageError> {
        let mut reader = Reader { variables, file: &file, refused: Vec::new() };
        let addr = reader
            .read("POOL_MANAGERD_ADDR", "an IP address and a port, such as 127.0.0.1:9200", |text| text.parse().ok())
            .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9200)));
        let api = reader.tokens("LLORCH_API_TOKEN");
        let node = reader.tokens("LLORCH_NODE_TOKEN").or(api);
        if !addr.ip().is_loopback() && node.is_none() {
            reader.refused.push(format!(
                "POOL_MANAGERD_ADDR: '{addr}' is refused: without LLORCH_NODE_TOKEN or LLORCH_API_TOKEN anybody could \
                 reach it; allowed: a loopback address"
            ));
        }
        let node_id = reader.word("POOL_MANAGERD_NODE_ID").unwrap_or_else(host_name);
        let pools = reader
            .read("POOL_MANAGERD_POOLS", "pool ids with commas between, each once, of A-Z a-z 0-9 . _ -", pools)
            .unwrap_or_else(|| vec!["pool-0".to_owned()]);
        for worker in &file.workers {
            if let Some(pool) = worker.pool_id.as_ref().filter(|pool| !pools.contains(pool)) {
                reader.refused.push(format!("workers: pool '{pool}' is refused; allowed: {}", pools.join(", ")));
            }
        }
        for (backend, words) in &file.programs {
            if words.is_empty() {
                reader.refused.push(format!("programs: '{backend}' names no program"));
            }
        }
        let mut engine = file.engine.clone().unwrap_or_default();
        engine.cache_dir = engine.cache_dir.or_else(|| file.cache_dir.clone());
        if let Some(pool) = engine.pool_id.as_ref().filter(|pool| !pools.contains(pool)) {
            reader.refused.push(format!("engine.pool_id: '{pool}' is refused; allowed: {}", pools.join(", ")));
        }
        if let Err(refusal) = engine.check() {
            reader.refused.push(refusal);
        }
        let configuration = Self {
            addr,
            runtime_dir: reader.path("POOL_MANAGERD_RUNTIME_DIR", ".runtime/engines"),
            watch_interval: Duration::from_millis(
                reader.number("POOL_MANAGERD_WATCH_INTERVAL_MS", 10, 3_600_000).unwrap_or(1000),
            ),
            machine_id: reader.word("POOL_MANAGERD_MACHINE_ID").unwrap_or_else(|| machine_id(&node_id)),
            node_id,
            address: reader.url("POOL_MANAGERD_ADDRESS"),
            pools,
            heartbeat_interval: Duration::from_secs(
                reader.number("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", 1, 3600).unwrap_or(10),
            ),
            orchestrator: reader.url("ORCHESTRATORD_URL"),
            access: node.as_ref().map(|(_, tokens)| tokens.clone()).unwrap_or_default(),
            node_token: node.map(|(first, _)| first),
            pool_dir: reader.path("LLORCH_POOL_DIR", "."),
            backend: reader.word("POOL_MANAGERD_BACKEND").unwrap_or_else(default_backend),
            ready_deadline: reader.milliseconds("POOL_MANAGERD_READY_DEADLINE_MS", 60_000),
            health_interval: reader.milliseconds("POOL_MANAGERD_HEALTH_INTERVAL_MS", 10_000),
            drain_deadline: reader.milliseconds("POOL_MANAGERD_DRAIN_DEADLINE_MS", 30_000),
            provisioning: file.provisioning.clone(),
            programs: file.programs.clone(),
            workers: file.workers.clone(),
            engine,
        };
        if reader.refused.is_empty() { Ok(configuration) } else { Err(UsageError(reader.refused.join("\nerror: "))) }
    }
}

/// An id is a file's name in places, so the two names that are folders are none.
pub fn is_name(text: &str) -> bool {
    crate::worker::configuration::is_worker_id(text)
}

fn pools(text: &str) -> Option<Vec<String>> {
    let pools: Vec<String> = text.split(',').map(|pool| pool.trim().to_owned()).collect();
    let distinct = pools.iter().enumerate().all(|(index, pool)| !pools[..index].contains(pool));
    (distinct && pools.iter().all(|pool| is_name(pool))).then_some(pools)
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| is_name(name)).unwrap_or_else(|| "node".to_owned())
}

/// The system's own id for the machine, where it has one.
fn machine_id(node_id: &str) -> String {
    let text = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    Some(text.trim().to_owned()).filter(|id| is_name(id)).unwrap_or_else(|| node_id.to_owned())
}
