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

#[when("a job is sent with the token")]
fn sent_with_token(world: &mut World) {
    world.scene.send_job_with_token(UNNAMED).settle();
}

#[when(regex = r#"^a (long|short) job is sent as "([^"]+)"$"#)]
fn sent_of_length(world: &mut World, length: String, label: String) {
    let length = if length == "long" { Length::Long } else { Length::Short };
    world.scene.send_sized_job(&label, length).settle();
}

#[when(regex = r#"^a job of about (\d+) seconds? is sent as "([^"]+)"$"#)]
fn sent_of_duration(world: &mut World, seconds: u64, label: String) {
    world.scene.send_sized_job(&label, Length::About(Duration::from_secs(seconds))).settle();
}

#[when(regex = r#"^short jobs are sent as "([^"]+)"$"#)]
fn several_sent(world: &mut World, labels: String) {
    world.scene.send_short_jobs(&list(&labels)).settle();
}

#[when(regex = r#"^the job "([^"]+)" is sent a second time$"#)]
fn sent_again(world: &mut World, label: String) {
    world.scene.send_again(&label).settle();
}

#[when("a job is sent while the worker drains")]
fn sent_while_draining(world: &mut World) {
    world.scene.send_while_draining().settle();
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

#[when("the stream has ended")]
fn stream_ended(world: &mut World) {
    world.scene.wait_for_end(&[UNNAMED.into()]).settle();
}

#[when(regex = r#"^"([^"]+)" (?:has|have) ended$"#)]
fn ended(world: &mut World, labels: String) {
    world.scene.wait_for_end(&list(&labels)).settle();
}

#[when(regex = r#"^the job "([^"]+)" is cancelled$"#)]
fn cancelled(world: &mut World, label: String) {
    world.scene.cancel(&label).settle();
}

#[when(regex = r#"^the job id "([^"]+)" is cancelled$"#)]
fn id_cancelled(world: &mut World, job_id: String) {
    world.scene.cancel_id(&job_id).settle();
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
