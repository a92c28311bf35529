//! The OpenAPI document that the worker publishes, against the contract written by another hand.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Scene;
use super::calls::message_called;
use crate::harness::Finding;

impl Scene {
    fn document(&self) -> Result<Value, Finding> {
        self.answer()?.json()
    }

    pub fn document_describes(&mut self, paths: &[String]) -> Result<(), Finding> {
        let document = self.document()?;
        let missing: Vec<&str> =
            paths.iter().filter(|path| document["paths"].get(path.as_str()).is_none()).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Finding::fail(format!("paths {}", paths.join(", ")), format!("no {}", missing.join(", "))))
    }

    /// The same fields required, and no field that the contract does not know; what is optional there may be absent here.
    pub fn document_agrees(&mut self, schema: &str, message: &str) -> Result<(), Finding> {
        let document = self.document()?;
        let published = &document["components"]["schemas"][schema];
        if published.is_null() {
            let known = document["components"]["schemas"].as_object();
            let names: Vec<&String> = known.map(|schemas| schemas.keys().collect()).unwrap_or_default();
            return Err(Finding::fail(format!("a schema {schema:?} in the document"), format!("only {names:?}")));
        }
        let contract: Value = serde_json::from_str(message_called(message)?.schema())
            .map_err(|error| Finding::error("a schema of the contract", error.to_string()))?;
        let listed = |names: BTreeSet<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(", ");
        let (ours, theirs) = (required(&contract), required(published));
        if ours != theirs {
            let found = format!(
                "required only by the contract: [{}]; only by the document: [{}]",
                listed(ours.difference(&theirs).collect()),
                listed(theirs.difference(&ours).collect())
            );
            return Err(Finding::fail(format!("{schema}: the fields that the contract requires"), found));
        }
        let (known, published) = (properties(&contract), properties(published));
        let unknown: BTreeSet<&String> = published.difference(&known).collect();
        if !unknown.is_empty() {
            let found = format!("also {}", listed(unknown));
            return Err(Finding::fail(format!("{schema}: only fields that the contract knows"), found));
        }
        Ok(())
    }
}

fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

fn required(schema: &Value) -> BTreeSet<String> {
    let names = schema["required"].as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
