//! `llorch list`: the catalogue, as a table or as JSON.

use std::io::Write as _;
use std::process::ExitCode;

use super::SelectionFlags;
use crate::harness::api::Api;
use crate::harness::catalogue::Script;
use crate::harness::exit::Exit;

#[derive(Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    selection: SelectionFlags,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Human,
    Json,
}

pub fn main(flags: Flags) -> ExitCode {
    let (_, script) = match flags.selection.choose(Api::default()) {
        Ok(chosen) => chosen,
        Err(exit) => return exit.into(),
    };
    let text = match flags.format {
        Format::Human => table(&script),
        Format::Json => match serde_json::to_string_pretty(&script.cases.iter().map(AsRef::as_ref).collect::<Vec<_>>())
        {
            Ok(text) => text + "\n",
            Err(problem) => {
                super::complain(&problem);
                return Exit::Internal.into();
            }
        },
    };
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(problem) if problem.kind() != std::io::ErrorKind::BrokenPipe => {
            super::complain(&problem);
            Exit::Internal.into()
        }
        _ => Exit::Passed.into(),
    }
}

fn table(script: &Script) -> String {
    let head = ["ADDRESS", "LEVEL", "REQUIREMENT", "NAME"].map(str::to_owned);
    let rows = script.cases.iter().map(|case| {
        let needs = case.lanes.iter().map(|lane| format!(" [{}]", lane.word())).collect::<String>();
        let name = format!("{}{needs}", case.name);
        [case.address.clone(), case.level.word().to_owned(), case.requirements.join(","), name]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (first, second, third) = (width(0), width(1), width(2));
    rows.iter()
        .map(|[address, level, requirement, name]| {
            format!("{address:<first$}  {level:<second$}  {requirement:<third$}  {name}\n")
        })
        .collect()
}
