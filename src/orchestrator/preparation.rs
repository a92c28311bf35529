//! What has to be done before a task can run: its model fetched into a pool, and its engine provided, where the policy
//! allows it.
//!
//! The orchestrator asks the pool manager to preload the model, follows what that reports, and passes it on to verbose
//! readers of the task's stream. A step that fails ends the task; nothing else is served in the model's stead.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, sleep_until};
use utoipa::ToSchema;

use super::configuration::Allow;
use super::error::Code;
use super::life::Life;
use super::narration::narrate;
use super::nodes::{ListedModel, NodeState};
use super::placement;
use super::scheduler;
use super::service::Orchestrator;
use super::task::{Phase, Target, TaskSpec};
use super::upstream::llamacpp::ENGINE;
use crate::http::correlation;
use crate::http::failure::describe;

const LOOK: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    EngineProvision,
    ModelFetch,
    PoolWarmup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    Pending,
    Running,
    Completed,
    Failed,
}

/// One thing to do before the task can run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Step {
    pub id: String,
    pub kind: StepKind,
    /// Steps of a group belong to one place: the node and its pool.
    pub group: String,
    pub description: String,
    /// How long it takes, as far as that is known: nothing is known of a transfer that has not begun.
    pub estimated_ms: u64,
    #[schema(required)]
    pub bytes_total: Option<u64>,
    pub status: StepStatus,
    #[serde(skip)]
    bytes_done: Option<u64>,
    #[serde(skip)]
    phase: String,
}

impl Step {
    fn new(id: &str, kind: StepKind, target: &Target, description: String) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            group: format!("{}/{}", target.node_id, target.pool_id),
            description,
            estimated_ms: 0,
            bytes_total: None,
            status: StepStatus::Pending,
            bytes_done: None,
            phase: String::new(),
        }
    }
}

/// A rough count where no engine says: four bytes a token.
pub fn estimated_tokens(prompt: &str) -> u64 {
    prompt.len().div_ceil(4) as u64
}

/// The steps that would make this task's model available, where the policy allows them and there is a pool for it.
pub fn plan(service: &Orchestrator, spec: &TaskSpec, model_names: &[String]) -> Option<(Vec<Step>, Target)> {
    let policy = &service.configuration.provisioning;
    let allowed = match policy.allow {
        Allow::Never => false,
        Allow::Listed => service.catalog.lists(&spec.model_ref),
        Allow::Any => true,
    };
    let model_ref = model_names.last().filter(|name| name.starts_with("hf:") || name.starts_with("file:"))?;
    if !allowed {
        return None;
    }
    let target = {
        let state = service.scheduler.state();
        let candidates = placement::candidates(&state.nodes);
        let demand = scheduler::demand(spec, model_names);
        let fitting = candidates.iter().find(|candidate| {
            let pool = &candidate.report.pool_id;
            candidate.state == NodeState::Online
                && !candidate.report.draining
                && (policy.pools.is_empty() || policy.pools.contains(pool))
                && (candidate.report.engine.is_empty() || placement::serves(candidate.report, &spec.engine))
                && placement::fits(candidate, &demand)
        })?;
        Target { node_id: fitting.node_id.to_owned(), pool_id: fitting.report.pool_id.clone() }
    };
    Some((steps(model_ref, &spec.engine, &target), target))
}

fn steps(model_ref: &str, engine: &str, target: &Target) -> Vec<Step> {
    let place = format!("pool {} of node {}", target.pool_id, target.node_id);
    let fetch = Step::new("fetch", StepKind::ModelFetch, target, format!("Fetch {model_ref} to {place}"));
    let provide = Step::new("engine", StepKind::EngineProvision, target, format!("Provide llama-server for {place}"));
    let warmup = Step::new("warmup", StepKind::PoolWarmup, target, format!("Load {model_ref} into {place}"));
    if engine == ENGINE { vec![fetch, provide, warmup] } else { vec![fetch, warmup] }
}

/// How far each step is, by its id.
pub fn progress(steps: &[Step]) -> Value {
    let percent = |step: &Step| match (step.status, step.bytes_done, step.bytes_total) {
        (StepStatus::Completed, ..) => 100,
        (_, Some(done), Some(total)) if total > 0 => (done.min(total) * 100 / total).min(99),
        _ => 0,
    };
    let of = |step: &Step| {
        json!({
            "status": step.status,
            "pct": percent(step),
            "bytes_done": step.bytes_done.unwrap_or(0),
            "bytes_total": step.bytes_total,
            "phase": step.phase,
            "human": step.description,
        })
    };
    Value::Object(steps.iter().map(|step| (step.id.clone(), of(step))).collect::<Map<_, _>>())
}

/// Prepares the pool for the task. False where that failed, or the task ended meanwhile: its ending is written.
pub async fn prepare(life: &mut Life, target: &Target) -> bool {
    let model_ref = life.task.admitted.model_names.last().cloned().unwrap_or_default();
    life.steps = steps(&model_ref, &life.task.admitted.spec.engine, target);
    life.task.progress().phase = Phase::Preparing;
    life.start(None);
    let human = format!("Fetches the model into pool {} of node {}", target.pool_id, target.node_id);
    narrate("prepare", &life.task.id().to_string(), &life.task.admitted.correlation, &human);
    set_all(life, StepStatus::Running);
    life.remark(&human);
    let task = life.task.clone();
    let outcome = tokio::select! {
        biased;
        cause = task.stopped() => {
            life.stopped(cause);
            return false;
        }
        () = sleep_until(task.deadline) => {
            life.fail(Code::DeadlineUnmet, "the deadline passed while the model was fetched", None);
            return false;
        }
        outcome = follow(life, target, &model_ref) => outcome,
    };
    match outcome {
        Ok(()) => {
            set_all(life, StepStatus::Completed);
            life.remark("The model is there");
            life.task.progress().phase = Phase::Queued;
            note_model(life, target, &model_ref);
            true
        }
        Err(message) => {
            set_all(life, StepStatus::Failed);
            life.remark("The model could not be fetched");
            life.fail(Code::ModelNotAvailable, &message, None);
            false
        }
    }
}

fn set_all(life: &mut Life, status: StepStatus) {
    life.steps.iter_mut().for_each(|step| step.status = status);
}

/// Asks for the preload, and looks until the pool lists the model.
async fn follow(life: &mut Life, target: &Target, model_ref: &str) -> Result<(), String> {
    let service = life.service.clone();
    let address = service.scheduler.state().nodes.get(&target.node_id).map(|node| node.registration.address.clone());
    let Some(address) = address else { return Err(format!("node {} is gone", target.node_id)) };
    let base = format!("{address}/pools/{}", target.pool_id);
    let correlation = life.task.admitted.correlation.clone();
    let ask = async |request: reqwest::RequestBuilder| {
        let request = request.timeout(PATIENCE).header(correlation::HEADER, &correlation);
        let request = match &service.configuration.node_bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.map_err(|error| describe(&error.without_url()))?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    };
    // What the pool did before is told too: it is not ours.
    let before = ask(service.client.get(format!("{base}/status"))).await?;
    let before: Vec<Value> = reported_steps(&before).iter().map(|step| step["id"].clone()).collect();
    let mut wanted = json!({ "model_ref": model_ref });
    if life.task.admitted.spec.engine == ENGINE {
        wanted["backend"] = ENGINE.into(); // the backend that starts it has its name
    }
    ask(service.client.post(format!("{base}/preload")).json(&wanted))
        .await
        .map_err(|reason| format!("the pool does not fetch '{model_ref}': {reason}"))?;
    let names = life.task.admitted.model_names.clone();
    let mut last = Value::Null;
    loop {
        let status = ask(service.client.get(format!("{base}/status"))).await?;
        let ours = |step: &&Value| !before.contains(&step["id"]);
        let reported: Vec<&Value> = reported_steps(&status).iter().filter(ours).collect();
        for step in &mut life.steps {
            step.follow(&reported);
        }
        if let Some(failed) = life.steps.iter().find(|step| step.status == StepStatus::Failed) {
            return Err(format!("step '{}' failed: {}", failed.id, failed.phase));
        }
        if lists(&status, &names) {
            return Ok(());
        }
        let now = progress(&life.steps);
        if now != last {
            life.remark("Fetches the model");
            last = now;
        }
        sleep(LOOK).await;
    }
}

fn reported_steps(status: &Value) -> &[Value] {
    status["preparation"]["steps"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn refusal(status: reqwest::StatusCode, body: &Value) -> String {
    let body = body.get("error").filter(|inner| inner.is_object()).unwrap_or(body);
    body["message"].as_str().map_or_else(|| format!("it answered {status}"), str::to_owned)
}

fn lists(status: &Value, names: &[String]) -> bool {
    let models = status["models"].as_array().map(Vec::as_slice).unwrap_or_default();
    models
        .iter()
        .filter_map(|model| model.as_str().or_else(|| model["id"].as_str()))
        .any(|id| names.iter().any(|name| name == id))
}

impl Step {
    /// Takes over what the pool manager says of the step of this kind.
    fn follow(&mut self, reported: &[&Value]) {
        let kind = json!(self.kind);
        let Some(step) = reported.iter().rfind(|step| step["kind"] == kind) else { return };
        self.bytes_total = step["bytes_total"].as_u64().or(self.bytes_total);
        self.bytes_done = step["bytes_done"].as_u64().or(self.bytes_done);
        self.status = match step["status"].as_str() {
            Some("completed") => StepStatus::Completed,
            Some("failed") => StepStatus::Failed,
            _ => StepStatus::Running,
        };
        if let Some(phase) = ["human", "phase"].into_iter().find_map(|name| step[name].as_str()) {
            // The reason of a failure stands at its end: a log's last words.
            let is_whole = self.status == StepStatus::Failed;
            self.phase = if is_whole { phase.to_owned() } else { super::narration::shortened(phase) };
        }
    }
}

/// The pool has the model now; its next heartbeat will say so too.
fn note_model(life: &Life, target: &Target, model_ref: &str) {
    let scheduler = &life.service.scheduler;
    {
        let mut state = scheduler.state();
        for pool in state.nodes.replicas_of_mut(&target.node_id, &target.pool_id) {
            if !placement::has_model(&pool.report, &life.task.admitted.model_names) {
                pool.report.models.push(ListedModel { id: model_ref.to_owned(), context_length: None });
            }
        }
    }
    scheduler.dispatch();
}
