//! A worker's tensors.

use cucumber::{given, then};

use super::World;
use crate::harness::Settle;

#[given(regex = r#"^the worker's capture of "([^"]+)"( in every layer)?( once more)?$"#)]
fn capture(world: &mut World, subject: String, every_layer: String, again: String) {
    world.scene.capture_subject(&subject, !every_layer.is_empty(), !again.is_empty()).settle();
}

#[given(
    regex = r"^the worker's capture of the same (prompt and its first generated token|prompt with another last token|model with its heads in another order)$"
)]
fn another(world: &mut World, change: String) {
    match change.as_str() {
        "prompt and its first generated token" => world.scene.capture_with_first_token(),
        "prompt with another last token" => world.scene.capture_with_other_last_token(),
        _ => world.scene.capture_with_turned_heads(),
    }
    .settle();
}

#[then(regex = r#"^the tensors of checkpoint (\d+) agree with (the reference|the golden of "[^"]+")$"#)]
fn agree(world: &mut World, checkpoint: u8, with: String) {
    world.scene.checkpoint_agrees(checkpoint, &with).settle();
}

#[then(regex = r#"^the engine "([^"]+)" agrees with the golden of "([^"]+)" at every station of "([^"]+)"$"#)]
fn engines(world: &mut World, engine: String, reference: String, subject: String) {
    world.scene.engines_agree(&engine, &reference, &subject).settle();
}

#[then(
    regex = r#"^(candle reads|a wrong reader of) the quantised file "([^"]+)" (?:as llama\.cpp does, and keeps what its original says|is caught)$"#
)]
fn quantised_file(world: &mut World, who: String, file: String) {
    world.scene.quantised_file(&file, who == "candle reads").settle();
}

#[then("the parity logs of the worker and of llama.cpp agree over a haiku")]
fn haiku_logs(world: &mut World) {
    world.scene.haiku_logs_agree().settle();
}

#[then(regex = r"^the tensors of checkpoint (\d+) follow from their own inputs$")]
fn follow(world: &mut World, checkpoint: u8) {
    world.scene.checkpoint_follows(checkpoint).settle();
}

#[then(regex = r"^the captures are the same in checkpoint (\d+), bit for bit$")]
fn same(world: &mut World, checkpoint: u8) {
    world.scene.captures_are_same(checkpoint).settle();
}

#[then("the captures are the same before their last position, bit for bit")]
fn same_before_last(world: &mut World) {
    world.scene.same_before_last_position().settle();
}

#[then(regex = r#"^"([^"]+)" is "([^"]+)"$"#)]
fn is(world: &mut World, tensor: String, property: String) {
    world.scene.tensor_is(&tensor, &property).settle();
}

#[then(regex = r#"^"([^"]+)" of the first agrees with "([^"]+)" of the second$"#)]
fn alike(world: &mut World, first: String, second: String) {
    world.scene.tensors_are_alike(&first, &second).settle();
}

#[then("the generated ids are those that it gives when each prefix is asked for alone")]
fn recomputed(world: &mut World) {
    world.scene.ids_are_recomputed().settle();
}

#[then("the streamed text is that of the capture")]
fn streamed(world: &mut World) {
    world.scene.streamed_is_captured().settle();
}
