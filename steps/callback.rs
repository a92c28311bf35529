//! The ready callback, as the pool manager sees it.

use cucumber::{given, then};

use super::World;

#[given(
    regex = r"^a pool manager that (accepts|fails once|always fails|refuses the connection|never answers|answers \d+)$"
)]
async fn a_pool_manager(world: &mut World, manner: String) {
    world.act(move |scene| scene.open_pool_manager(&manner)).await;
}

#[then(regex = r#"^the callback matches the contract "([^"]+)"$"#)]
async fn matches(world: &mut World, message: String) {
    world.act(move |scene| scene.callback_matches(&message)).await;
}

#[then("the callback carries the worker's id")]
async fn carries_id(world: &mut World) {
    world.act(|scene| scene.callback_carries_id()).await;
}

#[then("the callback's uri is where the worker answers")]
async fn uri_answers(world: &mut World) {
    world.act(|scene| scene.callback_uri_answers()).await;
}

#[then("the worker answered already when the callback came")]
async fn answered_already(world: &mut World) {
    world.act(|scene| scene.answered_before_callback()).await;
}

#[then(regex = r"^the worker called back exactly (\d+) times?$")]
async fn called_back(world: &mut World, times: usize) {
    world.act(move |scene| scene.called_back(times)).await;
}

#[then("the callback carries the spawn token as its bearer")]
async fn carries_token(world: &mut World) {
    world.act(|scene| scene.callback_carries_token()).await;
}

#[then("the attempts came at growing distances")]
async fn growing_distances(world: &mut World) {
    world.act(|scene| scene.attempts_back_off()).await;
}
