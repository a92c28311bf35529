//! `llorch selftest --cheats`: every cheat of the gallery, and what each rung of the ladder says of it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::api::Api;
use crate::harness::catalogue::Catalogue;
use crate::harness::cheats::{CHEATS, Cheat};
use crate::harness::exit::Exit;
use crate::harness::ladder::rungs::{self, RUNGS};
use crate::harness::runner::{CaseOutcome, Terms, run_collect};
use crate::harness::selection::{Selection, TargetKind, TargetRequest};
use crate::harness::session::Session;
use crate::parity::report::{Climb, Page, Standing};
use crate::steps::World;

/// What a case may take.
const DEADLINE: Duration = Duration::from_secs(120);

pub fn play(names: &[String], report: Option<&Path>) -> ExitCode {
    climb_all(names, report).unwrap_or_else(|exit| exit).into()
}

fn climb_all(names: &[String], report: Option<&Path>) -> Result<Exit, Exit> {
    if let Some(unknown) = names.iter().find(|name| Cheat::named(name).is_none()) {
        eprintln!("llorch: no cheat is called {unknown:?}; `llorch cheat` names them");
        return Err(Exit::Usage);
    }
    let wanted = CHEATS.iter().filter(|cheat| names.is_empty() || names.iter().any(|name| name == cheat.name));
    let llorch = std::env::current_exe().map_err(|problem| internal(&problem))?;
    let mut out = anstream::AutoStream::auto(io::stdout());
    let _ = writeln!(out, "{:<20}1  2  3  4  5  6  7  8  falls from", "");
    let (mut climbs, mut missed) = (Vec::new(), 0);
    for cheat in wanted {
        let outcomes = outcomes(cheat, &llorch)?;
        let climb = climb(cheat, &outcomes);
        let marks: String = climb.rungs.iter().map(|standing| format!("{}  ", standing.mark())).collect();
        let word = if climb.is_caught() { "" } else { "MISSED: " };
        let rung = cheat.caught_by.number();
        let _ = writeln!(out, "{:<20}{marks}{word}{rung}: {}", cheat.name, cheat.does);
        missed += usize::from(!climb.is_caught());
        climbs.push(climb);
    }
    let _ = writeln!(out, "\n✕ caught · ✓ passed · – does not apply · ? could not be told");
    let _ = writeln!(
        out,
        "cheats caught by the rung that is named for them: {} of {}",
        climbs.len() - missed,
        climbs.len()
    );
    if let Some(path) = report {
        let page = Page { title: "llorch selftest --cheats".to_owned(), gallery: climbs, ..Page::default() };
        std::fs::write(path, page.html()).map_err(|problem| {
            eprintln!("llorch: --report: failed to write {}: {problem}", path.display());
            Exit::Usage
        })?;
    }
    Ok(if missed == 0 { Exit::Passed } else { Exit::SelfTestFailed })
}

fn internal(problem: &dyn std::error::Error) -> Exit {
    super::complain(problem);
    Exit::Internal
}

/// Every case of every rung, against this cheat alone.
fn outcomes(cheat: &Cheat, llorch: &Path) -> Result<Vec<CaseOutcome>, Exit> {
    let catalogue = Catalogue::embedded().map_err(|problem| internal(&problem))?;
    let addresses = (1..=RUNGS.len()).map(|rung| format!("haiku/{rung}")).collect();
    let selection = Selection { addresses, ..Selection::default() };
    let script = selection.choose(&catalogue).map_err(|problem| internal(&problem))?;
    let program = llorch.to_string_lossy();
    let program = shlex::try_quote(&program).map_err(|problem| internal(&problem))?;
    let kind = TargetKind::Spawn { command: format!("{program} cheat {}", cheat.name) };
    let llorch = llorch.to_path_buf();
    let request = TargetRequest { kind, model: None, model_formats: Vec::new(), api: Api::Native, llorch };
    let session = Session::of(request).map_err(|problem| internal(&problem))?;
    // One at a time: rungs 6 to 8 measure processor time.
    Ok(run_collect::<World>(Arc::new(session), script, Terms { jobs: 1, deadline: DEADLINE, ..Terms::default() }))
}

fn climb(cheat: &Cheat, outcomes: &[CaseOutcome]) -> Climb {
    let standing = |rung| rungs::standing(&rungs::verdicts(outcomes, rung)).unwrap_or(Standing::Unknown);
    Climb {
        cheat: cheat.name.to_owned(),
        does: cheat.does.to_owned(),
        caught_by: cheat.caught_by.number(),
        rungs: (1..=RUNGS.len() as u8).map(standing).collect(),
    }
}
