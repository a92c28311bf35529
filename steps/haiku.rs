//! Haiku and their rule.

use cucumber::{then, when};

use super::World;
use crate::harness::Settle;

#[when(regex = r#"^a haiku about "([^"]+)" is asked for at every minute, (?:greedily|with seed (\d+))$"#)]
fn asked_for(world: &mut World, subject: String, seed: String) {
    world.scene.ask_for_haiku_at_every_minute(&subject, seed.parse().ok()).settle();
}

#[then("every stream of a haiku obeys the rules")]
fn streams_hold(world: &mut World) {
    world.scene.haiku_streams_hold().settle();
}

#[then(regex = r"^the word rule holds for at least (\d+) of them$")]
fn word_rule_holds(world: &mut World, at_least: usize) {
    world.scene.word_rule_holds(at_least).settle();
}

#[then(regex = r"^the word rule is broken by at least (\d+) of them when the next minute is meant$")]
fn word_rule_fails(world: &mut World, at_least: usize) {
    world.scene.word_rule_fails_elsewhere(at_least).settle();
}

#[then("the plain haiku has three lines, and the same twice")]
fn plain_haiku(world: &mut World) {
    world.scene.ask_for_haiku_twice().settle();
}
