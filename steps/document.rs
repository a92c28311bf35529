//! The OpenAPI document that a worker publishes.

use cucumber::then;

use super::World;
use super::world::list;

#[then(regex = r#"^the document describes "([^"]+)"$"#)]
async fn describes(world: &mut World, paths: String) {
    world.act(move |scene| scene.document_describes(&list(&paths))).await;
}

#[then(regex = r#"^the document's schema "([^"]+)" has the fields of the contract "([^"]+)"$"#)]
async fn same_fields(world: &mut World, schema: String, message: String) {
    world.act(move |scene| scene.document_agrees(&schema, &message)).await;
}
