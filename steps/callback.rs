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

#[then(regex = r"^the callback (?:carries|is from) (.+)$")]
fn carries(world: &mut World, what: String) {
    world.scene.callback_is_right_about(&what).settle();
}

#[then(regex = r"^the worker called back exactly (\d+) times?$")]
fn called_back(world: &mut World, times: usize) {
    world.scene.called_back(times).settle();
}

#[then(regex = r"^an attempt is given up within (\d+) seconds$")]
fn gives_up(world: &mut World, seconds: u64) {
    world.scene.gives_up_waiting(Duration::from_secs(seconds)).settle();
}

#[then("the attempts came at growing distances")]
fn growing_distances(world: &mut World) {
    world.scene.attempts_back_off().settle();
}
