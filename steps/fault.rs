//! Mistakes in the reference.

use cucumber::{given, then};

use super::World;
use crate::harness::Settle;

#[given(regex = r#"^the reference with the fault "([^"]+)"$"#)]
fn injected(world: &mut World, slug: String) {
    world.scene.inject(&slug).settle();
}

#[then(regex = r#"^it shows first at "([^"]+)", and nowhere that it does not touch$"#)]
fn shows(world: &mut World, tensor: String) {
    world.scene.fault_shows_first_at(&tensor).settle();
}

#[then("the diagnosis names it")]
fn named(world: &mut World) {
    world.scene.fault_is_named().settle();
}
