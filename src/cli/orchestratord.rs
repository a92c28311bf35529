//! `orchestratord`: tasks in, streams out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, Command};

use crate::orchestrator::configuration::{Configuration, SETTINGS, Sources, UsageError};
use crate::orchestrator::start;

/// Runs the orchestrator; the first argument is the program's name. 0 after a graceful stop, 1 when it did not start, 2 for
/// a configuration that is refused, 130 at a second signal.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut command = command();
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // A reader of the help that went away is no error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match configure(matches.get_one::<String>("config").map(String::as_str)) {
        Ok(configuration) => start::run(configuration),
        Err(error) => {
            eprintln!("error: {error}\n\n{}\n\nFor more information, try '--help'.", command.render_usage());
            ExitCode::from(2)
        }
    }
}

/// The command line, with the table of settings as its help.
pub fn command() -> Command {
    let settings: Vec<String> =
        SETTINGS.iter().map(|setting| format!("  {}\n      {}", setting.variable, setting.help)).collect();
    let help = format!(
        "Settings are variables, or keys of the file (admission_capacity: 8); variable > file > default.\n{}\n  \
         LLORCH_API_TOKEN, LLORCH_NODE_TOKEN\n      Who may submit tasks, and who may register nodes: one token, or two \
         with a comma between while they are rotated",
        settings.join("\n")
    );
    let config = Arg::new("config").long("config").value_name("FILE").help("A YAML file with settings");
    Command::new("orchestratord")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Takes tasks, places them on the workers of any number of nodes, and relays their streams")
        .after_help(help)
        .arg(config)
}

fn configure(path: Option<&str>) -> Result<Configuration, UsageError> {
    let mut sources = Sources { variables: variables()?, file: None };
    if let Some(path) = path {
        sources.read_file(path)?;
    }
    Configuration::resolve(&sources)
}

/// The variables that are read; one that is not UTF-8 is refused by name.
fn variables() -> Result<BTreeMap<String, String>, UsageError> {
    let names = SETTINGS.iter().map(|setting| setting.variable).chain(["LLORCH_API_TOKEN", "LLORCH_NODE_TOKEN"]);
    names
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .map(|(name, value)| {
            let value = value.into_string().map_err(|_| UsageError(format!("{name} is refused: it is not UTF-8")))?;
            Ok((name.to_owned(), value))
        })
        .collect()
}
