//! Single requests and their answers.

use cucumber::{then, when};

use super::World;
use super::world::list;
use crate::harness::scene::calls::Credentials;

#[when("health is asked")]
#[then("health is asked")]
async fn health(world: &mut World) {
    world.act(|scene| scene.ask("GET", "/health")).await;
}

#[when(regex = r#"^(GET|POST|PUT|DELETE) "([^"]+)" is asked$"#)]
async fn asked(world: &mut World, method: String, path: String) {
    world.act(move |scene| scene.ask(&method, &path)).await;
}

#[when(regex = r#"^POST "([^"]+)" is asked with (no token|a wrong token|half the token)$"#)]
async fn asked_with(world: &mut World, path: String, credentials: String) {
    world.act(move |scene| scene.ask_with(&path, Credentials::of(&credentials))).await;
}

#[when(regex = r#"^the body (.+) is posted to "([^"]+)"(?: with the header "([^":]+): ([^"]*)")?$"#)]
async fn posted(world: &mut World, body: String, path: String, name: String, value: String) {
    world.act(move |scene| scene.post(&body, &path, (!name.is_empty()).then_some((name, value)))).await;
}

#[when(regex = r#"^a job is sent with the content type "([^"]+)"$"#)]
async fn sent_as(world: &mut World, content_type: String) {
    world.act(move |scene| scene.send_as(&content_type)).await;
}

#[then(regex = r#"^the answer is (\d+)(?: with the code "([^"]+)")?$"#)]
async fn answer_is(world: &mut World, status: u16, code: String) {
    world.act(move |scene| scene.answer_is(status, (!code.is_empty()).then_some(code.as_str()))).await;
}

#[then(regex = r#"^the answer is one of "([^"]+)"$"#)]
async fn answer_is_one_of(world: &mut World, statuses: String) {
    world.act(move |scene| scene.answer_is_one_of(&list(&statuses))).await;
}

#[then("the answer is JSON")]
async fn answer_is_json(world: &mut World) {
    world.act(|scene| scene.answer_is_json()).await;
}

#[then(regex = r#"^the answer matches the contract "([^"]+)"$"#)]
async fn answer_matches(world: &mut World, message: String) {
    world.act(move |scene| scene.answer_matches(&message)).await;
}

#[then(regex = r#"^the answer's field "([^"]+)" is (?:"([^"]*)"|(\S+))$"#)]
async fn field_is(world: &mut World, field: String, text: String, other: String) {
    world.act(move |scene| scene.field_is(&field, &text, &other)).await;
}

#[then(regex = r#"^the answer's field "([^"]+)" is the id the worker was started with$"#)]
async fn field_is_worker_id(world: &mut World, field: String) {
    world.act(move |scene| scene.field_is_worker_id(&field)).await;
}

#[then(regex = r#"^the answer's header "([^"]+)" is (?:"([^"]*)"|a (fresh UUID|whole number of seconds))$"#)]
async fn header_is(world: &mut World, name: String, text: String, kind: String) {
    world.act(move |scene| scene.header_is(&name, &text, &kind)).await;
}

#[then(regex = r#"^the answer lists exactly the fields "([^"]+)"$"#)]
async fn lists_fields(world: &mut World, fields: String) {
    world.act(move |scene| scene.lists_exactly(&list(&fields))).await;
}

#[then(regex = r#"^no failure is listed for the length of "([^"]+)"$"#)]
async fn no_length_failure(world: &mut World, field: String) {
    world.act(move |scene| scene.lists_no_length_of(&field)).await;
}

#[then(regex = r#"^the answer does not contain "([^"]+)"$"#)]
async fn does_not_contain(world: &mut World, text: String) {
    world.act(move |scene| scene.answer_lacks(&text)).await;
}

#[then("the last two answers have the same body")]
async fn same_body(world: &mut World) {
    world.act(|scene| scene.last_answers_are_alike()).await;
}
