//! On what a run was made: the worker as it names itself, the model, the machine and the versions.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::model::digest::model_digest;

/// The first eight digits of the commit that is checked out here, or zeros where there is none.
pub fn commit() -> String {
    let said = Command::new("git").args(["rev-parse", "--short=8", "HEAD"]).output().ok();
    let text =
        said.filter(|said| said.status.success()).map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    text.filter(|text| text.len() >= 8).unwrap_or_else(|| "00000000".into())
}

/// `health` is what the worker said; `model` the file that it was started on, where that is known.
pub fn document(target: &str, health: &Value, model: Option<&Path>) -> Value {
    let digest = model.and_then(|path| Some(model_digest(&crate::model::file::open(path, &mut |_| {}).ok()?.weights)));
    json!({
        "target": target,
        "worker": health,
        "model_file": model.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()),
        "model_digest": digest,
        "llorch_version": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "cpu": processor(),
        "logical_cpus": std::thread::available_parallelism().map(usize::from).unwrap_or(1),
        "os": system(),
        "architecture": std::env::consts::ARCH,
    })
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn system() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let name = read("/etc/os-release").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?.trim_matches('"').to_owned();
        Some(line)
    });
    let kernel = read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned());
    [name.unwrap_or_else(|| std::env::consts::OS.into()), kernel.unwrap_or_default()].join(" ").trim().to_owned()
}
