//! What a worker is told at start: flag > `LLORCH_*` variable > YAML file > default.
//!
//! One table names every setting. The command line, the variables and the YAML keys are read from it as text, and the
//! text is parsed and checked here once, so that a refusal names where the value came from, the value, and what is
//! allowed. What leaves this module is checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::access::Tokens;
use super::daemon::{CPUD, Daemon};
use crate::backend::{BackendKind, Scope, Settings, StubPace};
use crate::parity::log;

/// One setting under its flag's name; the variable is `LLORCH_` and the name in capitals, the YAML key the name with
/// underscores.
pub struct Setting {
    pub flag: &'static str,
    pub alias: Option<&'static str>,
    /// `None` for a switch.
    pub value_name: Option<&'static str>,
    pub help: &'static str,
}

const fn setting(flag: &'static str, value_name: &'static str, help: &'static str) -> Setting {
    Setting { flag, alias: None, value_name: Some(value_name), help }
}

pub const SETTINGS: &[Setting] = &[
    setting("worker-id", "ID", "1 to 64 of A-Z a-z 0-9 . _ - (default: a fresh UUID)"),
    setting("model", "PATH", "A .gguf file, a .safetensors file, or a folder of those"),
    setting("port", "PORT", "0 chooses a free one and logs it (default: 0)"),
    setting("callback-url", "URL", "Where to report that the worker is ready (default: nowhere)"),
    setting("bind", "ADDRESS", "An IP address; one that is not loopback needs LLORCH_API_TOKEN (default: 127.0.0.1)"),
    setting("backend", "NAME", CPUD.backend_help),
    Setting { alias: Some("gpu-device"), ..setting("gpu", "INDEX", CPUD.gpu_help) },
    setting("max-tokens-in", "N", "The longest prompt, in tokens (default: the model's context)"),
    setting("max-tokens-out", "N", "The largest max_tokens, 1 to 2048 (default: 2048)"),
    setting("inference-timeout-sec", "S", "How long one job may run, 1 to 86400 (default: 300)"),
    setting("kv-cache-size-mb", "MIB", "The key-value cache's size, or auto (default: auto)"),
    setting("threads", "N", "Threads to compute with, 1 to 1024 (default: 1)"),
    setting("queue-size", "N", "Jobs that may wait, 0 to 65536 (default: 8)"),
    setting("drain-sec", "S", "How long a stop waits for the running job, 0 to 86400 (default: 30)"),
    setting("checkpoint-dir", "DIR", "Write a capture of each of the first 16 jobs here, into DIR/JOB_ID"),
    setting("checkpoint-layers", "WHICH", "Which layers a capture shows whole: first or all (default: first)"),
    setting("checkpoint-steps", "N", "Decode steps whose cache a capture shows, 0 to 2048 (default: 2)"),
    Setting { value_name: None, ..setting("digest", "", "Log a digest of each tensor as it is held") },
    setting("stub-tokens", "N", "How many tokens the stub yields, 0 to 1000000 (default: 2)"),
    setting("stub-delay-ms", "MS", "How long the stub takes over each token, 0 to 3600000 (default: 0)"),
];

/// A refused command line, variable or file: exit 2 with usage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

#[derive(Clone, Debug)]
pub struct Configuration {
    pub daemon: &'static Daemon,
    pub worker_id: String,
    /// The model as commanded, for the callback and the log: what a pool manager compares with what it asked for.
    pub model_ref: String,
    pub port: u16,
    pub callback: Option<reqwest::Url>,
    pub bind: IpAddr,
    pub max_tokens_in: Option<u32>,
    pub max_tokens_out: u32,
    pub inference_timeout: Duration,
    pub queue_size: usize,
    pub drain: Duration,
    pub checkpoint_dir: Option<PathBuf>,
    pub backend: Settings,
    pub access: Tokens,
    /// Sent as the bearer of the callback.
    pub spawn_token: Option<String>,
}

/// Where settings are looked for, each as text.
#[derive(Debug, Default)]
pub struct Sources {
    pub flags: BTreeMap<String, String>,
    /// The process's environment, or a test's. An empty variable is as good as none.
    pub variables: BTreeMap<String, String>,
    /// The file's name, and its keys with underscores.
    pub file: Option<(String, BTreeMap<String, String>)>,
}

impl Sources {
    /// Reads the YAML file that a flag or variable names. Unknown keys are refused by name.
    pub fn read_file(&mut self, path: &str) -> Result<(), UsageError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| UsageError(format!("--config: '{path}' can't be read: {error}")))?;
        self.file = Some((path.to_owned(), yaml_settings(path, &text)?));
        Ok(())
    }

    /// The text of a setting and the name of its source, by precedence.
    fn find(&self, flag: &str) -> Option<(String, &str)> {
        let key = flag.replace('-', "_");
        let variable = format!("LLORCH_{}", key.to_uppercase());
        if let Some(value) = self.flags.get(flag) {
            return Some((format!("--{flag}"), value));
        }
        if let Some(value) = self.variables.get(&variable).filter(|value| !value.is_empty()) {
            return Some((variable, value));
        }
        let (path, keys) = self.file.as_ref()?;
        Some((format!("{key} in {path}"), keys.get(&key)?))
    }

    fn read<T>(
        &self,
        flag: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, UsageError> {
        let Some((source, text)) = self.find(flag) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(UsageError(format!("{source}: '{text}' is refused; allowed: {allowed}"))),
        }
    }

    fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        flag: &str,
        least: T,
        most: T,
    ) -> Result<Option<T>, UsageError> {
        let allowed = format!("a whole number from {least} to {most}");
        self.read(flag, &allowed, |text| text.parse().ok().filter(|value| (&least..=&most).contains(&value)))
    }

    fn path(&self, flag: &str) -> Result<Option<PathBuf>, UsageError> {
        self.read(flag, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }
}

fn yaml_settings(path: &str, text: &str) -> Result<BTreeMap<String, String>, UsageError> {
    let refuse = |message: String| UsageError(format!("--config: '{path}': {message}"));
    let values: Option<BTreeMap<String, serde_json::Value>> =
        serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
    let mut settings = BTreeMap::new();
    for (key, value) in values.unwrap_or_default() {
        if !SETTINGS.iter().any(|setting| setting.flag.replace('-', "_") == key) {
            let known: Vec<_> = SETTINGS.iter().map(|setting| setting.flag.replace('-', "_")).collect();
            return Err(refuse(format!("unknown key '{key}'; known: {}", known.join(", "))));
        }
        match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => settings.insert(key, text),
            serde_json::Value::Bool(value) => settings.insert(key, value.to_string()),
            serde_json::Value::Number(value) => settings.insert(key, value.to_string()),
            _ => return Err(refuse(format!("'{key}' holds a list or a map; allowed: one value"))),
        };
    }
    Ok(settings)
}

impl Configuration {
    /// Checks everything and lists all that is refused, not the first only.
    pub fn resolve(daemon: &'static Daemon, sources: &Sources) -> Result<Self, UsageError> {
        let mut refused = Refused::default();
        let worker_id = refused.unless(sources.read(
            "worker-id",
            "1 to 64 of A-Z a-z 0-9 . _ -, and neither '.' nor '..'",
            |text| is_worker_id(text).then(|| text.to_owned()),
        ));
        // Taken, so that one command line fits every worker; a CPU has no use for it.
        let gpu = refused.unless(sources.number("gpu", 0, 1023)).unwrap_or(0);
        let backend = |word: &str| daemon.backend(word, gpu);
        let kind = refused.unless(sources.read("backend", &daemon.backends.join(", "), backend));
        let kind = kind.or_else(|| backend("cpu")).unwrap_or(BackendKind::Cpu);
        let model = refused.unless(sources.path("model"));
        if sources.find("model").is_none() && kind != BackendKind::Stub {
            refused.add(UsageError("--model is missing; only --backend stub runs without one".to_owned()));
        }
        let access = refused.unless(tokens(sources));
        let bind = refused.unless(bind_address(sources, access.is_some())).unwrap_or(LOOPBACK);
        let seconds = |refused: &mut Refused, flag, least, default| {
            Duration::from_secs(refused.unless(sources.number(flag, least, 86_400)).unwrap_or(default))
        };
        let checkpoint_dir = refused.unless(sources.path("checkpoint-dir"));
        let scope = refused.unless(scope(sources));
        let parity_log = refused.unless(log::Settings::from_variables(&sources.variables).map_err(UsageError));
        let configuration = Self {
            daemon,
            worker_id: worker_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            model_ref: model.as_ref().map_or_else(|| "stub".to_owned(), |path| path.display().to_string()),
            port: refused.unless(sources.number("port", 0, u16::MAX)).unwrap_or(0),
            callback: refused.unless(callback_url(sources)),
            bind,
            max_tokens_in: refused.unless(sources.number("max-tokens-in", 1, u32::MAX)),
            max_tokens_out: refused.unless(sources.number("max-tokens-out", 1, 2048)).unwrap_or(2048),
            inference_timeout: seconds(&mut refused, "inference-timeout-sec", 1, 300),
            queue_size: refused.unless(sources.number("queue-size", 0, 65_536)).unwrap_or(8),
            drain: seconds(&mut refused, "drain-sec", 0, 30),
            backend: Settings {
                capture: scope.filter(|_| checkpoint_dir.is_some()),
                parity_log,
                kind,
                model,
                threads: refused.unless(sources.number("threads", 1, 1024)).unwrap_or(1),
                kv_cache_size_mb: refused.unless(cache_size(sources)).flatten(),
                digest: refused.unless(sources.read("digest", "true, false", switch)).unwrap_or(false),
                stub: StubPace {
                    tokens: refused.unless(sources.number("stub-tokens", 0, 1_000_000)),
                    delay: Duration::from_millis(
                        refused.unless(sources.number("stub-delay-ms", 0, 3_600_000)).unwrap_or(0),
                    ),
                },
            },
            checkpoint_dir,
            access: access.unwrap_or_default(),
            spawn_token: sources.variables.get("LLORCH_SPAWN_TOKEN").filter(|token| !token.is_empty()).cloned(),
        };
        refused.none_or(configuration)
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The refusals so far, for one answer to all of them.
#[derive(Default)]
struct Refused(Vec<String>);

impl Refused {
    fn add(&mut self, error: UsageError) {
        self.0.push(error.0);
    }

    /// The value, or its refusal noted and none.
    fn unless<T>(&mut self, value: Result<Option<T>, UsageError>) -> Option<T> {
        value.unwrap_or_else(|error| {
            self.add(error);
            None
        })
    }

    fn none_or<T>(self, value: T) -> Result<T, UsageError> {
        if self.0.is_empty() { Ok(value) } else { Err(UsageError(self.0.join("\nerror: "))) }
    }
}

/// A worker's id is a file's name in places, so the two names that are folders are none.
pub fn is_worker_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn cache_size(sources: &Sources) -> Result<Option<Option<u64>>, UsageError> {
    sources.read("kv-cache-size-mb", "auto, or a whole number from 1 to 16777216", |text| match text {
        "auto" => Some(None),
        _ => text.parse().ok().filter(|size| (1..=16_777_216).contains(size)).map(Some),
    })
}

fn tokens(sources: &Sources) -> Result<Option<Tokens>, UsageError> {
    let Some(text) = sources.variables.get("LLORCH_API_TOKEN").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // The value is a secret: the refusal does not repeat it.
    let refusal = "LLORCH_API_TOKEN is refused; allowed: one token, or two with a comma between, of visible ASCII";
    Tokens::parse(text).map(Some).ok_or_else(|| UsageError(refusal.to_owned()))
}

fn bind_address(sources: &Sources, guarded: bool) -> Result<Option<IpAddr>, UsageError> {
    let bind = sources.read("bind", "an IP address, such as 127.0.0.1 or ::1", |text| match text {
        "localhost" => Some(LOOPBACK),
        _ => text.parse().ok(),
    })?;
    match bind {
        Some(address) if !address.is_loopback() && !guarded => Err(UsageError(format!(
            "--bind: '{address}' is refused: without LLORCH_API_TOKEN anybody could reach it; allowed: a loopback address"
        ))),
        bind => Ok(bind),
    }
}

/// How much of each job `--checkpoint-dir` captures.
fn scope(sources: &Sources) -> Result<Option<Scope>, UsageError> {
    let every_layer = sources.read("checkpoint-layers", "first, all", |text| match text {
        "first" => Some(false),
        "all" => Some(true),
        _ => None,
    })?;
    let steps = sources.number("checkpoint-steps", 0, 2048)?;
    let Scope { every_layer: default_layers, steps: default_steps } = Scope::default();
    let (every_layer, steps) = (every_layer.unwrap_or(default_layers), steps.unwrap_or(default_steps));
    Ok(Some(Scope { every_layer, steps }))
}

fn callback_url(sources: &Sources) -> Result<Option<reqwest::Url>, UsageError> {
    sources.read("callback-url", "a complete http:// URL (https needs TLS, which this worker does not carry)", |text| {
        let url = reqwest::Url::parse(text).ok()?;
        (url.scheme() == "http" && url.host_str().is_some_and(|host| !host.is_empty())).then_some(url)
    })
}
