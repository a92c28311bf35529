//! What a worker writes to its output.

use cucumber::gherkin::Step;
use cucumber::then;

use super::World;
use super::world::{list, rows};
use crate::harness::Settle;

#[then("the log carries in this order")]
fn carries_in_order(world: &mut World, step: &Step) {
    let messages: Vec<String> = rows(step).into_iter().flatten().collect();
    world.scene.log_carries_in_order(&messages).settle();
}

#[then(regex = r#"^each line of the log matches the contract "([^"]+)"$"#)]
fn lines_match(world: &mut World, message: String) {
    world.scene.log_lines_match(&message).settle();
}

#[then(regex = r#"^the log does not contain (?:"([^"]+)"|the (generated text)|any token)$"#)]
fn does_not_contain(world: &mut World, text: String, generated: String) {
    match (text.as_str(), generated.is_empty()) {
        ("", true) => world.scene.log_lacks_tokens().settle(),
        ("", false) => world.scene.log_lacks(None).settle(),
        (text, _) => world.scene.log_lacks(Some(text)).settle(),
    }
}

#[then(regex = r#"^the log has the events "([^"]+)" of "([^"]+)"$"#)]
fn has_events(world: &mut World, events: String, label: String) {
    world.scene.log_has_events(&list(&events), &label).settle();
}

#[then("the story of the log is told as it should be")]
fn narration(world: &mut World) {
    world.scene.narration_is_as_described().settle();
}

#[then(regex = r#"^the log shows no start of "([^"]+)"$"#)]
fn no_start(world: &mut World, label: String) {
    world.scene.log_shows_no_start(&label).settle();
}

#[then(regex = r#"^the log carries the correlation id "([^"]+)"$"#)]
fn carries_correlation_id(world: &mut World, id: String) {
    world.scene.log_carries_correlation_id(&id).settle();
}
