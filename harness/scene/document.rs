//! The OpenAPI document that the worker publishes, against the contract written by another hand.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Scene;
use super::calls::message_called;
use crate::harness::Finding;
use crate::harness::target::Target;

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

    /// The same properties, and the same of them required.
    pub fn document_agrees(&mut self, schema: &str, message: &str) -> Result<(), Finding> {
        if !matches!(self.session.target, Target::BuiltIn { .. }) {
            let found = "another worker's document names its schemas as it likes";
            return Err(Finding::unimplemented(format!("the schema {schema:?} of our own document"), found));
        }
        let document = self.document()?;
        let published = &document["components"]["schemas"][schema];
        if published.is_null() {
            let known = document["components"]["schemas"].as_object();
            let names: Vec<&String> = known.map(|schemas| schemas.keys().collect()).unwrap_or_default();
            return Err(Finding::fail(format!("a schema {schema:?} in the document"), format!("only {names:?}")));
        }
        let contract: Value = serde_json::from_str(message_called(message)?.schema())
            .map_err(|error| Finding::error("a schema of the contract", error.to_string()))?;
        for (what, read) in [("properties", properties as fn(&Value) -> BTreeSet<String>), ("required", required)] {
            let (ours, theirs) = (read(&contract), read(published));
            if ours != theirs {
                let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                    a.difference(b).cloned().collect::<Vec<_>>().join(", ")
                };
                let found = format!(
                    "only in the contract: [{}]; only in the document: [{}]",
                    only(&ours, &theirs),
                    only(&theirs, &ours)
                );
                return Err(Finding::fail(format!("{schema}: the contract's {what}"), found));
            }
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
