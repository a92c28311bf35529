//! Counters, before and after.

use cucumber::{then, when};

use super::World;
use super::world::list;
use crate::harness::Settle;

#[when("the metrics are scraped")]
fn scraped(world: &mut World) {
    world.scene.scrape().settle();
}

#[then(regex = r#"^the scrape carries "([^"]+)"$"#)]
fn carries(world: &mut World, names: String) {
    world.scene.scrape_carries(&list(&names)).settle();
}

#[then("both scrapes are equal, uptime aside")]
fn equal(world: &mut World) {
    world.scene.scrapes_are_equal().settle();
}

#[then(regex = r#"^"([^"]+)" has risen by (?:the job's tokens_out|the tokens_out of "([^"]+)")$"#)]
fn risen_by_tokens(world: &mut World, name: String, labels: String) {
    if labels.is_empty() {
        world.scene.risen_by_tokens_out(&name).settle();
    } else {
        world.scene.risen_by_tokens_out_of(&name, &list(&labels)).settle();
    }
}

#[then("no label of the scrape is an id")]
fn no_label_is_an_id(world: &mut World) {
    world.scene.no_label_is_an_id().settle();
}

#[then(regex = r#"^"([^"]+)" with outcome "([^"]+)" has risen by (\d+)$"#)]
fn risen(world: &mut World, name: String, outcome: String, by: u32) {
    world.scene.outcome_has_risen(&name, &outcome, by).settle();
}
