//! Counters, before and after.

use cucumber::{then, when};

use super::World;
use super::world::list;

#[when("the metrics are scraped")]
async fn scraped(world: &mut World) {
    world.act(|scene| scene.scrape()).await;
}

#[then(regex = r#"^the scrape carries "([^"]+)"$"#)]
async fn carries(world: &mut World, names: String) {
    world.act(move |scene| scene.scrape_carries(&list(&names))).await;
}

#[then("both scrapes are equal, uptime aside")]
async fn equal(world: &mut World) {
    world.act(|scene| scene.scrapes_are_equal()).await;
}

#[then(regex = r#"^"([^"]+)" has risen by the job's tokens_out$"#)]
async fn risen_by_tokens(world: &mut World, name: String) {
    world.act(move |scene| scene.risen_by_tokens_out(&name)).await;
}

#[then(regex = r#"^"([^"]+)" with outcome "([^"]+)" has risen by (\d+)$"#)]
async fn risen(world: &mut World, name: String, outcome: String, by: u32) {
    world.act(move |scene| scene.outcome_has_risen(&name, &outcome, by)).await;
}
