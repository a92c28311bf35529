//! Engines: asked in their own words, and real ones behind a whole chain.

use std::time::Duration;

use cucumber::{given, then, when};

use super::World;
use crate::harness::Settle;

#[given("an engine, on a model whose steps take milliseconds where it can be given one")]
fn engine(world: &mut World) {
    world.scene.start_where_steps_take_time().settle();
}

#[then(regex = r#"^its (text|chat), in its own words, obeys "([^"]+)"$"#)]
fn obeys(world: &mut World, route: String, rule: String) {
    world.scene.own_stream_obeys(&route, &rule).settle();
}

#[then("its whole answer is what it streams")]
fn whole(world: &mut World) {
    world.scene.whole_answer_is_the_stream().settle();
}

#[then("it counts the prompt's tokens as the model file has them")]
fn counts_prompt(world: &mut World) {
    world.scene.prompt_is_counted().settle();
}

#[then(regex = r#"^it refuses (?:"([^"]+)" as (.+)|the body (.+)|a prompt longer than its context)$"#)]
fn refuses(world: &mut World, field: String, value: String, body: String) {
    match (field.as_str(), body.as_str()) {
        ("", "") => world.scene.refuses_prompt_over_context(),
        ("", body) => world.scene.refuses_body(body),
        (field, _) => world.scene.refuses_field(field, &value),
    }
    .settle();
}

#[when(regex = r"^the client of a (streamed|whole) answer goes away while a slot works$")]
fn goes_away(world: &mut World, kind: String) {
    world.scene.abandon_answer(kind == "streamed").settle();
}

#[then(regex = r"^no slot works (\d+) milliseconds later$")]
fn rests(world: &mut World, milliseconds: u64) {
    world.scene.slot_rests_within(Duration::from_millis(milliseconds)).settle();
}

#[given("a running llama-server that the orchestrator is told of")]
fn running(world: &mut World) {
    world.scene.name_running_engine().settle();
}

#[then("what the chain writes greedily is the reference's text")]
fn chain_writes(world: &mut World) {
    world.scene.chain_writes_the_references_texts().settle();
}

#[then("a haiku through the chain leaves a proof bundle that verifies")]
fn bundle(world: &mut World) {
    world.scene.bundle_of_a_haiku_verifies().settle();
}

#[then(regex = r"^the engine's slot (works|rests) within (\d+) milliseconds$")]
fn slot(world: &mut World, how: String, milliseconds: u64) {
    world.scene.engine_works(how == "works", Duration::from_millis(milliseconds)).settle();
}

#[when("the engine is killed, and its port taken")]
fn killed(world: &mut World) {
    world.scene.kill_engine().settle();
}

#[then("another engine takes its place, on another port")]
fn replaced(world: &mut World) {
    world.scene.engine_is_replaced().settle();
}

#[then("nothing is left of the engine but its log")]
fn nothing_left(world: &mut World) {
    world.scene.nothing_is_left_of_the_engine().settle();
}
