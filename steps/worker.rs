//! The worker itself: how it is started, how it is stopped, how it leaves.

use std::time::Duration;

use cucumber::{given, then, when};

use super::World;
use crate::harness::scene::start::{Called, Kind, Way};

#[given(regex = r"^a (fresh )?(stub )?worker( with long jobs| that computes|)$")]
async fn a_worker(world: &mut World, fresh: String, stub: String, kind: String) {
    let kind = if stub.is_empty() { Kind::of(&kind) } else { Kind::Stub };
    world.act(move |scene| scene.start(kind, !fresh.is_empty(), &[])).await;
}

#[given(regex = r#"^a fresh worker with long jobs, started with "([^"]*)"$"#)]
async fn a_worker_with_flags(world: &mut World, flags: String) {
    world.act(move |scene| scene.start(Kind::LongJobs, true, &shlex::split(&flags).unwrap_or_default())).await;
}

#[given(regex = r"^a fresh (stub )?worker (with a spawn token )?that calls it back$")]
async fn a_worker_that_calls_back(world: &mut World, stub: String, token: String) {
    world.act(move |scene| scene.start_with_callback(!stub.is_empty(), !token.is_empty())).await;
}

#[given("a fresh worker with an API token")]
async fn a_worker_with_a_token(world: &mut World) {
    world.act(|scene| scene.start_with_token()).await;
}

#[when("the worker is started afresh")]
async fn started_afresh(world: &mut World) {
    world.act(|scene| scene.restart()).await;
}

#[when(regex = r#"^the worker is started with "([^"]*)"$"#)]
async fn started_with(world: &mut World, flags: String) {
    world.act(move |scene| scene.launch(&shlex::split(&flags).unwrap_or_default())).await;
}

#[when("the worker is started on a model file that does not exist")]
async fn started_without_model(world: &mut World) {
    world.act(|scene| scene.launch_without_model()).await;
}

#[when("the worker is started on a port that is taken")]
async fn started_on_a_taken_port(world: &mut World) {
    world.act(|scene| scene.launch_on_taken_port()).await;
}

#[when(regex = r"^the worker is started with the port from the (.+)$")]
async fn started_with_sources(world: &mut World, sources: String) {
    world.act(move |scene| scene.launch_with_ports_from(&sources)).await;
}

#[when("the worker is started to call it back")]
async fn started_to_call_back(world: &mut World) {
    world.act(|scene| scene.launch_with_callback(Called::PoolManager)).await;
}

#[when(regex = r#"^(?:the|a stub) worker is started with the callback "([^"]*)"$"#)]
async fn started_with_callback(world: &mut World, url: String) {
    world.act(move |scene| scene.launch_with_callback(Called::Address(url))).await;
}

#[when(regex = r"^the worker is told to stop by (SIGTERM|SIGINT|POST /shutdown)$")]
async fn told_to_stop(world: &mut World, way: String) {
    world.act(move |scene| scene.stop(Way::of(&way))).await;
}

#[when("the worker has begun to drain")]
async fn has_begun_to_drain(world: &mut World) {
    world.act(|scene| scene.wait_for_drain()).await;
}

#[then(regex = r"^the worker exits with (?:code (\d+)|a code other than 0) within (\d+) seconds?$")]
async fn exits(world: &mut World, code: String, seconds: u64) {
    world.act(move |scene| scene.exits(code.parse().ok(), Duration::from_secs(seconds))).await;
}

#[then("the worker answers")]
async fn answers(world: &mut World) {
    world.act(|scene| scene.answers()).await;
}

#[then(regex = r"^the worker answers on the port from the (flag|environment|file)$")]
async fn answers_on_port(world: &mut World, winner: String) {
    world.act(move |scene| scene.answers_on_port_from(&winner)).await;
}

#[then("the log names a port on which the worker answers")]
async fn log_names_port(world: &mut World) {
    world.act(|scene| scene.log_names_its_port()).await;
}

#[then(regex = r#"^its (?:error )?output mentions "([^"]*)"$"#)]
async fn output_mentions(world: &mut World, text: String) {
    world.act(move |scene| scene.output_mentions(&text)).await;
}

#[then("its output names the model file")]
async fn output_names_model(world: &mut World) {
    world.act(|scene| scene.output_names_the_model()).await;
}

#[then("the harness recognises the worker as a stub")]
async fn recognised_as_stub(world: &mut World) {
    world.act(|scene| scene.is_recognised_as_stub()).await;
}

#[then(regex = r"^the uptime grows within (\d+) seconds$")]
async fn uptime_grows(world: &mut World, seconds: u64) {
    world.act(move |scene| scene.uptime_grows(Duration::from_secs(seconds))).await;
}
