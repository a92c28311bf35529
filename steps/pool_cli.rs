//! The pool's tool, and the machine that it works on.

use std::time::Duration;

use cucumber::gherkin::Step;
use cucumber::{given, then, when};

use super::World;
use super::world::{pairs, rows};
use crate::harness::Settle;

#[given(regex = r"^a pool machine(?: whose hf (.+))?$")]
fn pool_machine(world: &mut World, hf: String) {
    world.scene.have_pool_machine((!hf.is_empty()).then_some(hf.as_str())).settle();
}

#[given(regex = r#"^a pool machine that has the haiku model as "([^"]+)"$"#)]
fn pool_machine_with_model(world: &mut World, id: String) {
    world.scene.have_pool_machine_with_model(&id).settle();
}

#[given(regex = r"^a pool machine, and a hub that serves the (.+?) model(?: and (.+))?$")]
fn hub(world: &mut World, shape: String, mishap: String) {
    world.scene.have_hub(&shape, &mishap).settle();
}

#[given(regex = r"^it is reached over (a recording ssh|a real sshd)$")]
fn reached_over(world: &mut World, server: String) {
    world.scene.reach_over_ssh(server == "a real sshd").settle();
}

#[when(regex = r#"^the command "(.+)" is run(?: (\d+) times at once)?$"#)]
fn run(world: &mut World, line: String, times: String) {
    match times.parse() {
        Ok(times) => world.scene.run_tool_at_once(&line, times).settle(),
        Err(_) => world.scene.run_tool(&line).settle(),
    }
}

#[when(regex = r#"^the command "(.+)" is run, and (the tool|everything) gets (SIG[A-Z]+) half-way$"#)]
fn run_and_signal(world: &mut World, line: String, whom: String, signal: String) {
    world.scene.run_tool_and_signal(&line, &signal, &whom).settle();
}

#[when(regex = r#"^a worker on "([^"]+)" is spawned for the model "([^"]+)"$"#)]
fn spawn_for(world: &mut World, backend: String, model: String) {
    world.scene.spawn_for(&backend, &model).settle();
}

#[when(regex = r"^meanwhile (.+)$")]
fn meanwhile(world: &mut World, what: String) {
    world.scene.meanwhile(&what).settle();
}

#[then(regex = r#"^the command exits with code (\d+) and says "(.*)"$"#)]
fn exits_and_says(world: &mut World, code: i32, says: String) {
    world.scene.tool_ended(code, &says).settle();
}

#[then(regex = r#"^(\d+) of them succeed, and the others say "(.*)"$"#)]
fn of_them_succeed(world: &mut World, succeed: usize, says: String) {
    world.scene.tools_ended(succeed, &says).settle();
}

#[then("the command prints a document with:")]
fn prints_document(world: &mut World, step: &Step) {
    world.scene.output_is_json_with(&pairs(step)).settle();
}

#[then("the catalog says:")]
fn catalog_says(world: &mut World, step: &Step) {
    world.scene.catalog_says(&pairs(step)).settle();
}

#[then("the catalog is unchanged")]
fn catalog_is_unchanged(world: &mut World) {
    world.scene.catalog_is_unchanged().settle();
}

#[then(regex = r"^the catalog has (\d+) models$")]
fn catalog_has(world: &mut World, models: usize) {
    world.scene.catalog_has(models).settle();
}

#[then("a catalog that is cut is refused and left as it is")]
fn cuts_are_refused(world: &mut World) {
    world.scene.every_cut_is_refused().settle();
}

#[then(regex = r"^(hf|ssh) was run with exactly:$")]
fn was_run_with(world: &mut World, program: String, step: &Step) {
    let words: Vec<String> = rows(step).into_iter().flatten().collect();
    world.scene.was_run_with(&program, &words).settle();
}

#[then(regex = r"^hf was run (\d+) times$")]
fn hf_was_run(world: &mut World, times: usize) {
    world.scene.hf_was_run(times).settle();
}

#[then("the hub was asked for the rest of the weights")]
fn asked_for_a_rest(world: &mut World) {
    world.scene.hub_was_asked_for_a_rest().settle();
}

#[then(regex = r"^the pool's worker (runs in a session of its own|left no file|is gone)$")]
fn worker_is(world: &mut World, words: String) {
    world.scene.worker_is(&words).settle();
}

#[then(regex = r#"^the machine has (a|no) "([^"]+)"$"#)]
fn machine_has(world: &mut World, whether: String, name: String) {
    world.scene.machine_has(&name, whether == "a").settle();
}

#[then(regex = r"^the tool starts within (\d+) milliseconds$")]
fn starts_within(world: &mut World, most: u64) {
    world.scene.tool_starts_within(Duration::from_millis(most)).settle();
}
