//! What a stream showed, by the contract's rules.

use std::time::Duration;

use cucumber::gherkin::Step;
use cucumber::then;

use super::World;
use super::world::pairs;

const UNNAMED: &str = "the job";

#[then(regex = r#"^the stream(?: "([^"]+)")? obeys (?:"([^"]+)"|every rule)$"#)]
async fn obeys(world: &mut World, label: String, rule: String) {
    let label = if label.is_empty() { UNNAMED.into() } else { label };
    world.act(move |scene| scene.obeys(&label, (!rule.is_empty()).then_some(rule.as_str()))).await;
}

#[then(regex = r#"^the stream "([^"]+)" ended with "([^"]+)"$"#)]
async fn ended_with(world: &mut World, label: String, event: String) {
    world.act(move |scene| scene.ended_with(&label, &event)).await;
}

#[then(regex = r#"^the stream "([^"]+)" ends with the error "([^"]+)" within (\d+) seconds of the cancel$"#)]
async fn ends_with_error(world: &mut World, label: String, code: String, seconds: u64) {
    world.act(move |scene| scene.ends_with_error(&label, &code, Duration::from_secs(seconds))).await;
}

#[then(regex = r#"^the tokens of "([^"]+)" stopped with the cancel$"#)]
async fn tokens_stopped(world: &mut World, label: String) {
    world.act(move |scene| scene.tokens_stopped_with_cancel(&label)).await;
}

#[then(regex = r#"^the stream "([^"]+)" carried no event before "([^"]+)" ended$"#)]
async fn silent_until(world: &mut World, waiting: String, running: String) {
    world.act(move |scene| scene.silent_until_end_of(&waiting, &running)).await;
}

#[then("the frames are exactly")]
async fn frames_are(world: &mut World, step: &Step) {
    let expected = pairs(step);
    world.act(move |scene| scene.frames_are(UNNAMED, &expected)).await;
}

#[then(regex = r#"^the frames carry the text "([^"]*)"$"#)]
async fn frames_carry(world: &mut World, text: String) {
    world.act(move |scene| scene.text_is(UNNAMED, &text)).await;
}

#[then(regex = r#"^the stream ended with the stop reason "([^"]+)"$"#)]
async fn stop_reason(world: &mut World, reason: String) {
    world.act(move |scene| scene.stopped_for(&reason)).await;
}

#[then("the stream named the stop sequence")]
async fn stop_sequence_named(world: &mut World) {
    world.act(|scene| scene.stop_sequence_is_named()).await;
}
