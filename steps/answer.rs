//! Single requests and their answers.

use cucumber::{then, when};

use super::World;
use super::world::list;
use crate::harness::Settle;
use crate::harness::scene::calls::Credentials;

#[when(regex = r#"^(GET|POST|PUT|DELETE) "([^"]+)" is asked(?: with (.*token.*))?$"#)]
fn asked(world: &mut World, method: String, path: String, credentials: String) {
    match Credentials::of(&credentials) {
        Some(credentials) => world.scene.ask_with(&method, &path, credentials).settle(),
        None => world.scene.ask(&method, &path).settle(),
    }
}

#[when(regex = r#"^the body (.+) is posted to "([^"]+)"(?: with the header "([^":]+): ([^"]*)")?$"#)]
fn posted(world: &mut World, body: String, path: String, name: String, value: String) {
    world.scene.post(&body, &path, (!name.is_empty()).then_some((name, value))).settle();
}

#[then(regex = r#"^the answer is (\d+)(?: or (\d+))?(?: with the code "([^"]+)")?$"#)]
fn answer_is(world: &mut World, status: u16, or: String, code: String) {
    let either = [status, or.parse().unwrap_or(status)];
    world.scene.answer_is(either, (!code.is_empty()).then_some(code.as_str())).settle();
}

#[then("the answer is JSON")]
fn answer_is_json(world: &mut World) {
    world.scene.answer_is_json().settle();
}

#[then(regex = r#"^the answer matches the contract "([^"]+)"$"#)]
fn answer_matches(world: &mut World, message: String) {
    world.scene.answer_matches(&message).settle();
}

#[then(regex = r#"^the answer's field "([^"]+)" is (?:"([^"]*)"|above (\d+)|(\S+))$"#)]
fn field_is(world: &mut World, field: String, text: String, above: String, other: String) {
    match above.parse() {
        Ok(least) => world.scene.field_is_above(&field, least).settle(),
        Err(_) => world.scene.field_is(&field, &text, &other).settle(),
    }
}

#[then(regex = r#"^each job's (?:header "([^"]+)"|seed) is another$"#)]
fn another_each_time(world: &mut World, header: String) {
    if header.is_empty() { world.scene.seeds_differ().settle() } else { world.scene.header_differs(&header).settle() }
}

#[then(regex = r#"^the answer's field "([^"]+)" is the id the worker was started with$"#)]
fn field_is_worker_id(world: &mut World, field: String) {
    world.scene.field_is_worker_id(&field).settle();
}

#[then(regex = r#"^the answer's header "([^"]+)" is (?:"([^"]*)"|a (fresh UUID|time to come back))$"#)]
fn header_is(world: &mut World, name: String, text: String, kind: String) {
    world.scene.header_is(&name, &text, &kind).settle();
}

#[then(regex = r#"^the answer lists exactly the fields "([^"]+)"$"#)]
fn lists_fields(world: &mut World, fields: String) {
    world.scene.lists_exactly(&list(&fields)).settle();
}

#[then(regex = r#"^no failure is listed for the length of "([^"]+)"$"#)]
fn no_length_failure(world: &mut World, field: String) {
    world.scene.lists_no_length_of(&field).settle();
}

#[then(regex = r#"^the answer does not contain "([^"]+)"$"#)]
fn does_not_contain(world: &mut World, text: String) {
    world.scene.answer_lacks(&text).settle();
}

#[then("the last two answers have the same body")]
fn same_body(world: &mut World) {
    world.scene.last_answers_are_alike().settle();
}
