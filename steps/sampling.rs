//! Parameters with an effect that a client can see.

use cucumber::gherkin::Step;
use cucumber::{then, when};

use super::World;
use super::world::records;
use crate::harness::Settle;
use crate::harness::scene::stops::Stops;
use crate::harness::scene::texts::Texts;

#[when("a job is run with each of")]
fn run_with_each(world: &mut World, step: &Step) {
    world.scene.run_with_each(&records(step)).settle();
}

#[when(regex = r"^a greedy job is run, and again with (.+)$")]
fn run_with_stops(world: &mut World, stops: String) {
    world.scene.run_with_stops(Stops::of(&stops)).settle();
}

#[when(regex = r"^a job (that ends by itself|without max_tokens) is run$")]
fn run_to_its_end(world: &mut World, which: String) {
    if which.contains("without") {
        world.scene.run_without_limit().settle();
    } else {
        world.scene.run_until_end_of_text().settle();
    }
}

#[when("the last job is run again with max_tokens at its tokens_out")]
fn run_to_the_token(world: &mut World) {
    world.scene.run_again_to_the_token().settle();
}

#[then(regex = r"^(both|all|the first and the last|at least two of the) texts? (?:are equal|differ)$")]
fn texts_are(world: &mut World, wanted: String) {
    world.scene.texts_are(Texts::of(&wanted)).settle();
}

#[then("each text ends before its stop sequence, which is named")]
fn ends_before_stop(world: &mut World) {
    world.scene.texts_end_before_their_stops().settle();
}

#[then(regex = r#"^each job ended with "([^"]+)"$"#)]
fn ended_with(world: &mut World, reason: String) {
    world.scene.jobs_ended_with(&reason).settle();
}

#[then("it is ended by its text or the context, and not by a limit of its own")]
fn not_cut_short(world: &mut World) {
    world.scene.was_not_cut_short().settle();
}
