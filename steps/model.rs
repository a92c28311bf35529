//! Models of the harness's choosing, and what a worker makes of them.

use std::time::Duration;

use cucumber::{given, then, when};

use super::World;
use super::world::list;
use crate::harness::Settle;

#[given(regex = r#"^a recipe model stored as "([^"]+)", and the same numbers stored plainly$"#)]
fn in_two_forms(world: &mut World, form: String) {
    world.scene.store_in_two_forms(&form).settle();
}

#[given("the haiku model in both formats")]
fn haiku_model_in_both_formats(world: &mut World) {
    world.scene.store_haiku_model_in_both_formats().settle();
}

#[given(regex = r#"^a recipe model, started with "([^"]+)" and with "([^"]+)"$"#)]
fn with_flags(world: &mut World, one: String, other: String) {
    world.scene.store_for_flags([&one, &other]).settle();
}

#[given("a worker on the model that LLORCH_GPT2_DIR names")]
fn on_real_gpt2(world: &mut World) {
    world.scene.start_on_real_gpt2().settle();
}

#[given("a worker on the haiku model")]
fn on_haiku_model(world: &mut World) {
    world.scene.start_on_haiku_model().settle();
}

#[given(regex = r#"^a worker on the recipe model "([^"]+)" with seed (\d+)(, told to log its digest)?$"#)]
fn on_recipe_model(world: &mut World, size: String, seed: u64, digest: String) {
    let flags: &[&str] = if digest.is_empty() { &[] } else { &["--digest"] };
    world.scene.start_on_recipe(&size, seed, flags).settle();
}

#[when("each is asked for the same texts")]
fn each_is_asked(world: &mut World) {
    world.scene.ask_each_for_texts().settle();
}

#[when(regex = r#"^the worker is started on the hostile file "([^"]+)"$"#)]
fn started_on_hostile_file(world: &mut World, name: String) {
    world.scene.launch_on_hostile_file(&name).settle();
}

#[then("both wrote the same, token by token")]
fn both_wrote_the_same(world: &mut World) {
    world.scene.both_wrote_the_same().settle();
}

#[then(regex = r#"^their tokenizers are "([^"]+)"$"#)]
fn tokenizers_are(world: &mut World, kinds: String) {
    world.scene.tokenizers_are(&list(&kinds)).settle();
}

#[then(regex = r#"^the digest it logs is the one recorded for "([^"]+)" with seed (\d+)$"#)]
fn digest_is_recorded(world: &mut World, size: String, seed: u64) {
    world.scene.digest_is_recorded(&size, seed).settle();
}

#[then(regex = r#"^the log tells the loading at "([^"]+)" percent$"#)]
fn loading_was_told(world: &mut World, percents: String) {
    world.scene.loading_was_told(&list(&percents)).settle();
}

#[then(regex = r"^its memory is (accounted for|resident) within (\d+) percent$")]
fn memory_is(world: &mut World, kind: String, percent: u64) {
    match kind.as_str() {
        "resident" => world.scene.memory_is_resident(percent).settle(),
        _ => world.scene.memory_is_accounted_for(percent).settle(),
    }
}

#[then(regex = r#"^the job ended for "([^"]+)" after (\d+) tokens$"#)]
fn job_ended_for(world: &mut World, reason: String, tokens: u64) {
    world.scene.job_ended_for(&reason, tokens).settle();
}

#[then(regex = r"^the worker rests after at most (\d+) milliseconds of work$")]
fn processor_rests(world: &mut World, milliseconds: u64) {
    world.scene.processor_rests_after(Duration::from_millis(milliseconds)).settle();
}

#[then("a job gives the same text alone and among waiting jobs")]
fn same_among_others(world: &mut World) {
    world.scene.run_alone_and_among_others().settle();
}
