//! Machines of their own, which come and go.

use cucumber::{given, then, when};

use super::World;
use super::world::list;
use crate::harness::Settle;
use crate::harness::containers::story::Ending;

#[given(regex = r"^an orchestrator and the nodes ([\w, ]+) on machines of their own$")]
fn machines(world: &mut World, nodes: String) {
    world.scene.start_fleet(&list(&nodes)).settle();
}

#[when(regex = r#"^"([^"]+)" of (\d+) tokens runs on (any machine|node (\w+))(?:, and (\d+) tokens came)?$"#)]
fn runs(world: &mut World, label: String, tokens: u64, _where: String, node: String, seen: String) {
    let node = (!node.is_empty()).then_some(node.as_str());
    world.scene.run_on_fleet(&label, tokens, node, seen.parse().unwrap_or(0)).settle();
}

#[when(
    regex = r"^the machine of (the orchestrator|node \w+) (is cut off|is back on the network|is killed|is told to stop|starts again)$"
)]
fn happens(world: &mut World, whom: String, what: String) {
    world.scene.machine_happens(&whom, &what).settle();
}

#[when("every machine is stopped and started again, one after the other, while tasks run")]
fn rolled(world: &mut World) {
    world.scene.roll_fleet().settle();
}

#[then(regex = r#"^"([^"]+)" (comes to its end|is told that its worker was lost), and reads the same again$"#)]
fn ends(world: &mut World, label: String, how: String) {
    let ending = if how == "comes to its end" { Ending::Whole } else { Ending::Reset };
    world.scene.fleet_stream_ends(&label, ending).settle();
}

#[then(regex = r"^node (\w+) is (online|offline)(?:, with (\d+) free slots?)?$")]
fn node_is(world: &mut World, name: String, state: String, slots: String) {
    world.scene.node_is(&name, &state, slots.parse().ok()).settle();
}

#[then("every task has its ending, and reads the same again")]
fn nothing_lost(world: &mut World) {
    world.scene.nothing_was_lost().settle();
}
