//! The ready callback, as the pool manager sees it.

use std::time::Duration;

use cucumber::{given, then};

use super::World;
use crate::harness::Settle;

#[given(
    regex = r"^a pool manager that (accepts|fails once|always fails|refuses the connection|never answers|answers \d+)$"
)]
fn a_pool_manager(world: &mut World, manner: String) {
    world.scene.open_pool_manager(&manner).settle();
}

#[then(regex = r#"^the callback matches the contract "([^"]+)"$"#)]
fn matches(world: &mut World, message: String) {
    world.scene.callback_matches(&message).settle();
}

#[then("the callback carries the worker's id")]
fn carries_id(world: &mut World) {
    world.scene.callback_carries_id().settle();
}

#[then("the callback's uri is where the worker answers")]
fn uri_answers(world: &mut World) {
    world.scene.callback_uri_answers().settle();
}

#[then("the worker answered already when the callback came")]
fn answered_already(world: &mut World) {
    world.scene.answered_before_callback().settle();
}

#[then(regex = r"^the worker called back exactly (\d+) times?$")]
fn called_back(world: &mut World, times: usize) {
    world.scene.called_back(times).settle();
}

#[then("the callback carries the spawn token as its bearer")]
fn carries_token(world: &mut World) {
    world.scene.callback_carries_token().settle();
}

#[then(regex = r"^an attempt is given up within (\d+) seconds$")]
fn gives_up(world: &mut World, seconds: u64) {
    world.scene.gives_up_waiting(Duration::from_secs(seconds)).settle();
}

#[then("the attempts came at growing distances")]
fn growing_distances(world: &mut World) {
    world.scene.attempts_back_off().settle();
}
