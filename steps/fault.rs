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

#[given(regex = r#"^the capture of transformers with the mistake "([^"]+)"$"#)]
fn transplant(world: &mut World, name: String) {
    world.scene.transplant(&name).settle();
}

#[then(regex = r#"^it parts from the honest one first at "([^"]+)"$"#)]
fn parts_first_at(world: &mut World, tensor: String) {
    world.scene.transplant_parts_first_at(&tensor).settle();
}

#[then(regex = r#"^the diagnosis of the capture names "([^"]+)"$"#)]
fn transplant_named(world: &mut World, fault: String) {
    world.scene.transplant_is_named(&fault).settle();
}

#[then("nothing is wrong with it")]
fn transplant_right(world: &mut World) {
    world.scene.transplant_is_right().settle();
}
