//! The command line: flags, `LLORCH_*` variables and a small YAML file, checked once into one structure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::mistakes::{MISTAKES, Mistake, Slip};
use super::oddities::{ODDITIES, Oddity, Quirk};

/// Which deliberate mistake and which legal oddity this run plays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script {
    pub mistake: Option<Slip>,
    pub oddity: Option<Quirk>,
}

impl Script {
    pub fn plays(&self, slip: Slip) -> bool {
        self.mistake == Some(slip)
    }

    pub fn shows(&self, quirk: Quirk) -> bool {
        self.oddity == Some(quirk)
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub worker_id: String,
    /// Absent: the built-in vocabulary alone.
    pub model: Option<String>,
    /// Where a cheat's captures go; the scripted worker computes nothing that could be captured.
    pub checkpoint_dir: Option<String>,
    pub port: u16,
    pub callback_url: Option<CallbackUrl>,
    pub bind: IpAddr,
    pub queue_size: usize,
    pub drain: Duration,
    pub max_tokens_out: u64,
    pub inference_timeout: Duration,
    /// How many tokens of text a job has in it before the end-of-text token.
    pub tokens: u64,
    /// What one token costs.
    pub delay: Duration,
    /// Clients must show it, where it is set.
    pub api_token: Option<String>,
    /// Shown to the pool manager, where it is set.
    pub spawn_token: Option<String>,
    pub script: Script,
}

/// Where the ready callback goes: plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackUrl {
    /// Host and port. The port is not checked here: `localhost:99990` is a pool manager that can't be reached.
    pub authority: String,
    pub path: String,
}

impl CallbackUrl {
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, "80"),
        };
        let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
        let clean = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        (clean(host) && clean(&path) && number).then(|| Self { authority: format!("{host}:{port}"), path })
    }
}

/// Every flag that takes a value. The last ones belong to the contract and have no use here.
const FLAGS: &[&str] = &[
    "worker-id",
    "model",
    "port",
    "callback-url",
    "bind",
    "queue-size",
    "drain-sec",
    "max-tokens-out",
    "inference-timeout-sec",
    "tokens",
    "delay-ms",
    "mistake",
    "oddity",
    "config",
    "backend",
    "gpu",
    "gpu-device",
    "max-tokens-in",
    "kv-cache-size-mb",
    "threads",
    "checkpoint-dir",
];

pub fn usage() -> String {
    let mut text = String::from(
        "A scripted worker: the whole contract, a second time, with one mistake or one oddity on request.\n\n\
         Usage: llorch scripted-worker [--worker-id ID] [--model FILE] [--port N] [--callback-url URL] [--bind ADDRESS]\n\
         \x20      [--queue-size N] [--drain-sec S] [--tokens N] [--delay-ms M] [--mistake NAME] [--oddity NAME]\n\nMistakes:\n",
    );
    for mistake in MISTAKES {
        text += &format!("  {:32} {}\n", mistake.name, mistake.description);
    }
    text += "\nOddities:\n";
    for oddity in ODDITIES {
        text += &format!("  {:32} {}\n", oddity.name, oddity.description);
    }
    text
}

impl Options {
    /// `variable` reads the environment: a parameter, so that a test can bring its own.
    pub fn parse(args: &[String], variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let (given, unknown) = given_flags(args)?;
        let from = |name: &str| {
            given.get(name).cloned().or_else(|| variable(&format!("LLORCH_{}", name.replace('-', "_").to_uppercase())))
        };
        let file = match from("config") {
            Some(path) => {
                read_yaml(&std::fs::read_to_string(&path).map_err(|error| format!("--config {path}: {error}"))?)
            }
            None => BTreeMap::new(),
        };
        let text = |name: &str| from(name).or_else(|| file.get(name).cloned());
        let number = |name: &str, default: u64, high: u64| match text(name) {
            None => Ok(default),
            Some(text) => match text.parse::<u64>() {
                Ok(value) if value <= high => Ok(value),
                _ => Err(format!("--{name} takes a number from 0 to {high}")),
            },
        };
        let mut script = Script::default();
        if let Some(name) = text("mistake") {
            script.mistake = Some(Mistake::named(&name).ok_or(format!("there is no mistake {name:?}"))?.slip);
        }
        if let Some(name) = text("oddity") {
            script.oddity = Some(Oddity::named(&name).ok_or(format!("there is no oddity {name:?}"))?.quirk);
        }
        if let Some(unknown) = unknown
            && !script.plays(Slip::BadFlagIgnored)
        {
            return Err(format!("unexpected argument {unknown:?}"));
        }
        let worker_id = text("worker-id").unwrap_or_else(|| format!("scripted-{}", std::process::id()));
        let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        if worker_id.is_empty()
            || worker_id.len() > 64
            || !worker_id.chars().all(allowed)
            || [".", ".."].contains(&worker_id.as_str())
        {
            return Err("--worker-id takes 1 to 64 of A-Z a-z 0-9 . _ -".into());
        }
        let callback_url = match text("callback-url") {
            Some(url) => Some(CallbackUrl::parse(&url).ok_or("--callback-url takes a complete http:// URL")?),
            None => None,
        };
        Ok(Self {
            worker_id,
            model: text("model"),
            checkpoint_dir: text("checkpoint-dir"),
            port: number("port", 0, u16::MAX.into())? as u16,
            callback_url,
            bind: match text("bind") {
                Some(address) => address.parse().map_err(|_| "--bind takes an IP address")?,
                None => IpAddr::from([127, 0, 0, 1]),
            },
            queue_size: number("queue-size", 8, 10_000)? as usize,
            drain: Duration::from_secs(number("drain-sec", 30, 86_400)?),
            max_tokens_out: number("max-tokens-out", 2048, 1 << 20)?.max(1),
            inference_timeout: Duration::from_secs(number("inference-timeout-sec", 300, 86_400)?),
            tokens: number("tokens", 24, 1 << 20)?,
            delay: Duration::from_millis(number("delay-ms", 15, 60_000)?),
            api_token: variable("LLORCH_API_TOKEN").filter(|token| !token.is_empty()),
            spawn_token: variable("LLORCH_SPAWN_TOKEN").filter(|token| !token.is_empty()),
            script,
        })
    }
}

/// The flags with their values, and the first word that is none.
fn given_flags(args: &[String]) -> Result<(BTreeMap<String, String>, Option<String>), String> {
    let mut given = BTreeMap::new();
    let mut unknown = None;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            unknown.get_or_insert(word.clone());
            continue;
        };
        let (name, joined) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (flag, None),
        };
        if name == "digest" {
            continue; // a switch, and nothing to digest
        }
        if !FLAGS.contains(&name) {
            unknown.get_or_insert(word.clone());
            continue;
        }
        let value = joined.or_else(|| words.next().cloned()).ok_or(format!("--{name} needs a value"))?;
        given.insert(name.to_string(), value);
    }
    Ok((given, unknown))
}

/// `key: value` lines, which is all that the contract's configuration needs.
fn read_yaml(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs
        .map(|(key, value)| (key.trim().replace('_', "-"), value.trim().trim_matches(['"', '\'']).to_string()))
        .collect()
}
