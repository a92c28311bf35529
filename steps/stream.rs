//! What a stream showed, by the contract's rules.

use std::time::Duration;

use cucumber::gherkin::Step;
use cucumber::then;

use super::World;
use super::world::pairs;
use crate::harness::Settle;

const UNNAMED: &str = "the job";

#[then(regex = r#"^the stream(?: "([^"]+)")? obeys (?:"([^"]+)"|every rule)$"#)]
fn obeys(world: &mut World, label: String, rule: String) {
    let label = if label.is_empty() { UNNAMED.into() } else { label };
    world.scene.obeys(&label, (!rule.is_empty()).then_some(rule.as_str())).settle();
}

#[then(regex = r#"^the stream "([^"]+)" ended with "([^"]+)"$"#)]
fn ended_with(world: &mut World, label: String, event: String) {
    world.scene.ended_with(&label, &event).settle();
}

#[then(regex = r#"^the stream "([^"]+)" ends with the error "([^"]+)" within (\d+) seconds of the cancel$"#)]
fn ends_with_error(world: &mut World, label: String, code: String, seconds: u64) {
    world.scene.ends_with_error(&label, &code, Duration::from_secs(seconds)).settle();
}

#[then(regex = r#"^the tokens of "([^"]+)" stopped with the cancel$"#)]
fn tokens_stopped(world: &mut World, label: String) {
    world.scene.tokens_stopped_with_cancel(&label).settle();
}

#[then(regex = r#"^the stream "([^"]+)" carried no event before "([^"]+)" ended$"#)]
fn silent_until(world: &mut World, waiting: String, running: String) {
    world.scene.silent_until_end_of(&waiting, &running).settle();
}

#[then("the frames are exactly")]
fn frames_are(world: &mut World, step: &Step) {
    let expected = pairs(step);
    world.scene.frames_are(UNNAMED, &expected).settle();
}

#[then(regex = r#"^the frames carry the text "([^"]*)"$"#)]
fn frames_carry(world: &mut World, text: String) {
    world.scene.text_is(UNNAMED, &text).settle();
}
