//! The kill matrix: faults by checkpoints as text, faults by stations for a page.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::parity::faults::{EQUIVALENT, Entry, Equivalent, Family, Fault, Kill, KillMatrix, Outcome};
use crate::parity::{Place, report};

/// One line for each fault of the list: where it was caught (`●`), where else it shows (`·`), its name, and whose it is.
pub fn lines(matrix: &KillMatrix) -> String {
    let mut text = String::from("checkpoint       1  2  3  4  5  6  7  8  9 10 11 12\n");
    for entry in Fault::all() {
        let kills: Vec<_> = matrix.kills.iter().filter(|kill| kill.fault == entry.fault).collect();
        let survived: Vec<_> = kills.iter().filter(|kill| kill.outcome != Outcome::Killed).collect();
        let word = if kills.is_empty() || !survived.is_empty() { "MISSED" } else { "CAUGHT" };
        let mark = |checkpoint: u8| {
            let caught = kills.iter().any(|kill| kill.differing.first() == Some(&checkpoint));
            let shows = kills.iter().any(|kill| kill.differing.contains(&checkpoint));
            if caught {
                "  ●"
            } else if shows {
                "  ·"
            } else {
                "   "
            }
        };
        let marks: String = (1..=12).map(mark).collect();
        let _ = writeln!(text, "{word:<14} {marks}  {}{}", entry.name, family(entry));
        for kill in survived {
            let _ = writeln!(
                text,
                "    {}: {:?}, first at {:?}, expected {}",
                kill.model, kill.outcome, kill.first, kill.expected
            );
        }
    }
    for equivalent in EQUIVALENT {
        let _ = writeln!(text, "EQUIVALENT {:>40}  {}: {}", "", equivalent.name, equivalent.reason);
    }
    text
}

fn family(entry: &Entry) -> String {
    if entry.family == Family::Every { String::new() } else { format!(" ({})", entry.family.name()) }
}

/// For a page: each fault on the first model that can have it, by the stations of a block and of what is around it; of several
/// layers, the one that is furthest off.
pub fn page(matrix: &KillMatrix) -> report::KillMatrix {
    let column = |place: Place| Place { layer: 0, ..place };
    let name = |tensor: &str| Place::of_name(tensor).map_or_else(|| tensor.to_owned(), |place| column(place).name());
    let first = |entry: &'static Entry| matrix.kills.iter().find(|kill| kill.fault == entry.fault);
    let kills: Vec<&Kill> = Fault::all().filter_map(first).collect();
    let stations: BTreeSet<Place> =
        kills.iter().flat_map(|kill| &kill.errors).map(|(place, _)| column(*place)).collect();
    let row = |kill: &Kill| {
        let error = |station: &Place| {
            let errors = kill.errors.iter().filter(|(place, _)| column(*place) == *station).map(|(_, error)| *error);
            errors.reduce(f64::max)
        };
        let title = |entry: &Entry| format!("{}{}", entry.name, family(entry));
        let all = matrix.kills.iter().filter(|other| other.fault == kill.fault);
        let is_named = all.into_iter().all(|kill| kill.outcome == Outcome::Killed);
        report::Kill {
            fault: title(kill.entry()),
            shows: name(&kill.expected),
            caught: kill.first.as_deref().map(name),
            named: is_named.then(|| title(kill.entry())),
            equivalent: None,
            errors: stations.iter().map(error).collect(),
        }
    };
    let equivalent = |one: &Equivalent| report::Kill {
        fault: one.name.to_owned(),
        equivalent: Some(one.reason.to_owned()),
        ..report::Kill::default()
    };
    report::KillMatrix {
        stations: stations.iter().map(|place| place.name()).collect(),
        faults: kills.into_iter().map(row).chain(EQUIVALENT.iter().map(equivalent)).collect(),
    }
}
