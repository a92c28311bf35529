//! `llorch-cpud` and `llorch-candled`: one worker each, over the same contract.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::worker::configuration::{Configuration, SETTINGS, Setting, Sources, UsageError};
use crate::worker::daemon::Daemon;
use crate::worker::start;

/// Runs a worker; the first argument is the program's name. 0 after a graceful stop, 1 when it did not start, 2 for a
/// command line that is refused, 130 at a second signal.
pub fn main(daemon: &'static Daemon, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut command = command(daemon);
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // A reader of the help that went away is no error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match configure(daemon, &matches) {
        Ok(configuration) => {
            #[cfg(feature = "candle")]
            crate::backend::candle::device::compute_with(configuration.backend.threads);
            start::run(configuration)
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{}\n\nFor more information, try '--help'.", command.render_usage());
            ExitCode::from(2)
        }
    }
}

/// The command line, from the table of settings.
pub fn command(daemon: &'static Daemon) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("A YAML file with the same settings, underscores for dashes; flags and LLORCH_* variables win over it");
    Command::new(daemon.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(daemon.about)
        .after_help(
            "Each setting can also be given as a variable: --worker-id is LLORCH_WORKER_ID. Flag > variable > file > default.\n\
             LLORCH_API_TOKEN: who may ask for work; one token, or two with a comma between while they are rotated.\n\
             LLORCH_SPAWN_TOKEN: the bearer of the ready callback.\n\
             ORCH_LOG_FILE: log every tensor of every pass here, one JSON line each; ORCH_LOG_TEAM names this worker in it, and\n\
             ORCH_LOG_VALUES says how many numbers of each tensor are shown (10).",
        )
        .args(SETTINGS.iter().map(|setting| argument(daemon, setting)))
        .arg(config)
}

fn argument(daemon: &Daemon, setting: &Setting) -> Arg {
    let help = match setting.flag {
        "backend" => daemon.backend_help,
        "gpu" => daemon.gpu_help,
        _ => setting.help,
    };
    let argument = Arg::new(setting.flag).long(setting.flag).help(help).visible_aliases(setting.alias);
    match setting.value_name {
        Some(name) => argument.value_name(name).allow_negative_numbers(true),
        None => argument.action(ArgAction::SetTrue),
    }
}

fn configure(daemon: &'static Daemon, matches: &ArgMatches) -> Result<Configuration, UsageError> {
    let mut sources = Sources { flags: flags(matches), variables: variables()?, file: None };
    let path = matches.get_one::<String>("config").or_else(|| sources.variables.get("LLORCH_CONFIG")).cloned();
    if let Some(path) = path {
        sources.read_file(&path)?;
    }
    Configuration::resolve(daemon, &sources)
}

fn flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    let text = |setting: &Setting| match setting.value_name {
        Some(_) => matches.get_one::<String>(setting.flag).cloned(),
        None => matches.get_flag(setting.flag).then(|| "true".to_owned()),
    };
    SETTINGS.iter().filter_map(|setting| Some((setting.flag.to_owned(), text(setting)?))).collect()
}

/// The `LLORCH_*` variables, and those of the parity log; one that is not UTF-8 is refused by name.
pub(super) fn variables() -> Result<BTreeMap<String, String>, UsageError> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok().filter(|name| is_ours(name))?, value)))
        .map(|(name, value)| {
            let value = value.into_string().map_err(|_| UsageError(format!("{name} is refused: it is not UTF-8")))?;
            Ok((name, value))
        })
        .collect()
}

fn is_ours(name: &str) -> bool {
    ["LLORCH_", "ORCH_LOG_"].iter().any(|prefix| name.starts_with(prefix))
}
