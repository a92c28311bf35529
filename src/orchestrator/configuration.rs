//! What the orchestrator is told at start: variable > YAML file > default.
//!
//! One table names every setting. Values come as text and are checked here once, so that a refusal names where the value
//! came from, the value, and what is allowed. Tokens come by variable only, and no refusal repeats one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::event_log::Cap;
use super::placement::Strategy;
use super::queue::Policy;
use super::tasks::Retention;
use crate::http::access::Tokens;

/// One setting: its variable, and its key in the file.
pub struct Setting {
    pub variable: &'static str,
    pub key: &'static str,
    pub help: &'static str,
}

const fn setting(variable: &'static str, key: &'static str, help: &'static str) -> Setting {
    Setting { variable, key, help }
}

pub const SETTINGS: &[Setting] = &[
    setting("ORCHD_ADDR", "addr", "Where to listen; not on loopback it needs LLORCH_API_TOKEN (127.0.0.1:8080)"),
    setting("ORCHD_ADMISSION_CAPACITY", "admission_capacity", "Tasks that may wait, or -1 for any number (8)"),
    setting("ORCHD_ADMISSION_POLICY", "admission_policy", "What a full queue does: reject or drop-lru (reject)"),
    setting(
        "ORCHESTRATORD_PLACEMENT_STRATEGY",
        "placement_strategy",
        "round-robin, least-loaded or random (least-loaded)",
    ),
    setting("ORCHESTRATORD_NODE_TIMEOUT_MS", "node_timeout_ms", "A node silent for longer is offline (30000)"),
    setting(
        "ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS",
        "stale_check_interval_secs",
        "How often to look for silent nodes (10)",
    ),
    setting("ORCHD_DISCONNECT_GRACE_MS", "disconnect_grace_ms", "For a client to come back; 0 cancels at once (2000)"),
    setting("ORCHD_SSE_MICROBATCH", "sse_microbatch", "Frames that are ready together leave in one write (false)"),
    setting("ORCHD_LLAMACPP_URL", "llamacpp_url", "A llama-server to bind (none)"),
    setting("ORCHD_LLAMACPP_POOL", "llamacpp_pool", "The pool that it is (default)"),
    setting("ORCHD_LLAMACPP_REPLICA", "llamacpp_replica", "The replica that it is (r0)"),
    setting("ORCHD_STATE_DIR", "state_dir", "Where tasks, nodes and streams are kept (.runtime/orchestratord/PORT)"),
    setting("ORCHD_EVENT_LOG_EVENTS", "event_log_events", "Events kept of one task, at the most (8192)"),
    setting("ORCHD_FINISHED_STREAMS", "finished_streams", "Streams kept of tasks that are over (10000)"),
    setting("ORCHD_PROVISIONING_ALLOW", "provisioning.allow", "Who may fetch a model: never, listed or any (never)"),
    setting("ORCHD_PROVISIONING_POOLS", "provisioning.pools", "Into which pools, with commas between (all)"),
];

/// A refused variable or file: exit 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Which missing models may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    Never,
    /// Those of the catalog.
    Listed,
    Any,
}

#[derive(Clone, Debug)]
pub struct Provisioning {
    pub allow: Allow,
    /// Into which pools; none named is all.
    pub pools: Vec<String>,
}

/// A llama-server that is bound without a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Llamacpp {
    pub url: String,
    pub pool_id: String,
    pub replica_id: String,
}

#[derive(Clone, Debug)]
pub struct Configuration {
    pub address: SocketAddr,
    /// `None` is without bound.
    pub capacity: Option<usize>,
    pub policy: Policy,
    pub strategy: Strategy,
    pub node_timeout: Duration,
    pub stale_check_interval: Duration,
    pub disconnect_grace: Duration,
    pub microbatch: bool,
    pub llamacpp: Option<Llamacpp>,
    /// `None` is a folder by the port.
    pub state_dir: Option<PathBuf>,
    pub event_log: Cap,
    pub retention: Retention,
    pub provisioning: Provisioning,
    /// Who may use the task API.
    pub client_tokens: Tokens,
    /// Who may register nodes.
    pub node_tokens: Tokens,
    /// What this sends to nodes.
    pub node_bearer: Option<String>,
}

const EVENT_LOG_BYTES: usize = 4 * 1024 * 1024;
const RETAINED_BYTES: usize = 256 * 1024 * 1024;
const LEAST_TOKEN_BYTES: usize = 32;

/// Where settings are looked for, each as text.
#[derive(Debug, Default)]
pub struct Sources {
    /// The process's environment, or a test's. An empty variable is as good as none.
    pub variables: BTreeMap<String, String>,
    /// The file's name, and its keys.
    pub file: Option<(String, BTreeMap<String, String>)>,
}

impl Sources {
    /// Reads a YAML file. Unknown keys are refused by name.
    pub fn read_file(&mut self, path: &str) -> Result<(), UsageError> {
        let refuse = |message: String| UsageError(format!("--config: '{path}': {message}"));
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let values: Option<BTreeMap<String, Value>> =
            serde_saphyr::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        let mut keys = BTreeMap::new();
        for (key, value) in values.unwrap_or_default() {
            match value {
                Value::Object(inner) => {
                    for (name, value) in inner {
                        keys.insert(format!("{key}.{name}"), value);
                    }
                }
                value => {
                    keys.insert(key, value);
                }
            }
        }
        let mut settings = BTreeMap::new();
        for (key, value) in keys {
            if !SETTINGS.iter().any(|setting| setting.key == key) {
                let known: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
                return Err(refuse(format!("unknown key '{key}'; known: {}", known.join(", "))));
            }
            if !value.is_null() {
                let text = plain(&value).ok_or_else(|| refuse(format!("'{key}' holds a map; allowed: one value")))?;
                settings.insert(key, text);
            }
        }
        self.file = Some((path.to_owned(), settings));
        Ok(())
    }

    /// The text of a setting, and the name of its source.
    fn find(&self, variable: &str) -> Option<(String, &str)> {
        if let Some(value) = self.secret(variable) {
            return Some((variable.to_owned(), value));
        }
        let key = SETTINGS.iter().find(|setting| setting.variable == variable)?.key;
        let (path, keys) = self.file.as_ref()?;
        Some((format!("{key} in {path}"), keys.get(key)?))
    }

    fn secret(&self, variable: &str) -> Option<&str> {
        self.variables.get(variable).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// One value, or several with commas between.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::Array(items) => Some(items.iter().map(plain).collect::<Option<Vec<_>>>()?.join(",")),
        _ => None,
    }
}

/// The settings as they are read, and everything that is refused of them.
struct Reader<'a> {
    sources: &'a Sources,
    refused: Vec<String>,
}

impl Reader<'_> {
    fn read<T>(&mut self, variable: &str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (source, text) = self.sources.find(variable)?;
        let value = parse(text);
        if value.is_none() {
            self.refused.push(format!("{source}: '{text}' is refused; allowed: {allowed}"));
        }
        value
    }

    fn number<T: FromStr + PartialOrd + std::fmt::Display>(&mut self, variable: &str, least: T, most: T) -> Option<T> {
        let allowed = format!("a whole number from {least} to {most}");
        self.read(variable, &allowed, |text| text.parse().ok().filter(|value| (&least..=&most).contains(&value)))
    }

    fn word<T: Copy>(&mut self, variable: &str, words: &[(&str, T)]) -> Option<T> {
        let allowed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.read(variable, &allowed, |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
    }

    fn name(&mut self, variable: &str, default: &str) -> String {
        let name = self.read(variable, "1 to 64 of A-Z a-z 0-9 . _ -", |text| is_name(text).then(|| text.to_owned()));
        name.unwrap_or_else(|| default.to_owned())
    }

    fn tokens(&mut self, variable: &str) -> Option<Tokens> {
        let text = self.sources.secret(variable)?;
        let long = text.split(',').all(|token| token.trim().len() >= LEAST_TOKEN_BYTES);
        let tokens = Tokens::parse(text).filter(|_| long);
        if tokens.is_none() {
            // The value is a secret: the refusal does not repeat it.
            self.refused.push(format!(
                "{variable} is refused; allowed: one token, or two with a comma between, each of {LEAST_TOKEN_BYTES} \
                 bytes of visible ASCII or more"
            ));
        }
        tokens
    }
}

/// The names of nodes, pools and replicas: they are parts of paths. As the OpenAPI document has them.
pub const NAME: &str = "^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63}|\\.[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}\
    |\\.\\.[A-Za-z0-9._-]{1,62})$";

/// The same by hand.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

impl Configuration {
    /// Checks everything and lists all that is refused, not the first only.
    pub fn resolve(sources: &Sources) -> Result<Self, UsageError> {
        let mut reader = Reader { sources, refused: Vec::new() };
        let address = reader
            .read("ORCHD_ADDR", "an IP address and a port, such as 127.0.0.1:8080", socket_address)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
        let client_tokens = reader.tokens("LLORCH_API_TOKEN");
        let node_tokens = reader.tokens("LLORCH_NODE_TOKEN");
        if !address.ip().is_loopback() && sources.secret("LLORCH_API_TOKEN").is_none() {
            reader.refused.push(format!(
                "ORCHD_ADDR: '{address}' is refused: without LLORCH_API_TOKEN anybody could reach it; allowed: a \
                 loopback address"
            ));
        }
        let capacity =
            reader.read("ORCHD_ADMISSION_CAPACITY", "a whole number above 0, or -1 for any number", |text| match text
                .parse::<i64>()
                .ok()?
            {
                -1 => Some(None),
                number => usize::try_from(number).ok().filter(|number| *number > 0).map(Some),
            });
        let policy =
            reader.word("ORCHD_ADMISSION_POLICY", &[("reject", Policy::Reject), ("drop-lru", Policy::DropLru)]);
        let strategy = reader.word(
            "ORCHESTRATORD_PLACEMENT_STRATEGY",
            &[
                ("round-robin", Strategy::RoundRobin),
                ("least-loaded", Strategy::LeastLoaded),
                ("random", Strategy::Random),
            ],
        );
        let switches = [("false", false), ("true", true), ("0", false), ("1", true)];
        let microbatch = reader.word("ORCHD_SSE_MICROBATCH", &switches).unwrap_or(false);
        let node_timeout = reader.number("ORCHESTRATORD_NODE_TIMEOUT_MS", 1, 86_400_000).unwrap_or(30_000);
        let interval = reader.number("ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS", 1, 86_400).unwrap_or(10);
        let grace = reader.number("ORCHD_DISCONNECT_GRACE_MS", 0, 86_400_000).unwrap_or(2000);
        let events = reader.number("ORCHD_EVENT_LOG_EVENTS", 1, 1_000_000).unwrap_or(8192);
        let streams = reader.number("ORCHD_FINISHED_STREAMS", 0, 1_000_000).unwrap_or(10_000);
        let state_dir = reader.read("ORCHD_STATE_DIR", "a path", |text| Some(PathBuf::from(text)));
        let llamacpp = llamacpp(&mut reader);
        let provisioning = provisioning(&mut reader);
        let node_bearer = sources.secret("LLORCH_NODE_TOKEN").or_else(|| sources.secret("LLORCH_API_TOKEN"));
        let client_tokens = client_tokens.unwrap_or_default();
        let configuration = Self {
            address,
            capacity: capacity.unwrap_or(Some(8)),
            policy: policy.unwrap_or(Policy::Reject),
            strategy: strategy.unwrap_or(Strategy::LeastLoaded),
            node_timeout: Duration::from_millis(node_timeout),
            stale_check_interval: Duration::from_secs(interval),
            disconnect_grace: Duration::from_millis(grace),
            microbatch,
            llamacpp,
            state_dir,
            event_log: Cap { events, bytes: EVENT_LOG_BYTES },
            retention: Retention { streams, bytes: RETAINED_BYTES },
            provisioning,
            node_tokens: node_tokens.unwrap_or_else(|| client_tokens.clone()),
            client_tokens,
            node_bearer: node_bearer.and_then(|text| Some(text.split(',').next()?.trim().to_owned())),
        };
        if reader.refused.is_empty() { Ok(configuration) } else { Err(UsageError(reader.refused.join("\nerror: "))) }
    }
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// A node's or an engine's base URL, without a slash at its end.
pub fn base_url(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let plain = url.scheme() == "http" && url.host_str().is_some_and(|host| !host.is_empty());
    let bare =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    (plain && bare).then(|| text.trim_end_matches('/').to_owned())
}

fn llamacpp(reader: &mut Reader<'_>) -> Option<Llamacpp> {
    let url = reader.read("ORCHD_LLAMACPP_URL", "a base URL, such as http://127.0.0.1:8081", base_url);
    let pool_id = reader.name("ORCHD_LLAMACPP_POOL", "default");
    let replica_id = reader.name("ORCHD_LLAMACPP_REPLICA", "r0");
    Some(Llamacpp { url: url?, pool_id, replica_id })
}

fn provisioning(reader: &mut Reader<'_>) -> Provisioning {
    let words = [("never", Allow::Never), ("listed", Allow::Listed), ("any", Allow::Any)];
    let allow = reader.word("ORCHD_PROVISIONING_ALLOW", &words).unwrap_or(Allow::Never);
    let pools = reader.read("ORCHD_PROVISIONING_POOLS", "names of pools with commas between", |text| {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        names.iter().all(|name| is_name(name)).then_some(names)
    });
    Provisioning { allow, pools: pools.unwrap_or_default() }
}
