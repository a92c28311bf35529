//! Parameters with an effect that a client can see.

use cucumber::{then, when};

use super::World;
use super::world::list;
use crate::harness::scene::texts::Texts;

#[when(regex = r"^the same job is run twice with the seed (\d+)$")]
async fn twice(world: &mut World, seed: u64) {
    world.act(move |scene| scene.run_with_seeds(1.0, &[seed, seed])).await;
}

#[when(regex = r"^a job is run(?: at temperature (0))? with the seeds? ([\d, ]+)$")]
async fn with_seeds(world: &mut World, greedy: String, seeds: String) {
    let seeds: Vec<u64> = list(&seeds).iter().filter_map(|seed| seed.parse().ok()).collect();
    world.act(move |scene| scene.run_with_seeds(if greedy.is_empty() { 1.0 } else { 0.0 }, &seeds)).await;
}

#[when("a job is run with eight seeds")]
async fn eight_seeds(world: &mut World) {
    world.act(|scene| scene.run_with_seeds(1.0, &[1, 2, 3, 4, 5, 6, 7, 8])).await;
}

#[when("a job is run at temperature 0 and again at temperature 1.5 with top_k 1")]
async fn top_k_one(world: &mut World) {
    world.act(|scene| scene.run_greedy_and_with_top_k_one()).await;
}

#[when("a job is run at temperature 0 and again with a stop sequence from its text")]
async fn stop_from_text(world: &mut World) {
    world.act(|scene| scene.run_with_stop_from_its_text()).await;
}

#[when("a job is run at temperature 0 with four different prompts")]
async fn four_prompts(world: &mut World) {
    world.act(|scene| scene.run_with_prompts()).await;
}

#[then(regex = r"^(?:both|all) texts are equal$")]
async fn all_equal(world: &mut World) {
    world.act(|scene| scene.texts_are(Texts::AllEqual)).await;
}

#[then("the first and the last text are equal")]
async fn ends_equal(world: &mut World) {
    world.act(|scene| scene.texts_are(Texts::FirstAndLastEqual)).await;
}

#[then("at least two of the texts differ")]
async fn two_differ(world: &mut World) {
    world.act(|scene| scene.texts_are(Texts::SomeDiffer)).await;
}

#[then("the second text is the first up to the stop sequence")]
async fn up_to_stop(world: &mut World) {
    world.act(|scene| scene.text_ends_before_stop()).await;
}
