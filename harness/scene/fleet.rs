//! Machines of their own, and the tasks that run while they come and go.

use super::Scene;
use crate::harness::Finding;
use crate::harness::containers::story::{self, Ending};
use crate::harness::containers::{Fleet, PATIENCE};
use crate::harness::stream::Stream;
use crate::harness::transcript::Transcript;

/// Tokens of each task that runs while machines are rolled: some seconds of work.
const ROLLED_TOKENS: u64 = 50;
/// Enough for every machine's turn.
const ROLLED_TASKS: usize = 12;

/// What a scenario about machines has.
#[derive(Default)]
pub struct FleetScene {
    // First: streams end before the machines that serve them.
    tasks: Vec<Running>,
    fleet: Option<Fleet>,
}

struct Running {
    label: String,
    id: String,
    tokens: u64,
    stream: Option<Stream>,
    story: Option<Transcript>,
}

impl Scene {
    fn fleet(&self) -> Result<&Fleet, Finding> {
        self.fleet.fleet.as_ref().ok_or_else(|| Finding::error("machines that the scenario has", "it has none"))
    }

    pub fn start_fleet(&mut self, nodes: &[String]) -> Result<(), Finding> {
        self.fleet.fleet = Some(Fleet::start(nodes)?);
        Ok(())
    }

    pub fn machine_happens(&mut self, whom: &str, what: &str) -> Result<(), Finding> {
        self.fleet()?.happens(whom, what)
    }

    /// A task whose stream is read from now on; with `seen`, that many of its tokens are waited for.
    pub fn run_on_fleet(&mut self, label: &str, tokens: u64, node: Option<&str>, seen: usize) -> Result<(), Finding> {
        let fleet = self.fleet()?;
        let id = fleet.submit(tokens, node)?;
        let stream = fleet.events(&id)?;
        stream.wait_for_tokens(seen, PATIENCE).map_err(|finding| fleet.evidence(finding))?;
        self.fleet.tasks.push(Running { label: label.to_owned(), id, tokens, stream: Some(stream), story: None });
        Ok(())
    }

    /// Reads a stream to its end, judges it, and reads it again.
    pub fn fleet_stream_ends(&mut self, label: &str, ending: Ending) -> Result<(), Finding> {
        let FleetScene { tasks, fleet } = &mut self.fleet;
        let missing = || Finding::error(format!("a task {label:?}"), "there is none");
        let task = tasks.iter_mut().find(|task| task.label == label).ok_or_else(missing)?;
        let fleet = fleet.as_ref().ok_or_else(missing)?;
        if let Some(stream) = task.stream.take() {
            task.story = Some(stream.finish(2 * PATIENCE));
        }
        let story = task.story.as_ref().ok_or_else(missing)?;
        let again = fleet.whole(&task.id)?;
        story::same_again(story, &again)
            .and_then(|()| story::judge(&again, task.tokens, ending))
            .map_err(|finding| fleet.evidence(finding))
    }

    pub fn node_is(&mut self, name: &str, state: &str, slots: Option<u64>) -> Result<(), Finding> {
        self.fleet()?.wait_for_node(name, state, slots)
    }

    /// Tasks are admitted and read while every machine stops and starts again, one after the other.
    pub fn roll_fleet(&mut self) -> Result<(), Finding> {
        for number in 0..ROLLED_TASKS {
            self.run_on_fleet(&format!("rolled {number}"), ROLLED_TOKENS, None, 0)?;
        }
        self.fleet()?.roll()
    }

    pub fn nothing_was_lost(&mut self) -> Result<(), Finding> {
        let labels: Vec<String> = self.fleet.tasks.iter().map(|task| task.label.clone()).collect();
        labels.iter().try_for_each(|label| self.fleet_stream_ends(label, Ending::Told))?;
        let whole = self.fleet.tasks.iter().filter(|task| self.ended_whole(task)).count();
        if whole > 0 { Ok(()) } else { Err(Finding::fail("tasks that came to their end", "all of them were reset")) }
    }

    fn ended_whole(&self, task: &Running) -> bool {
        self.fleet().and_then(|fleet| fleet.task(&task.id)).is_ok_and(|task| task["state"] == "completed")
    }
}
