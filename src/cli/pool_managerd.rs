//! `pool-managerd`: one node, and its engine provisioner.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::pool::configuration::{Configuration, File, UsageError};
use crate::pool::engine::provision;
use crate::pool::start;

/// One node: starts workers and engines, and runs jobs on them.
///
/// Variables win over the file: POOL_MANAGERD_ADDR (127.0.0.1:9200), _RUNTIME_DIR (.runtime/engines), _WATCH_INTERVAL_MS
/// (1000), _NODE_ID (the host's name), _MACHINE_ID, _ADDRESS, _POOLS (pool-0), _HEARTBEAT_INTERVAL_SECS (10), _BACKEND (cpu),
/// _READY_DEADLINE_MS (60000), _HEALTH_INTERVAL_MS (10000), _DRAIN_DEADLINE_MS (30000); LLORCH_POOL_DIR (.): where the
/// catalog and its models lie; ORCHESTRATORD_URL: where to report; LLORCH_NODE_TOKEN, else LLORCH_API_TOKEN: who may ask, and what is shown to the
/// orchestrator. Exit: 0 after a stop, 1 when it did not start, 2 for a refused configuration, 130 at a second signal.
#[derive(Debug, Parser)]
#[command(name = "pool-managerd", version)]
struct Flags {
    /// A YAML file with the same settings, and with pools' workers, programs, the provisioning policy and the engine
    #[arg(long, value_name = "FILE", env = "POOL_MANAGERD_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Find llama-server or build it, start it on the model, write the handoff file, and stay until a signal ends it
    Provision {
        /// The YAML file: engine.source, engine.gpu, engine.flags, engine.model, cache_dir, …
        #[arg(long, value_name = "FILE", env = "POOL_MANAGERD_CONFIG")]
        config: PathBuf,
        /// Only find or build the server; nothing is started
        #[arg(long)]
        build_only: bool,
    },
}

pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => {
            // A reader of the help that went away is no error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match flags.verb {
        Some(Verb::Provision { config, build_only }) => {
            configure(Some(config)).map(|configuration| provision::run(configuration, build_only))
        }
        None => configure(flags.config).map(start::run),
    };
    outcome.unwrap_or_else(|error| refuse(&error))
}

fn refuse(error: &UsageError) -> ExitCode {
    eprintln!("error: {error}\n\n{}\n\nFor more information, try '--help'.", Flags::command().render_usage());
    ExitCode::from(2)
}

fn configure(config: Option<PathBuf>) -> Result<Configuration, UsageError> {
    let file = config.map_or_else(|| Ok(File::default()), |path| File::read(&path))?;
    Configuration::resolve(&variables()?, file)
}

/// The variables that count here; one that is not UTF-8 is refused by name.
fn variables() -> Result<BTreeMap<String, String>, UsageError> {
    let ours = |name: &String| {
        name.starts_with("POOL_MANAGERD_") || name.starts_with("LLORCH_") || name == "ORCHESTRATORD_URL"
    };
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok().filter(ours)?, value)))
        .map(|(name, value)| {
            let value = value.into_string().map_err(|_| UsageError(format!("{name} is refused: it is not UTF-8")))?;
            Ok((name, value))
        })
        .collect()
}
