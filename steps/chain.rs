//! A chain of daemons: what it consists of, what happens to it, and what it shows.

use cucumber::gherkin::Step;
use cucumber::{given, then, when};

use super::World;
use super::world::{pairs, records};
use crate::harness::Settle;
use crate::harness::scene::chain::Subject;

#[given(regex = r#"^the setting ([A-Z_]+)( of the nodes)? is "([^"]*)"$"#)]
fn setting(world: &mut World, name: String, of_nodes: String, value: String) {
    world.scene.set(&name, !of_nodes.is_empty(), &value).settle();
}

#[given(regex = r#"^a chain(?: of the nodes| with the workers? "([^"]+)"|)$"#)]
fn chain(world: &mut World, step: &Step, workers: String) {
    let one = vec![vec![("workers".to_owned(), workers)]];
    let nodes = if step.table.is_some() { records(step) } else { one };
    world.scene.start_chain(&nodes).settle();
}

#[when(
    regex = r"^(the orchestrator|node \w+|the worker of node \w+) (is killed|is told to stop|freezes|wakes|starts again)$"
)]
fn happens(world: &mut World, whom: String, what: String) {
    world.scene.happens(&whom, &what).settle();
}

#[when(regex = r#"^the handoff file of node (\w+) (names the engine "\w+"|is broken|is removed)$"#)]
fn handoff(world: &mut World, node: String, what: String) {
    world.scene.handoff(&node, &what).settle();
}

#[when(regex = r#"^the engine "(\w+)" goes away$"#)]
fn engine_goes(world: &mut World, name: String) {
    world.scene.engine_goes(&name).settle();
}

#[then(regex = r#"^the engine "(\w+)" was asked (to reuse|for no reuse of) prefixes$"#)]
fn engine_reuse(world: &mut World, name: String, how: String) {
    world.scene.engine_was_asked_to_reuse(&name, how == "to reuse").settle();
}

#[then(
    regex = r#"^(soon |still |)(?:the answer|the stream "([^"]+)"|the task "([^"]+)"|"([^"]+)"(?: of node (\w+))?) shows:$"#
)]
fn shows(world: &mut World, step: &Step, when: String, stream: String, task: String, path: String, node: String) {
    let subject = Subject::of(stream, task, path, node);
    match when.trim() {
        "still" => world.scene.keeps_showing(&subject, &pairs(step)).settle(),
        when => world.scene.shows(&subject, &pairs(step), when == "soon").settle(),
    }
}

#[when(regex = r"^(the orchestrator|a pool manager|a worker|somebody) is killed (\d+) times under load$")]
fn storm(world: &mut World, victims: String, kills: usize) {
    world.scene.storm(&victims, kills).settle();
}

#[then("no task is lost and no token repeated")]
fn survived(world: &mut World) {
    world.scene.storm_was_survived().settle();
}

#[when("the chain is told to stop")]
fn stopped(world: &mut World) {
    world.scene.stop_chain().settle();
}

#[then(regex = r"^no process is left behind( but the orchestrator)?$")]
fn nothing_is_left(world: &mut World, but: String) {
    world.scene.nothing_is_left(!but.is_empty()).settle();
}

#[then("every answer is as the document describes it")]
fn as_described(world: &mut World) {
    world.scene.answers_are_as_described().settle();
}

#[then(regex = r"^a fuzzer that knows only its document finds nothing in (.+)$")]
fn fuzzed(world: &mut World, whom: String) {
    world.scene.fuzz(&whom).settle();
}
