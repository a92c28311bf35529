//! What a chain consists of.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Models;
use crate::harness::Finding;
use crate::model::configuration::LlamaArchitecture;

/// More tokens than any task asks for: a paced worker stops at `max_tokens`.
const PLENTY: &str = "2048";

#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Variables of the orchestrator; tokens among them are the nodes' too.
    pub settings: Vec<(String, String)>,
    /// Variables of every node.
    pub node_settings: Vec<(String, String)>,
    pub nodes: Vec<NodePlan>,
    /// What tasks run on, where that is no worker of the plan.
    pub model: Option<String>,
}

impl Plan {
    pub fn llama_model(&self) -> Option<LlamaModel> {
        let workers = self.nodes.iter().flat_map(|node| &node.workers);
        workers.into_iter().find_map(|worker| match worker {
            WorkerPlan::Llama(model) => Some(*model),
            _ => None,
        })
    }

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
    /// The stub, with this much time before each token, and so many seconds for a job at the most.
    Paced(Duration, Option<u64>),
    /// A real `llama-server`, found by the node.
    Llama(LlamaModel),
}

/// What a `llama-server` is started on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlamaModel {
    Haiku,
    /// Weights that never existed before, of GPT-2's shape or of another.
    Fresh(Option<LlamaArchitecture>),
    /// Steps that take milliseconds.
    Slow,
    /// The file that LLORCH_HAIKU_MODEL names.
    Named,
}

impl WorkerPlan {
    /// `haiku`, `10 ms`, `10 ms for 1 s`, or `llama-server` with what it runs on.
    pub fn of(words: &str) -> Result<WorkerPlan, Finding> {
        let (pace, limit) = words.split_once(" for ").unwrap_or((words, ""));
        let paced = pace.strip_suffix(" ms").and_then(|number| number.trim().parse().ok()).map(Duration::from_millis);
        let limit = limit.strip_suffix(" s").and_then(|number| number.parse().ok());
        match (words, paced) {
            ("haiku", _) => Ok(WorkerPlan::Haiku),
            ("llama-server", _) => Ok(WorkerPlan::Llama(LlamaModel::Haiku)),
            ("llama-server on fresh weights", _) => Ok(WorkerPlan::Llama(LlamaModel::Fresh(None))),
            ("llama-server on fresh Llama weights", _) => {
                Ok(WorkerPlan::Llama(LlamaModel::Fresh(Some(LlamaArchitecture::Llama))))
            }
            ("llama-server on fresh Qwen2 weights", _) => {
                Ok(WorkerPlan::Llama(LlamaModel::Fresh(Some(LlamaArchitecture::Qwen2))))
            }
            ("llama-server on slow weights", _) => Ok(WorkerPlan::Llama(LlamaModel::Slow)),
            ("llama-server on a named model", _) => Ok(WorkerPlan::Llama(LlamaModel::Named)),
            (_, Some(pace)) => Ok(WorkerPlan::Paced(pace, limit)),
            _ => Err(Finding::error("a worker: haiku, its pace as in `10 ms`, or llama-server", words)),
        }
    }

    fn backend(self) -> String {
        match self {
            WorkerPlan::Haiku => "cpu".to_owned(),
            WorkerPlan::Llama(_) => "llamacpp".to_owned(),
            WorkerPlan::Paced(pace, limit) => format!("paced-{}-{}", pace.as_millis(), limit.unwrap_or(0)),
        }
    }

    pub fn model(self, models: &Models) -> &str {
        match self {
            WorkerPlan::Haiku => &models.haiku,
            WorkerPlan::Paced(..) => &models.paced,
            WorkerPlan::Llama(_) => &models.llama,
        }
    }
}

/// For a `llama-server`: its threads wait for each other by spinning, and starve one another where others work too.
pub const ONE_THREAD: [&str; 2] = ["--threads", "1"];

impl NodePlan {
    /// The pool manager's configuration file.
    pub(super) fn configuration(&self, llorch: &Path, models: &Models) -> Value {
        let mut programs = serde_json::Map::new();
        let mut workers = Vec::new();
        for worker in &self.workers {
            if let WorkerPlan::Paced(pace, limit) = worker {
                let pace = pace.as_millis().to_string();
                let words = ["llorch-cpud", "--backend", "stub", "--stub-tokens", PLENTY, "--stub-delay-ms", &pace];
                let mut command = vec![llorch.display().to_string()];
                command.extend(words.map(str::to_owned));
                command
                    .extend(limit.iter().flat_map(|limit| ["--inference-timeout-sec".to_owned(), limit.to_string()]));
                programs.insert(worker.backend(), json!(command));
            }
            workers.push(json!({
                "pool_id": self.pool, "model_ref": worker.model(models), "backend": worker.backend(), "supervise": true,
            }));
        }
        // Who may fetch is the orchestrator's to say.
        let provisioning = json!({ "allow": "any" });
        json!({
            "programs": programs, "workers": workers, "engine": { "flags": ONE_THREAD }, "provisioning": provisioning,
        })
    }
}
