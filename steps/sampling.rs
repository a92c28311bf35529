//! Parameters with an effect that a client can see.

use cucumber::{then, when};

use super::World;
use super::world::list;
use crate::harness::Settle;
use crate::harness::scene::texts::Texts;

#[when(regex = r"^the same job is run twice with the seed (\d+)$")]
fn twice(world: &mut World, seed: u64) {
    world.scene.run_with_seeds(1.0, &[seed, seed]).settle();
}

#[when(regex = r"^a job is run(?: at temperature (0))? with the seeds? ([\d, ]+)$")]
fn with_seeds(world: &mut World, greedy: String, seeds: String) {
    let seeds: Vec<u64> = list(&seeds).iter().filter_map(|seed| seed.parse().ok()).collect();
    world.scene.run_with_seeds(if greedy.is_empty() { 1.0 } else { 0.0 }, &seeds).settle();
}

#[when("a job is run with eight seeds")]
fn eight_seeds(world: &mut World) {
    world.scene.run_with_seeds(1.0, &[1, 2, 3, 4, 5, 6, 7, 8]).settle();
}

#[when("a job is run at temperature 0 and again at temperature 1.5 with top_k 1")]
fn top_k_one(world: &mut World) {
    world.scene.run_greedy_and_with_top_k_one().settle();
}

#[when("a job is run at temperature 0 and again with a stop sequence from its text")]
fn stop_from_text(world: &mut World) {
    world.scene.run_with_stop_from_its_text().settle();
}

#[when("a job is run at temperature 0 with four different prompts")]
fn four_prompts(world: &mut World) {
    world.scene.run_with_prompts().settle();
}

#[then(regex = r"^(?:both|all) texts are equal$")]
fn all_equal(world: &mut World) {
    world.scene.texts_are(Texts::AllEqual).settle();
}

#[then("the first and the last text are equal")]
fn ends_equal(world: &mut World) {
    world.scene.texts_are(Texts::FirstAndLastEqual).settle();
}

#[then("at least two of the texts differ")]
fn two_differ(world: &mut World) {
    world.scene.texts_are(Texts::SomeDiffer).settle();
}

#[then("the second text is the first up to the stop sequence")]
fn up_to_stop(world: &mut World) {
    world.scene.text_ends_before_stop().settle();
}
