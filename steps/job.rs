//! Jobs: sent, watched, cancelled, abandoned.

use std::time::Duration;

use cucumber::gherkin::Step;
use cucumber::{then, when};

use super::World;
use super::world::{list, pairs};
use crate::harness::scene::jobs::Length;

/// A step about "the stream" means the last job that was sent without a name.
const UNNAMED: &str = "the job";

#[when(regex = r#"^a job is sent(?: as "([^"]+)")?(?: with)?$"#)]
async fn sent(world: &mut World, step: &Step, label: String) {
    let (label, changes) = (if label.is_empty() { UNNAMED.into() } else { label }, pairs(step));
    world.act(move |scene| scene.send_job(&label, &changes, &[])).await;
}

#[when(regex = r#"^a job is sent with the header "([^":]+): ([^"]*)"$"#)]
async fn sent_with_header(world: &mut World, name: String, value: String) {
    world.act(move |scene| scene.send_job(UNNAMED, &[], &[(name, value)])).await;
}

#[when("a job is sent with the token")]
async fn sent_with_token(world: &mut World) {
    world.act(|scene| scene.send_job_with_token(UNNAMED)).await;
}

#[when(regex = r#"^a (long|short) job is sent as "([^"]+)"$"#)]
async fn sent_of_length(world: &mut World, length: String, label: String) {
    let length = if length == "long" { Length::Long } else { Length::Short };
    world.act(move |scene| scene.send_sized_job(&label, length)).await;
}

#[when(regex = r#"^a job of about (\d+) seconds? is sent as "([^"]+)"$"#)]
async fn sent_of_duration(world: &mut World, seconds: u64, label: String) {
    world.act(move |scene| scene.send_sized_job(&label, Length::About(Duration::from_secs(seconds)))).await;
}

#[when(regex = r#"^short jobs are sent as "([^"]+)"$"#)]
async fn several_sent(world: &mut World, labels: String) {
    world.act(move |scene| scene.send_short_jobs(&list(&labels))).await;
}

#[when(regex = r#"^the job "([^"]+)" is sent a second time$"#)]
async fn sent_again(world: &mut World, label: String) {
    world.act(move |scene| scene.send_again(&label)).await;
}

#[when("a job is sent while the worker drains")]
async fn sent_while_draining(world: &mut World) {
    world.act(|scene| scene.send_while_draining()).await;
}

#[when("jobs are sent until one is refused")]
async fn sent_until_refused(world: &mut World) {
    world.act(|scene| scene.send_until_refused()).await;
}

#[when(regex = r"^(\d+) jobs are sent at once$")]
async fn sent_at_once(world: &mut World, count: usize) {
    world.act(move |scene| scene.send_at_once(count)).await;
}

#[when("the same job is sent through an ordinary SSE client")]
async fn sent_through_ordinary_client(world: &mut World) {
    world.act(|scene| scene.send_through_ordinary_client(UNNAMED)).await;
}

#[when("a connection sends half a request and waits")]
async fn half_a_request(world: &mut World) {
    world.act(|scene| scene.send_half_a_request()).await;
}

#[when(regex = r#"^the first token of "([^"]+)" has arrived$"#)]
async fn first_token(world: &mut World, label: String) {
    world.act(move |scene| scene.wait_for_token(&label)).await;
}

#[when("the stream has ended")]
async fn stream_ended(world: &mut World) {
    world.act(|scene| scene.wait_for_end(&[UNNAMED.into()])).await;
}

#[when(regex = r#"^"([^"]+)" (?:has|have) ended$"#)]
async fn ended(world: &mut World, labels: String) {
    world.act(move |scene| scene.wait_for_end(&list(&labels))).await;
}

#[when(regex = r#"^the job "([^"]+)" is cancelled$"#)]
async fn cancelled(world: &mut World, label: String) {
    world.act(move |scene| scene.cancel(&label)).await;
}

#[when(regex = r#"^the job id "([^"]+)" is cancelled$"#)]
async fn id_cancelled(world: &mut World, job_id: String) {
    world.act(move |scene| scene.cancel_id(&job_id)).await;
}

#[when(regex = r#"^the client of "([^"]+)" disconnects$"#)]
async fn disconnects(world: &mut World, label: String) {
    world.act(move |scene| scene.disconnect(&label)).await;
}

#[then(regex = r#"^"([^"]+)" goes on$"#)]
async fn goes_on(world: &mut World, label: String) {
    world.act(move |scene| scene.goes_on(&label)).await;
}

#[then(regex = r#"^"([^"]+)" started after "([^"]+)" had ended$"#)]
async fn started_after(world: &mut World, later: String, earlier: String) {
    world.act(move |scene| scene.started_after(&later, &earlier)).await;
}

#[then(regex = r#"^the jobs started in the order "([^"]+)"$"#)]
async fn started_in_order(world: &mut World, labels: String) {
    world.act(move |scene| scene.started_in_order(&list(&labels))).await;
}

#[then(regex = r#"^"([^"]+)" starts within (\d+) seconds of the disconnect$"#)]
async fn starts_within(world: &mut World, label: String, seconds: u64) {
    world.act(move |scene| scene.starts_within(&label, Duration::from_secs(seconds))).await;
}

#[then(regex = r#"^"([^"]+)" ends as a job cancelled before its start$"#)]
async fn cancelled_before_start(world: &mut World, label: String) {
    world.act(move |scene| scene.was_cancelled_before_start(&label)).await;
}

#[then(regex = r#"^health answers (\d+) times while "([^"]+)" goes on$"#)]
async fn health_answers(world: &mut World, times: usize, label: String) {
    world.act(move |scene| scene.health_answers_while(times, &label)).await;
}

#[then(regex = r#"^each of them has ended by the rules or was refused with 503 "BUSY" and Retry-After$"#)]
async fn ended_or_refused(world: &mut World) {
    world.act(|scene| scene.each_ended_or_was_refused()).await;
}

#[then("both clients read the same kinds of events")]
async fn same_events(world: &mut World) {
    world.act(|scene| scene.clients_agree(UNNAMED)).await;
}
