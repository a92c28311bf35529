//! Answers held against an OpenAPI document: its paths, their statuses, and the schema of each answer.

use std::collections::BTreeSet;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use crate::harness::Finding;
use crate::harness::http::Answer;

const PLACE: &str = "https://llorch.invalid/openapi";

pub struct Described {
    document: Value,
}

impl Described {
    /// A document with paths, whose operations can be told apart by their names.
    pub fn new(document: Value) -> Result<Described, Finding> {
        let paths = document["paths"].as_object().filter(|paths| !paths.is_empty());
        let paths = paths.ok_or_else(|| Finding::fail("an OpenAPI document with paths", document.to_string()))?;
        let mut names = BTreeSet::new();
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().into_iter().flatten() {
                let name = operation["operationId"].as_str();
                if !name.is_some_and(|name| names.insert(name)) {
                    let expected = "operationIds that tell each operation from the others";
                    return Err(Finding::fail(expected, format!("{method} {path}: {name:?}")));
                }
            }
        }
        Ok(Described { document })
    }

    /// The template that a path is an instance of, the more literal one first.
    fn template(&self, path: &str) -> Option<String> {
        let parts = |path: &str| path.split('?').next().unwrap_or_default().split('/').map(str::to_owned).collect();
        let asked: Vec<String> = parts(path);
        let fits = |template: &&String| {
            let template: Vec<String> = parts(template);
            template.len() == asked.len()
                && template.iter().zip(&asked).all(|(part, asked)| part == asked || part.starts_with('{'))
        };
        let mut fitting: Vec<&String> = self.document["paths"].as_object()?.keys().filter(fits).collect();
        fitting.sort_by_key(|template| template.matches('{').count());
        fitting.first().map(|template| (*template).clone())
    }

    pub fn check(&self, method: &str, path: &str, answer: &Answer) -> Result<(), Finding> {
        let asked = format!("{method} {path}");
        let complain = |expected: String, found: String| Err(answer.evidence(Finding::fail(expected, found)));
        let Some(template) = self.template(path) else {
            return match answer.status {
                404 => Ok(()),
                status => {
                    complain(format!("{asked} in the document"), format!("it is not there, and answers {status}"))
                }
            };
        };
        let operation = &self.document["paths"][&template][method.to_lowercase()];
        if operation.is_null() && answer.status == 405 {
            return Ok(());
        }
        let status = answer.status.to_string();
        let response = &operation["responses"][&status];
        if response.is_null() {
            return complain(format!("the status {status} of {asked} in the document"), "it is not there".into());
        }
        // A shared response stands under its name.
        let response = match response["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
            Some(pointer) => self.document.pointer(pointer).unwrap_or(response),
            None => response,
        };
        let content = answer.content_type();
        let described = response["content"].as_object();
        let Some(described) = described.filter(|described| !described.is_empty()) else {
            return if answer.body.is_empty() {
                Ok(())
            } else {
                complain(format!("no body with {status} of {asked}, as in the document"), answer.text())
            };
        };
        let Some(form) = described.get(&content) else {
            return complain(format!("a content type of {:?} for {asked}", described.keys()), content);
        };
        if content != "application/json" {
            return Ok(());
        }
        self.validate(&form["schema"], &answer.json()?).map_err(|reason| {
            let expected = format!("the body of {status} of {asked} as the document describes it");
            answer.evidence(Finding::fail(expected, reason))
        })
    }

    fn validate(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let mut compiler = Compiler::new();
        compiler.enable_format_assertions();
        let mut root = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "components": self.document["components"],
        });
        root["allOf"] = json!([schema]);
        let mut schemas = Schemas::new();
        compiler.add_resource(PLACE, root).map_err(|error| error.to_string())?;
        let index = compiler.compile(PLACE, &mut schemas).map_err(|error| error.to_string())?;
        schemas.validate(body, index).map_err(|error| format!("{error:#}"))
    }
}
