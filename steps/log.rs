//! What a worker writes to its output.

use cucumber::gherkin::Step;
use cucumber::then;

use super::World;
use super::world::{list, rows};

#[then("the log carries in this order")]
async fn carries_in_order(world: &mut World, step: &Step) {
    let messages: Vec<String> = rows(step).into_iter().flatten().collect();
    world.act(move |scene| scene.log_carries_in_order(&messages)).await;
}

#[then(regex = r#"^each line of the log matches the contract "([^"]+)"$"#)]
async fn lines_match(world: &mut World, message: String) {
    world.act(move |scene| scene.log_lines_match(&message)).await;
}

#[then(regex = r#"^the log does not contain (?:"([^"]+)"|the generated text)$"#)]
async fn does_not_contain(world: &mut World, text: String) {
    world.act(move |scene| scene.log_lacks((!text.is_empty()).then_some(text.as_str()))).await;
}

#[then("no token is in the log")]
async fn no_token(world: &mut World) {
    world.act(|scene| scene.log_lacks_tokens()).await;
}

#[then(regex = r#"^the log has the events "([^"]+)" of "([^"]+)"$"#)]
async fn has_events(world: &mut World, events: String, label: String) {
    world.act(move |scene| scene.log_has_events(&list(&events), &label)).await;
}

#[then(regex = r#"^the log shows no start of "([^"]+)"$"#)]
async fn no_start(world: &mut World, label: String) {
    world.act(move |scene| scene.log_shows_no_start(&label)).await;
}

#[then(regex = r#"^the log carries the correlation id "([^"]+)"$"#)]
async fn carries_correlation_id(world: &mut World, id: String) {
    world.act(move |scene| scene.log_carries_correlation_id(&id)).await;
}
