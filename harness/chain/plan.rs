//! What a chain consists of.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Models;
use crate::harness::Finding;

/// More tokens than any task asks for: a paced worker stops at `max_tokens`.
const PLENTY: &str = "2048";

#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Variables of the orchestrator; tokens among them are the nodes' too.
    pub settings: Vec<(String, String)>,
    /// Variables of every node.
    pub node_settings: Vec<(String, String)>,
    pub nodes: Vec<NodePlan>,
}

impl Plan {
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug)]
pub struct NodePlan {
    pub name: String,
    pub pool: String,
    pub workers: Vec<WorkerPlan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerPlan {
    /// The tiny model, computed.
    Haiku,
    /// The stub, with this much time before each token.
    Paced(Duration),
}

impl WorkerPlan {
    /// `haiku`, or `10 ms`.
    pub fn of(words: &str) -> Result<WorkerPlan, Finding> {
        let paced = words.strip_suffix(" ms").and_then(|number| number.trim().parse().ok()).map(Duration::from_millis);
        match (words, paced) {
            ("haiku", _) => Ok(WorkerPlan::Haiku),
            (_, Some(pace)) => Ok(WorkerPlan::Paced(pace)),
            _ => Err(Finding::error("a worker: haiku, or its pace as in `10 ms`", words)),
        }
    }

    fn backend(self) -> String {
        match self {
            WorkerPlan::Haiku => "cpu".to_owned(),
            WorkerPlan::Paced(pace) => format!("paced-{}", pace.as_millis()),
        }
    }

    pub fn model<'a>(self, models: &'a Models) -> &'a str {
        match self {
            WorkerPlan::Haiku => &models.haiku,
            WorkerPlan::Paced(_) => &models.paced,
        }
    }
}

impl NodePlan {
    /// The pool manager's configuration file.
    pub(super) fn configuration(&self, llorch: &Path, models: &Models) -> Value {
        let mut programs = serde_json::Map::new();
        let mut workers = Vec::new();
        for worker in &self.workers {
            if let WorkerPlan::Paced(pace) = worker {
                let pace = pace.as_millis().to_string();
                let words = ["llorch-cpud", "--backend", "stub", "--stub-tokens", PLENTY, "--stub-delay-ms", &pace];
                let mut command = vec![llorch.display().to_string()];
                command.extend(words.map(str::to_owned));
                programs.insert(worker.backend(), json!(command));
            }
            workers.push(json!({
                "pool_id": self.pool, "model_ref": worker.model(models), "backend": worker.backend(), "supervise": true,
            }));
        }
        json!({ "programs": programs, "workers": workers })
    }
}
