//! The worker itself: how it is started, how it is stopped, how it leaves.

use std::time::Duration;

use cucumber::{given, then, when};

use super::World;
use crate::harness::Settle;
use crate::harness::scene::start::{Called, Kind, Way};

#[given(regex = r"^a (fresh )?(stub )?worker( with long jobs| that computes|)$")]
fn a_worker(world: &mut World, fresh: String, stub: String, kind: String) {
    let kind = if stub.is_empty() { Kind::of(&kind) } else { Kind::Stub };
    world.scene.start(kind, !fresh.is_empty(), &[]).settle();
}

#[given(regex = r#"^a fresh worker with (?:an API token|long jobs, started with "([^"]*)")$"#)]
fn a_worker_with_flags(world: &mut World, flags: String) {
    if flags.is_empty() {
        world.scene.start_with_token().settle();
    } else {
        world.scene.start(Kind::LongJobs, true, &shlex::split(&flags).unwrap_or_default()).settle();
    }
}

#[given(regex = r"^a fresh (stub )?worker (with a spawn token )?that calls it back$")]
fn a_worker_that_calls_back(world: &mut World, stub: String, token: String) {
    world.scene.start_with_callback(!stub.is_empty(), !token.is_empty()).settle();
}

#[when("the worker is started afresh")]
fn started_afresh(world: &mut World) {
    world.scene.restart().settle();
}

#[when(regex = r#"^the worker is started with "([^"]*)"$"#)]
fn started_with(world: &mut World, flags: String) {
    world.scene.launch(&shlex::split(&flags).unwrap_or_default()).settle();
}

#[when(regex = r"^the worker is started (on a model file that does not exist|on a port that is taken)$")]
fn started_hopelessly(world: &mut World, how: String) {
    if how.contains("model") {
        world.scene.launch_without_model().settle();
    } else {
        world.scene.launch_on_taken_port().settle();
    }
}

#[when(regex = r"^the worker is started with the port from the (.+)$")]
fn started_with_sources(world: &mut World, sources: String) {
    world.scene.launch_with_ports_from(&sources).settle();
}

#[when(regex = r"^the worker is started to call it back(, on a port of its own choosing)?$")]
fn started_to_call_back(world: &mut World, own_port: String) {
    if own_port.is_empty() {
        world.scene.launch_with_callback(Called::PoolManager).settle();
    } else {
        world.scene.launch_with_callback_on_free_port().settle();
    }
}

#[when(regex = r#"^(?:the|a stub) worker is started with the callback "([^"]*)"$"#)]
fn started_with_callback(world: &mut World, url: String) {
    world.scene.launch_with_callback(Called::Address(url)).settle();
}

#[when(regex = r"^the worker is told to stop by (SIGTERM|SIGINT|POST /shutdown)$")]
fn told_to_stop(world: &mut World, way: String) {
    world.scene.stop(Way::of(&way)).settle();
}

#[when("the worker has begun to drain")]
fn has_begun_to_drain(world: &mut World) {
    world.scene.wait_for_drain().settle();
}

#[then(regex = r"^the worker exits with (?:code (\d+)|a code other than 0) within (\d+) seconds?$")]
fn exits(world: &mut World, code: String, seconds: u64) {
    world.scene.exits(code.parse().ok(), Duration::from_secs(seconds)).settle();
}

#[then(regex = r"^the worker answers(?: on the port from the (flag|environment|file))?$")]
fn answers(world: &mut World, winner: String) {
    if winner.is_empty() {
        world.scene.answers().settle();
    } else {
        world.scene.answers_on_port_from(&winner).settle();
    }
}

#[then("the log names a port on which the worker answers")]
fn log_names_port(world: &mut World) {
    world.scene.log_names_its_port().settle();
}

#[then(regex = r#"^its (?:error )?output (?:mentions "([^"]*)"|names the model file)$"#)]
fn output_mentions(world: &mut World, text: String) {
    if text.is_empty() {
        world.scene.output_names_the_model().settle();
    } else {
        world.scene.output_mentions(&text).settle();
    }
}

#[then("the harness recognises the worker as a stub")]
fn recognised_as_stub(world: &mut World) {
    world.scene.is_recognised_as_stub().settle();
}

#[then(regex = r"^the uptime grows within (\d+) seconds$")]
fn uptime_grows(world: &mut World, seconds: u64) {
    world.scene.uptime_grows(Duration::from_secs(seconds)).settle();
}
