//! The harness against workers that are wrong on purpose, and against those that are only unusual.

use cucumber::{given, then, when};

use super::World;
use super::world::list;
use crate::harness::Settle;

#[given(regex = r#"^the scripted worker that (?:is honest|(?:makes the mistake|has the oddity) "([^"]+)")$"#)]
fn scripted(world: &mut World, name: String) {
    world.scene.choose_scripted((!name.is_empty()).then_some(name.as_str())).settle();
}

#[given(regex = r#"^an orchestrator that makes the mistake "([^"]+)"$"#)]
fn faulty_orchestrator(world: &mut World, name: String) {
    world.scene.choose_slip(&name).settle();
}

#[given(
    regex = r#"^the (scripted engine|real llama-server) (asked as \w+|in llama-server's place)(?:, that (?:is honest|makes the mistake "([^"]+)"))?$"#
)]
fn engine(world: &mut World, which: String, role: String, mistake: String) {
    world.scene.choose_engine(which == "scripted engine", &role, &mistake).settle();
}

#[when(regex = r#"^the cases? "([^"]+)" judges? it$"#)]
fn judged(world: &mut World, addresses: String) {
    world.scene.judge_scripted(&list(&addresses)).settle();
}

#[given(regex = r#"^the cheat "([^"]+)"$"#)]
fn cheat(world: &mut World, name: String) {
    world.scene.choose_cheat(&name).settle();
}

#[when(regex = r"^rung (\d) judges it$")]
fn judged_by_rung(world: &mut World, rung: u8) {
    world.scene.judge_by_rung(rung).settle();
}

#[then("it is caught")]
fn caught(world: &mut World) {
    world.scene.is_caught().settle();
}

#[then("it is passed")]
fn passed(world: &mut World) {
    world.scene.is_passed().settle();
}
