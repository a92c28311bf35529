//! The rungs of the ladder.

use std::time::Duration;

use cucumber::{given, then, when};

use super::World;
use crate::harness::Settle;

#[when("the haiku is asked for, as a client does")]
fn haiku(world: &mut World) {
    world.scene.ask_for_the_haiku().settle();
}

#[then(regex = r"^the (pipeline|word rule) of the haiku holds$")]
fn part_holds(world: &mut World, part: String) {
    world.scene.haiku_part_holds(&part).settle();
}

#[given(
    regex = r"^a worker on (a model that the harness knows|weights that never existed|a known model with a few weights moved|a model whose steps take milliseconds)$"
)]
fn on(world: &mut World, model: String) {
    match model.as_str() {
        "a model that the harness knows" => world.scene.start_on_known_model(),
        "weights that never existed" => world.scene.start_on_fresh_weights(),
        "a known model with a few weights moved" => world.scene.start_on_perturbed_weights(),
        _ => world.scene.start_on_model_of_milliseconds(),
    }
    .settle();
}

#[then("its greedy texts are the reference's")]
fn greedy(world: &mut World) {
    world.scene.texts_are_the_references().settle();
}

#[then("it draws the first token as often as the reference says")]
fn draws(world: &mut World) {
    world.scene.draws_are_the_references().settle();
}

#[then("where two tokens are nearly as likely it takes the right one")]
fn close(world: &mut World) {
    world.scene.close_calls_are_right().settle();
}

#[then("what it draws is as surprising as the reference says")]
fn surprising(world: &mut World) {
    world.scene.drawn_texts_are_the_references().settle();
}

#[then("the same seed writes the same text")]
fn repeats(world: &mut World) {
    world.scene.seed_repeats().settle();
}

#[then("it writes what the reference computed before it was started")]
fn computed_before(world: &mut World) {
    world.scene.answers_as_computed().settle();
}

#[when("the worker is started on half of a model file")]
fn on_half(world: &mut World) {
    world.scene.launch_on_broken_model().settle();
}

#[then("its work grows with prompt and output")]
fn grows(world: &mut World) {
    world.scene.work_grows().settle();
}

#[then("a repeated prompt costs what a fresh one does")]
fn costs(world: &mut World) {
    world.scene.repeats_cost_the_same().settle();
}

#[when("a job is run and counted")]
fn counted(world: &mut World) {
    world.scene.run_counted().settle();
}

#[then(regex = r"^its (arrivals|counts|times) are honest$")]
fn honest(world: &mut World, of: String) {
    world.scene.stream_is_honest(&of).settle();
}

#[then("while nobody asks nothing is counted")]
fn idle(world: &mut World) {
    world.scene.idle_counts_nothing().settle();
}

#[then(regex = r"^the next job starts within (\d+) milliseconds$")]
fn next_starts(world: &mut World, milliseconds: u64) {
    world.scene.next_job_starts_within(Duration::from_millis(milliseconds)).settle();
}

#[given("a worker that captures, on a model that the harness knows")]
fn capturing(world: &mut World) {
    world.scene.start_capturing().settle();
}

#[when("it is asked for a prompt that is drawn now")]
fn probed(world: &mut World) {
    world.scene.probe().settle();
}

#[then("its tensors are the reference's at every checkpoint")]
fn probe_agrees(world: &mut World) {
    world.scene.probe_is_the_references().settle();
}
