//! The OpenAPI document that a worker publishes.

use cucumber::then;

use super::World;
use super::world::list;
use crate::harness::Settle;

#[then(regex = r#"^the document describes "([^"]+)"$"#)]
fn describes(world: &mut World, paths: String) {
    world.scene.document_describes(&list(&paths)).settle();
}

#[then(regex = r#"^the document's schema "([^"]+)" has the fields of the contract "([^"]+)"$"#)]
fn same_fields(world: &mut World, schema: String, message: String) {
    world.scene.document_agrees(&schema, &message).settle();
}
