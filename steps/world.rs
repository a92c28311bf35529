//! What a scenario knows: its scene. Each case has a thread of its own, so a step may simply block.

use std::sync::Arc;

use cucumber::gherkin::Step;

use crate::harness::Finding;
use crate::harness::case::Case;
use crate::harness::runner::Actor;
use crate::harness::scene::Scene;
use crate::harness::session::Session;

#[derive(cucumber::World, Debug)]
#[world(init = Self::unattached)]
pub struct World {
    pub scene: Scene,
}

impl World {
    /// Cucumber wants a way to make a world from nothing; ours has one from its session, and no other.
    fn unattached() -> Result<Self, std::io::Error> {
        Err(std::io::Error::other("a world is made by the runner, which knows its session"))
    }
}

impl Actor for World {
    type Session = Session;

    fn enter(session: Arc<Session>, _case: Arc<Case>) -> Result<Self, Finding> {
        Ok(World { scene: Scene::new(session) })
    }
}

/// The rows of a step's table, without its heading.
pub fn rows(step: &Step) -> Vec<Vec<String>> {
    step.table.as_ref().map(|table| table.rows.iter().skip(1).cloned().collect()).unwrap_or_default()
}

/// The rows of a table of two columns.
pub fn pairs(step: &Step) -> Vec<(String, String)> {
    rows(step).into_iter().filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone()))).collect()
}

/// The rows of a table, each cell under its column's name.
pub fn records(step: &Step) -> Vec<Vec<(String, String)>> {
    let Some(table) = &step.table else { return Vec::new() };
    let names = table.rows.first().cloned().unwrap_or_default();
    table.rows.iter().skip(1).map(|row| names.iter().cloned().zip(row.iter().cloned()).collect()).collect()
}

/// `a, b, c` as a list.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}
