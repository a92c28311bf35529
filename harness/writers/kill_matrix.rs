//! The kill matrix as text: faults by checkpoints, and what became of each.

use std::fmt::Write as _;

use crate::parity::faults::{EQUIVALENT, Entry, Family, Fault, KillMatrix, Outcome};

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
