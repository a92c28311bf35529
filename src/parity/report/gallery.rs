//! The gallery of cheats: each against every rung of the ladder.

use super::html::Html;

/// What one rung says of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Caught,
    Passes,
    /// The rung can't be asked of it.
    NotApplicable,
    /// The harness could not say: never a pass.
    Unknown,
}

impl Standing {
    pub fn mark(self) -> char {
        match self {
            Standing::Caught => '✕',
            Standing::Passes => '✓',
            Standing::NotApplicable => '–',
            Standing::Unknown => '?',
        }
    }
}

/// A cheat, and how far it climbed.
#[derive(Clone, Debug)]
pub struct Climb {
    pub cheat: String,
    pub does: String,
    /// The rung that has to catch it.
    pub caught_by: u8,
    /// From the first on.
    pub rungs: Vec<Standing>,
}

impl Climb {
    pub fn is_caught(&self) -> bool {
        self.rungs.get(usize::from(self.caught_by).wrapping_sub(1)) == Some(&Standing::Caught)
    }
}

pub fn section(parent: &mut Html, climbs: &[Climb]) {
    let caught = climbs.iter().filter(|climb| climb.is_caught()).count();
    parent.inside("section", "", |section| {
        section.say("h2", "", "The gallery of cheats: could a worker pretend?");
        let class = if caught < climbs.len() { "class=\"lead bad\"" } else { "class=lead" };
        section.say("p", class, &format!("{caught} of {} caught by the rung that is named for them.", climbs.len()));
        section.inside("div", "class=scroll", |scroll| {
            scroll.inside("table", "class=\"matrix gallery\"", |table| {
                table.inside("tr", "", |tr| {
                    tr.say("th", "scope=col", "Cheat");
                    let rungs = climbs.iter().map(|climb| climb.rungs.len()).max().unwrap_or_default();
                    (1..=rungs).for_each(|rung| tr.say("th", "scope=col", &rung.to_string()));
                    tr.say("th", "scope=col", "What it does");
                });
                climbs.iter().for_each(|climb| line(table, climb));
            });
        });
        let legend =
            "✕ caught, framed by the rung that is named for it · ✓ passed · – does not apply · ? could not be told";
        section.say("p", "class=quiet", legend);
    });
}

fn line(table: &mut Html, climb: &Climb) {
    table.inside("tr", "", |tr| {
        tr.say("th", "scope=row", &climb.cheat);
        for (rung, standing) in (1..).zip(&climb.rungs) {
            // Green is what the harness has to do here: catch it where it is named, and say no more than it can.
            let class = match (rung == climb.caught_by, standing) {
                (true, Standing::Caught) => "class=\"pass named\"",
                (true, _) => "class=\"fail named\"",
                (false, Standing::Caught) => "class=pass",
                (false, _) => "class=none",
            };
            tr.say("td", class, &standing.mark().to_string());
        }
        tr.say("td", "class=told", &climb.does);
    });
}
