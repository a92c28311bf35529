//! Jobs: sent, watched, cancelled, abandoned.

use std::time::Duration;

use cucumber::gherkin::Step;
use cucumber::{then, when};

use super::World;
use super::world::{list, pairs};
use crate::harness::Settle;
use crate::harness::scene::jobs::Length;

/// A step about "the stream" means the last job that was sent without a name.
const UNNAMED: &str = "the job";

#[when(regex = r#"^a job is sent(?: as "([^"]+)")?(?: with)?$"#)]
fn sent(world: &mut World, step: &Step, label: String) {
    let (label, changes) = (if label.is_empty() { UNNAMED.into() } else { label }, pairs(step));
    world.scene.send_job(&label, &changes, &[]).settle();
}

#[when(regex = r#"^a job is sent with the header "([^":]+): ([^"]*)"$"#)]
fn sent_with_header(world: &mut World, name: String, value: String) {
    world.scene.send_job(UNNAMED, &[], &[(name, value)]).settle();
}

#[when(regex = r#"^a job is sent with the content type "([^"]+)"$"#)]
fn sent_as(world: &mut World, content_type: String) {
    world.scene.send_as(&content_type).settle();
}

#[when(regex = r"^a job is sent (with the token|with a prompt that the context can't hold|while the worker drains)$")]
fn sent_specially(world: &mut World, how: String) {
    match how.as_str() {
        "with the token" => world.scene.send_job_with_token(UNNAMED).settle(),
        "while the worker drains" => world.scene.send_while_draining().settle(),
        _ => world.scene.send_beyond_context().settle(),
    }
}

#[when(regex = r#"^(?:an? )?(long|short|1-second) jobs? (?:is|are) sent as "([^"]+)"$"#)]
fn sent_of_length(world: &mut World, length: String, labels: String) {
    let length = Length::of(&length);
    list(&labels).iter().try_for_each(|label| world.scene.send_sized_job(label, length)).settle();
}

#[when(regex = r#"^the job "([^"]+)" is sent a second time$"#)]
fn sent_again(world: &mut World, label: String) {
    world.scene.send_again(&label).settle();
}

#[when("jobs are sent until one is refused")]
fn sent_until_refused(world: &mut World) {
    world.scene.send_until_refused().settle();
}

#[when(regex = r"^(\d+) jobs are sent at once$")]
fn sent_at_once(world: &mut World, count: usize) {
    world.scene.send_at_once(count).settle();
}

#[when("the same job is sent through an ordinary SSE client")]
fn sent_through_ordinary_client(world: &mut World) {
    world.scene.send_through_ordinary_client(UNNAMED).settle();
}

#[when("a connection sends half a request and waits")]
fn half_a_request(world: &mut World) {
    world.scene.send_half_a_request().settle();
}

#[when(regex = r#"^the first token of "([^"]+)" has arrived$"#)]
fn first_token(world: &mut World, label: String) {
    world.scene.wait_for_token(&label).settle();
}

#[when(regex = r#"^(?:the stream|"([^"]+)") (?:has|have) ended$"#)]
fn ended(world: &mut World, labels: String) {
    let labels = if labels.is_empty() { vec![UNNAMED.into()] } else { list(&labels) };
    world.scene.wait_for_end(&labels).settle();
}

#[when(regex = r#"^the (?:job|task) (id )?"([^"]+)" is cancelled$"#)]
fn cancelled(world: &mut World, is_id: String, named: String) {
    if is_id.is_empty() { world.scene.cancel(&named).settle() } else { world.scene.cancel_id(&named).settle() }
}

#[when(regex = r#"^the client of "([^"]+)" disconnects$"#)]
fn disconnects(world: &mut World, label: String) {
    world.scene.disconnect(&label).settle();
}

#[then(regex = r#"^"([^"]+)" goes on$"#)]
fn goes_on(world: &mut World, label: String) {
    world.scene.goes_on(&label).settle();
}

#[then(regex = r#"^"([^"]+)" started after "([^"]+)" had ended$"#)]
fn started_after(world: &mut World, later: String, earlier: String) {
    world.scene.started_after(&later, &earlier).settle();
}

#[then(regex = r#"^the jobs started in the order "([^"]+)"$"#)]
fn started_in_order(world: &mut World, labels: String) {
    world.scene.started_in_order(&list(&labels)).settle();
}

#[then(regex = r#"^"([^"]+)" starts within (\d+) seconds of the disconnect$"#)]
fn starts_within(world: &mut World, label: String, seconds: u64) {
    world.scene.starts_within(&label, Duration::from_secs(seconds)).settle();
}

#[then(regex = r#"^"([^"]+)" ends as a job cancelled before its start$"#)]
fn cancelled_before_start(world: &mut World, label: String) {
    world.scene.was_cancelled_before_start(&label).settle();
}

#[then(regex = r#"^health answers (\d+) times while "([^"]+)" goes on$"#)]
fn health_answers(world: &mut World, times: usize, label: String) {
    world.scene.health_answers_while(times, &label).settle();
}

#[then(regex = r#"^each of them has ended by the rules or was refused with 503 "BUSY" and Retry-After$"#)]
fn ended_or_refused(world: &mut World) {
    world.scene.each_ended_or_was_refused().settle();
}

#[then("both clients read the same kinds of events")]
fn same_events(world: &mut World) {
    world.scene.clients_agree(UNNAMED).settle();
}
