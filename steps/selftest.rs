//! The harness against workers that are wrong on purpose, and against those that are only unusual.

use cucumber::{given, then, when};

use super::World;

#[given(regex = r#"^the scripted worker that (?:makes the mistake|has the oddity) "([^"]+)"$"#)]
async fn scripted(world: &mut World, name: String) {
    world.act(move |scene| scene.choose_scripted(&name)).await;
}

#[when(regex = r#"^the case "([^"]+)" judges it$"#)]
async fn judged(world: &mut World, address: String) {
    world.act(move |scene| scene.judge_scripted(&address)).await;
}

#[then("it is caught")]
async fn caught(world: &mut World) {
    world.act(|scene| scene.is_caught()).await;
}

#[then("it is passed")]
async fn passed(world: &mut World) {
    world.act(|scene| scene.is_passed()).await;
}
