//! A whole chain on this machine: an orchestrator, nodes with their pool managers, and workers, as processes of their own
//! in a folder of their own, on ports that were free. It is ready when every worker takes jobs, and gone when it is
//! dropped.
//!
//! `plan` says of what it consists, `daemon` is one process, `tasks` is the client, `rules` judges what a client was sent,
//! `relay` stands in front of an orchestrator and makes one of the `mistakes`, in streams by way of `edits`, `engine` speaks as
//! `llama-server` does, `llama` is a real one, and `storm` kills at random under load.

pub mod daemon;
mod edits;
pub mod engine;
pub mod llama;
pub mod mistakes;
pub mod plan;
pub mod relay;
pub mod rules;
pub mod storm;
pub mod tasks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Finding;
use super::http::{self, Answer, Base, Request};
use super::log::Log;
use super::process::{Command, Process, Signal};
use super::selection::ModelFormat;
use super::tiny_model;
use daemon::Daemon;
use mistakes::Slip;
pub use plan::{LlamaModel, NodePlan, ONE_THREAD, Plan, WorkerPlan};
use relay::Relay;

/// How long anything that a chain owes may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Chain {
    pub orchestrator: Daemon,
    pub nodes: BTreeMap<String, Daemon>,
    /// What the workers run on.
    pub models: Models,
    relay: Option<Relay>,
    /// A worker that nobody ends, where that is the mistake.
    _orphan: Option<Process>,
    /// What a client shows.
    token: Option<String>,
    node_token: Option<String>,
    plan: Plan,
    llorch: PathBuf,
    // Last: the daemons end before their folder goes.
    folder: tempfile::TempDir,
}

/// The files that the chain's workers are started on, as tasks name them.
#[derive(Clone, Debug)]
pub struct Models {
    pub haiku: String,
    /// For the paced stub, which reads nothing of it.
    pub paced: String,
    /// What a `llama-server` of the plan is started on.
    pub llama: String,
}

impl Models {
    fn write(folder: &Path, plan: &Plan) -> Result<Models, Finding> {
        let problem = |error: std::io::Error| Finding::error("the chain's models on disk", error.to_string());
        let haiku = tiny_model::write(folder, ModelFormat::Safetensors).map_err(problem)?;
        let paced = folder.join("paced.gguf");
        let gguf = haiku.with_file_name("model.gguf");
        fs::copy(&gguf, &paced).map_err(problem)?;
        let llama = plan.llama_model().map(|model| llama::model(model, gguf, folder)).transpose()?;
        let reference = |path: &Path| format!("file:{}", path.display());
        let llama = llama.map(|path| reference(&path)).unwrap_or_default();
        Ok(Models { haiku: reference(&haiku), paced: reference(&paced), llama })
    }
}

impl Chain {
    /// Starts it and waits until every worker of the plan takes jobs. A `slip` puts a relay that makes it before the
    /// orchestrator.
    pub fn start(llorch: &Path, plan: Plan, slip: Option<Slip>) -> Result<Chain, Finding> {
        let problem = |error: std::io::Error| Finding::error("a folder for the chain", error.to_string());
        let folder = tempfile::Builder::new().prefix("llorch-chain-").tempdir().map_err(problem)?;
        let models = Models::write(folder.path(), &plan)?;
        let configuration = folder.path().join("orchestratord.yaml");
        fs::write(&configuration, "{}").map_err(problem)?;
        let mut command = Command::new(llorch)
            .arguments(["orchestratord".to_owned(), "--config".to_owned(), configuration.display().to_string()])
            .variable("ORCHD_STATE_DIR", &folder.path().join("state").display().to_string());
        command.environment.extend(plan.settings.iter().cloned());
        if slip == Some(Slip::PolicyIgnored) {
            command = command.variable("ORCHD_PROVISIONING_ALLOW", "any");
        }
        command.directory = Some(folder.path().to_owned());
        let orchestrator = Daemon::start("the orchestrator", "ORCHD_ADDR", command)?;
        let relay = slip.map(|slip| Relay::start(orchestrator.base(), slip)).transpose()?;
        let orphan = slip.filter(|slip| *slip == Slip::OrphanLeft).map(|_| orphan(llorch, &models)).transpose()?;
        let first = |name: &str| plan.setting(name).and_then(|text| Some(text.split(',').next()?.trim().to_owned()));
        let token = first("LLORCH_API_TOKEN");
        let node_token = first("LLORCH_NODE_TOKEN").or_else(|| token.clone());
        let (nodes, llorch) = (BTreeMap::new(), llorch.to_owned());
        let mut chain =
            Chain { orchestrator, nodes, models, relay, _orphan: orphan, token, node_token, plan, llorch, folder };
        for node in chain.plan.nodes.clone() {
            chain.add_node(&node)?;
        }
        let ready = chain.wait_until_ready();
        // A mistake is to be caught by what the case checks, not by there being no chain to check.
        ready.map_err(
            |finding| if slip.is_some() { Finding::error(finding.expected, finding.found) } else { finding },
        )?;
        Ok(chain)
    }

    /// One more node, not waited for.
    pub fn add_node(&mut self, plan: &NodePlan) -> Result<(), Finding> {
        let folder = self.folder.path().join(&plan.name);
        let problem = |error: std::io::Error| Finding::error("a folder for the node", error.to_string());
        fs::create_dir_all(folder.join("engines")).map_err(problem)?;
        let file = folder.join("pool-managerd.yaml");
        let configuration = plan.configuration(&self.llorch, &self.models);
        fs::write(&file, configuration.to_string()).map_err(problem)?;
        let mut command = Command::new(&self.llorch)
            .arguments(["pool-managerd".to_owned(), "--config".to_owned(), file.display().to_string()])
            .variable("POOL_MANAGERD_RUNTIME_DIR", &folder.join("engines").display().to_string())
            .variable("POOL_MANAGERD_NODE_ID", &plan.name)
            .variable("POOL_MANAGERD_POOLS", &plan.pool)
            .variable("POOL_MANAGERD_WATCH_INTERVAL_MS", "50")
            .variable("ORCHESTRATORD_URL", &self.base().to_string());
        let shared = self.plan.settings.iter().filter(|(name, _)| name.starts_with("LLORCH_"));
        command.environment.extend(shared.chain(&self.plan.node_settings).cloned());
        command.directory = Some(folder);
        let daemon = Daemon::start(&format!("node {}", plan.name), "POOL_MANAGERD_ADDR", command)?;
        self.nodes.insert(plan.name.clone(), daemon);
        Ok(())
    }

    /// Waits until the orchestrator has heard of every pool, and counts every slot of the plan as free.
    pub fn wait_until_ready(&self) -> Result<(), Finding> {
        for node in &self.plan.nodes {
            self.wait_until_heard(&node.name)?;
        }
        for node in self.plan.nodes.iter().filter(|node| node.workers.is_empty()) {
            let pool = format!("/nodes/{}/pools/{}", node.name, node.pool);
            let what = format!("{} of node {}", node.pool, node.name);
            self.wait_for("/v2/nodes", &what, |nodes| pointed(nodes, &pool).map(drop))?;
        }
        for node in self.plan.nodes.iter().filter(|node| !node.workers.is_empty()) {
            let slots = json!(node.workers.len());
            let pool = format!("/nodes/{}/pools/{}", node.name, node.pool);
            self.wait_for("/v2/nodes", &format!("{slots} free slots on node {}", node.name), |nodes| {
                let pool = pointed(nodes, &pool)?;
                let state = pointed(nodes, &format!("/nodes/{}/state", node.name))?;
                (state == "online" && pool["ready"] == true && pool["slots_free"] == slots && pool["leases"] == 0)
                    .then_some(())
            })?;
        }
        Ok(())
    }

    /// Waits until the orchestrator has a report of this life of the node, not only of those before it.
    fn wait_until_heard(&self, name: &str) -> Result<(), Finding> {
        let since = self.node(name)?.since;
        self.wait_for("/v2/nodes", &format!("a report of node {name}, registered since {since}"), |nodes| {
            reported_since(pointed(nodes, &format!("/nodes/{name}"))?, since).then_some(())
        })
    }

    /// Asks again and again, until `reached` finds what is waited for.
    pub fn wait_for<T>(&self, path: &str, what: &str, reached: impl Fn(&Value) -> Option<T>) -> Result<T, Finding> {
        let until = Instant::now() + PATIENCE;
        loop {
            let looked = self.get(path);
            if let Ok(value) = &looked
                && let Some(found) = reached(value)
            {
                return Ok(found);
            }
            if Instant::now() >= until {
                let found = looked.map_or_else(|finding| finding.found, |value| value.to_string());
                return Err(self.evidence(Finding::fail(format!("{what} within {PATIENCE:.0?}"), found)));
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Where a client asks: the orchestrator, or what stands before it.
    pub fn base(&self) -> Base {
        self.relay.as_ref().map_or_else(|| self.orchestrator.base(), Relay::base)
    }

    /// What a task runs on where its scenario says nothing: the model of the first worker.
    pub fn default_model(&self) -> &str {
        if let Some(model) = &self.plan.model {
            return model;
        }
        let worker = self.plan.nodes.iter().flat_map(|node| &node.workers).next();
        worker.map_or(&self.models.haiku, |worker| worker.model(&self.models))
    }

    pub fn has_llama(&self) -> bool {
        self.plan.llama_model().is_some()
    }

    /// And the engine that it names.
    pub fn default_engine(&self) -> &'static str {
        if self.plan.model.is_some() || self.has_llama() { "llamacpp" } else { "llorch" }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Adds the client's token, where one is asked for and the request has none.
    pub fn authorized(&self, request: Request) -> Request {
        match &self.token {
            Some(token) if request.headers.get("authorization").is_none() => request.bearer(token),
            _ => request,
        }
    }

    /// Sends exactly this request.
    pub fn send(&self, request: &Request) -> Result<Answer, Finding> {
        http::send(&self.base(), request, PATIENCE).map_err(|error| self.evidence(error.into()))
    }

    pub fn get(&self, path: &str) -> Result<Value, Finding> {
        self.send(&self.authorized(Request::get(path)))?.expect_status(200)?.json()
    }

    pub fn node(&self, name: &str) -> Result<&Daemon, Finding> {
        self.nodes.get(name).ok_or_else(|| Finding::error(format!("a node {name:?}"), "the chain has no such node"))
    }

    /// Asks a pool manager itself.
    pub fn send_to_node(&self, name: &str, request: Request) -> Result<Answer, Finding> {
        let request = match &self.node_token {
            Some(token) if request.headers.get("authorization").is_none() => request.bearer(token),
            _ => request,
        };
        http::send(&self.node(name)?.base(), &request, PATIENCE).map_err(|error| self.evidence(error.into()))
    }

    /// The numbers of a node's worker processes, as its pool manager has them.
    pub fn workers(&self, name: &str) -> Result<Vec<i32>, Finding> {
        let state = self.send_to_node(name, Request::get("/v2/state"))?.json()?;
        let workers = state["workers"].as_array().into_iter().flatten();
        Ok(workers.filter_map(|worker| i32::try_from(worker["pid"].as_i64()?).ok()).collect())
    }

    pub fn signal_workers(&self, name: &str, signal: Signal) -> Result<(), Finding> {
        for pid in self.workers(name)? {
            let sent = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
            sent.map_err(|error| Finding::error(format!("{signal} sent to a worker of {name}"), error.to_string()))?;
        }
        Ok(())
    }

    /// The orchestrator comes back as it was, but for these settings.
    pub fn restart_orchestrator(&mut self, settings: &[(String, String)]) -> Result<(), Finding> {
        let mut settings = settings.to_vec();
        if self.relay.as_ref().is_some_and(|relay| relay.makes(Slip::StateLost)) {
            settings.push(("ORCHD_STATE_DIR".into(), self.folder().join("another-state").display().to_string()));
        }
        self.orchestrator.restart(&settings)
    }

    /// The node comes back as it was, and the orchestrator has heard so: what an earlier life reported holds no more.
    pub fn restart_node(&mut self, name: &str) -> Result<(), Finding> {
        let missing = || Finding::error(format!("a node {name:?}"), "the chain has no such node");
        self.nodes.get_mut(name).ok_or_else(missing)?.restart(&[])?;
        self.wait_until_heard(name)
    }

    /// The daemons' logs: the orchestrator's first, then the nodes', and the workers' of each.
    pub fn logs(&self) -> Vec<(String, Log)> {
        let mut log = self.orchestrator.log();
        if let Some(relay) = &self.relay {
            relay.tamper(&mut log);
        }
        let mut logs = vec![(self.orchestrator.name.clone(), log)];
        for (name, node) in &self.nodes {
            logs.push((node.name.clone(), node.log()));
            logs.push((format!("the workers of node {name}"), self.worker_logs(name)));
        }
        logs
    }

    fn worker_logs(&self, node: &str) -> Log {
        let folder = self.folder().join(node).join("engines/logs");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let text: String = files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
        Log::of_text(&text)
    }

    /// Processes that have this chain's folder in their command line: its own, and what they left behind.
    pub fn processes(&self) -> Vec<i32> {
        let mark = self.folder().as_os_str().as_encoded_bytes().to_vec();
        let holds = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.windows(mark.len()).any(|window| window == mark)
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(holds).collect()
    }

    /// Attaches the ends of the daemons' logs to a finding.
    pub fn evidence(&self, finding: Finding) -> Finding {
        self.nodes.values().fold(self.orchestrator.evidence(finding), |finding, node| node.evidence(finding))
    }
}

/// What a pool manager would leave that does not tie its workers to itself.
fn orphan(llorch: &Path, models: &Models) -> Result<Process, Finding> {
    let path = models.paced.trim_start_matches("file:");
    let words = ["llorch-cpud", "--backend", "stub", "--model", path];
    Process::spawn(Command::new(llorch).arguments(words)).map_err(|error| Finding::error("a worker", error.to_string()))
}

/// Whether an item of `/v2/nodes` tells of a node that has registered since then, and has reported itself after that. The
/// orchestrator's clock is this machine's, and shows milliseconds.
pub fn reported_since(node: &Value, since: Timestamp) -> bool {
    let time = |field: &str| node[field].as_str()?.parse::<Timestamp>().ok().map(|time| time.as_millisecond());
    let (registered, reported) = (time("registered_at"), time("last_heartbeat"));
    registered.is_some_and(|registered| registered >= since.as_millisecond()) && reported >= registered
}

/// A JSON pointer that may also name an item of a list by its id: `/nodes/a/pools/pool-a/leases`.
pub fn pointed<'a>(document: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(document, |value, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        match value {
            Value::Array(items) => match step.parse::<usize>() {
                Ok(index) => items.get(index),
                Err(_) => items.iter().find(|item| {
                    ["node_id", "pool_id", "replica_id", "worker_id", "id"].iter().any(|key| item[*key] == *step)
                }),
            },
            value => value.get(&step),
        }
    })
}
