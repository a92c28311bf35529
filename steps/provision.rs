//! Engines that a node provides.

use cucumber::gherkin::Step;
use cucumber::{given, then, when};

use super::World;
use super::world::pairs;
use crate::harness::Settle;

#[given(regex = r"^a llama-server that (works|ends at once)$")]
fn engine(world: &mut World, what: String) {
    world.scene.have_engine(&what).settle();
}

#[given(regex = r"^a pool machine with the sources of an engine that are (whole|wrong|of something else)$")]
fn sources(world: &mut World, are: String) {
    world.scene.have_engine_sources(&are).settle();
}

#[given("its node's configuration is")]
fn configuration(world: &mut World, step: &Step) {
    world.scene.configure_node(step.docstring().map_or("", String::as_str)).settle();
}

#[given(regex = r#"^a file "([^"]+)" of no model on the nodes$"#)]
fn broken_model(world: &mut World, name: String) {
    world.scene.have_broken_model(&name).settle();
}

#[when(regex = r#"^the command "(.+)" is begun, and its engine is bound$"#)]
fn begun(world: &mut World, line: String) {
    world.scene.begin_until_bound(&line).settle();
}

#[when("the command that was begun is told to stop")]
fn told_to_stop(world: &mut World) {
    world.scene.end_begun().settle();
}

#[then("no half of a build is left")]
fn no_half_build(world: &mut World) {
    world.scene.no_half_build_is_left().settle();
}

#[then("the handoff of the engine shows:")]
fn handoff_shows(world: &mut World, step: &Step) {
    world.scene.handoff_shows(&pairs(step)).settle();
}

#[then("nobody but its owner can read the engine's key")]
fn key_is_secret(world: &mut World) {
    world.scene.key_is_secret().settle();
}
