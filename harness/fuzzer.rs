//! Schemathesis, a fuzzer from outside that knows nothing of a daemon but its OpenAPI document.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Finding;
use super::http::Base;
use super::process::{Command, Exit, Process};
use super::sshd::find_program;

/// Some hundreds of requests, a job behind many of them.
const WITHIN: Duration = Duration::from_secs(240);
/// For each operation, in each phase.
const EXAMPLES: &str = "12";

/// What a document can't say, each with its reason.
const SETTINGS: &str = r#"
[checks]
# 503 is an answer here: a full queue, a pool that drains, a model that nobody has.
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]

# What a task or a job asks for is held against its model: how long that one's context is, how many tokens it makes of a
# stop sequence. A schema knows no model.
[[operations]]
include-path-regex = "/(execute|v2/tasks)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 409, 503]
"#;

pub fn program() -> Result<PathBuf, String> {
    find_program("schemathesis")
        .ok_or_else(|| "there is no `schemathesis` on the PATH (pip install -U schemathesis)".to_owned())
}

/// What it finds in the daemon that is described so: everything, or the first thing only.
pub fn run(document: &Value, base: &Base, folder: &Path, first_only: bool) -> Result<(), Finding> {
    let program = program().map_err(|found| Finding::fail("schemathesis", found))?;
    let failed = |error: std::io::Error| Finding::error("a run of schemathesis", error.to_string());
    fs::write(folder.join("openapi.json"), document.to_string()).map_err(failed)?;
    fs::write(folder.join("settings.toml"), SETTINGS).map_err(failed)?;
    let base = base.to_string();
    let words = [
        "--config-file",
        "settings.toml",
        "run",
        "openapi.json",
        "--url",
        &base,
        "--max-examples",
        EXAMPLES,
        "--generation-deterministic",
        "--request-timeout",
        "30",
        // It ends a worker, and says so in its description.
        "--exclude-path",
        "/shutdown",
    ];
    let mut command = Command::new(program).arguments(words).variable("NO_PROXY", "127.0.0.1");
    if first_only {
        command = command.arguments(["--max-failures", "1"]);
    }
    command.directory = Some(folder.to_owned());
    let process = Process::spawn(command).map_err(failed)?;
    match process.wait_for_exit(WITHIN)? {
        Exit::Code(0) => Ok(()),
        exit => {
            let lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
            let from = lines.iter().position(|line| line.contains("= FAILURES =") || line.contains("= ERRORS ="));
            let report = lines[from.unwrap_or(0)..].join("\n");
            let finding = Finding::fail("a fuzzer that finds nothing", exit.to_string());
            Err(finding.with("command", process.command().to_string()).with("what it says", report))
        }
    }
}
