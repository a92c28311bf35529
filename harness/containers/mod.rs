//! An orchestrator and nodes on machines of their own, with a network between them that can be cut: what no process on
//! loopback can show.
//!
//! `machine` is one of them: a container of an empty image with nothing in it but the program (`.ci/image` builds it;
//! `.ci/docker` starts a Docker daemon where none runs). `story` judges what a client was told meanwhile.

#[cfg(feature = "containers")]
pub mod machine;
#[cfg(not(feature = "containers"))]
#[path = "no_machine.rs"]
pub mod machine;
pub mod story;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Finding;
use super::chain::reported_since;
use super::http::{self, Answer, Base, Request};
use super::process::{Command, Exit, Signal};
use super::selection::ModelFormat;
use super::session::API_TOKEN;
use super::stream::{Caps, Stream};
use super::tiny_model;
use super::transcript::Transcript;
use machine::{Machine, PROGRAM};

/// How long anything that is waited for may take on a busy machine: a lost node is noticed and a lost client given up
/// within that.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// A node that said nothing for so long is lost.
const NODE_TIMEOUT_MS: &str = "3000";
/// Between two tokens of a node's worker.
const PACE_MS: &str = "40";
const FRONT_PORT: u16 = 8080;
const NODE_PORT: u16 = 9200;

#[derive(Debug)]
pub struct Fleet {
    orchestrator: Machine,
    nodes: BTreeMap<String, Machine>,
    model_ref: String,
    /// Every machine sees it under this machine's path. Last: the machines end before it goes.
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// Starts an orchestrator and these nodes, each with one worker that takes its time, and waits until all take tasks.
    pub fn start(nodes: &[String]) -> Result<Fleet, Finding> {
        let problem = |error: std::io::Error| Finding::error("a folder for the machines", error.to_string());
        let folder = tempfile::Builder::new().prefix("llorch-fleet-").tempdir().map_err(problem)?;
        let model = tiny_model::write(folder.path(), ModelFormat::Safetensors).map_err(problem)?;
        let model_ref = format!("file:{}", model.display());
        let paced = [PROGRAM, "llorch-cpud", "--backend", "stub", "--stub-tokens", "2048", "--stub-delay-ms", PACE_MS];
        let configuration = json!({
            "programs": {"paced": paced}, "workers": [{"model_ref": model_ref, "backend": "paced", "supervise": true}],
        });
        let file = folder.path().join("pool-managerd.yaml");
        fs::write(&file, configuration.to_string()).map_err(problem)?;
        let network = format!("llorch-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let host = |name: &str| format!("{network}-{name}");
        let start = |name: &str, command: Command, port| {
            let own = folder.path().join(name);
            fs::create_dir(&own).map_err(problem)?;
            let command = command.variable("LLORCH_API_TOKEN", API_TOKEN);
            Machine::start(&network, &host(name), &command, port, folder.path(), &own)
        };
        let command = Command::new(PROGRAM)
            .arguments(["orchestratord"])
            .variable("ORCHD_ADDR", &format!("0.0.0.0:{FRONT_PORT}"))
            .variable("ORCHD_STATE_DIR", "state")
            .variable("ORCHD_ADMISSION_CAPACITY", "64")
            .variable("ORCHESTRATORD_NODE_TIMEOUT_MS", NODE_TIMEOUT_MS)
            .variable("ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS", "1");
        let orchestrator = start("front", command, FRONT_PORT)?;
        let mut machines = BTreeMap::new();
        for name in nodes {
            let command = Command::new(PROGRAM)
                .arguments(["pool-managerd".to_owned(), "--config".into(), file.display().to_string()])
                .variable("POOL_MANAGERD_ADDR", &format!("0.0.0.0:{NODE_PORT}"))
                .variable("POOL_MANAGERD_ADDRESS", &format!("http://{}:{NODE_PORT}", host(name)))
                .variable("POOL_MANAGERD_NODE_ID", name)
                .variable("POOL_MANAGERD_POOLS", &format!("pool-{name}"))
                .variable("POOL_MANAGERD_RUNTIME_DIR", "engines")
                .variable("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "1")
                .variable("ORCHESTRATORD_URL", &format!("http://{}:{FRONT_PORT}", host("front")));
            machines.insert(name.clone(), start(name, command, NODE_PORT)?);
        }
        let fleet = Fleet { orchestrator, nodes: machines, model_ref, _folder: folder };
        for name in nodes {
            fleet.wait_for_node(name, "online", Some(1))?;
        }
        Ok(fleet)
    }

    fn machine(&self, name: &str) -> Result<&Machine, Finding> {
        match name.strip_prefix("node ") {
            None => Ok(&self.orchestrator),
            Some(node) => self.nodes.get(node).ok_or_else(|| Finding::error(format!("a node {node}"), "there is none")),
        }
    }

    /// What happens to a machine: `the orchestrator`, `node a`.
    pub fn happens(&self, whom: &str, what: &str) -> Result<(), Finding> {
        let machine = self.machine(whom)?;
        match what {
            "is cut off" => machine.cut_off(),
            "is back on the network" => machine.join(),
            "is killed" => {
                machine.signal(Signal::SIGKILL)?;
                machine.wait_for_exit(PATIENCE).map(drop)
            }
            "is told to stop" => {
                machine.signal(Signal::SIGTERM)?;
                match machine.wait_for_exit(PATIENCE)? {
                    Exit::Code(0) => Ok(()),
                    exit => {
                        Err(self.evidence(Finding::fail(format!("{whom} ends with exit code 0"), exit.to_string())))
                    }
                }
            }
            "starts again" => {
                let since = Timestamp::now();
                machine.start_again()?;
                // What an earlier life of a node reported holds no more.
                match whom.strip_prefix("node ") {
                    None => Ok(()),
                    Some(node) => self.wait_for(node, &format!("registered since {since}, and reported"), |node| {
                        reported_since(node, since)
                    }),
                }
            }
            _ => Err(Finding::error("something that can happen to a machine", what)),
        }
    }

    /// One after the other: told to stop, started again, and waited for.
    pub fn roll(&self) -> Result<(), Finding> {
        for whom in
            std::iter::once("the orchestrator".to_owned()).chain(self.nodes.keys().map(|node| format!("node {node}")))
        {
            self.happens(&whom, "is told to stop")?;
            self.happens(&whom, "starts again")?;
            for node in self.nodes.keys() {
                self.wait_for_node(node, "online", None)?;
            }
        }
        Ok(())
    }

    /// Waits until the orchestrator says this of a node; `slots` that are free, where that counts.
    pub fn wait_for_node(&self, name: &str, state: &str, slots: Option<u64>) -> Result<(), Finding> {
        self.wait_for(name, &format!("{state}, with {slots:?} free slots"), |node| {
            let pool = &node["pools"][0];
            let free =
                slots.is_none_or(|slots| pool["slots_free"] == slots && pool["leases"] == 0 && pool["ready"] == true);
            node["state"] == state && free
        })
    }

    fn wait_for(&self, name: &str, what: &str, reached: impl Fn(&Value) -> bool) -> Result<(), Finding> {
        let until = Instant::now() + PATIENCE;
        loop {
            let nodes = self.ask(Request::get("/v2/nodes")).and_then(|answer| answer.json());
            let found = nodes
                .as_ref()
                .ok()
                .and_then(|nodes| nodes["nodes"].as_array()?.iter().find(|node| node["node_id"] == name).cloned());
            if found.as_ref().is_some_and(&reached) {
                return Ok(());
            }
            if Instant::now() >= until {
                let expected = format!("node {name} {what}, within {PATIENCE:.0?}");
                let found = found.map_or_else(|| format!("{nodes:?}"), |node| node.to_string());
                return Err(self.evidence(Finding::fail(expected, found)));
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn base(&self) -> Base {
        Base::local(self.orchestrator.port)
    }

    fn ask(&self, request: Request) -> Result<Answer, Finding> {
        http::send(&self.base(), &request.bearer(API_TOKEN), PATIENCE).map_err(Finding::from)
    }

    /// The id of a task that was admitted. `node` pins it.
    pub fn submit(&self, tokens: u64, node: Option<&str>) -> Result<String, Finding> {
        let id = Uuid::new_v4().to_string();
        let mut task = json!({
            "task_id": id, "session_id": Uuid::new_v4(), "workload": "completion", "model_ref": self.model_ref,
            "engine": "llorch", "ctx": 64, "priority": "interactive", "prompt": "Once upon a time", "max_tokens": tokens,
            "deadline_ms": 300_000, "seed": 7,
        });
        if let Some(node) = node {
            task["placement"] = json!({"mode": "pin", "pin_pool_id": format!("pool-{node}")});
        }
        self.ask(Request::post("/v2/tasks").json(&task))?.expect_status(202)?;
        Ok(id)
    }

    /// The stream of a task, from its beginning.
    pub fn events(&self, task: &str) -> Result<Stream, Finding> {
        let request = Request::get(&format!("/v2/tasks/{task}/events")).bearer(API_TOKEN);
        Stream::open(&self.base(), &request, Caps::within(4 * PATIENCE))?.stream()
    }

    /// All of a stream.
    pub fn whole(&self, task: &str) -> Result<Transcript, Finding> {
        Ok(self.events(task)?.finish(PATIENCE))
    }

    pub fn task(&self, task: &str) -> Result<Value, Finding> {
        self.ask(Request::get(&format!("/v2/tasks/{task}")))?.expect_status(200)?.json()
    }

    /// Attaches the ends of the machines' logs to a finding.
    pub fn evidence(&self, finding: Finding) -> Finding {
        let machines = std::iter::once(("the orchestrator".to_owned(), &self.orchestrator))
            .chain(self.nodes.iter().map(|(name, machine)| (format!("node {name}"), machine)));
        machines.fold(finding, |finding, (name, machine)| {
            let lines = machine.lines();
            let last = lines[lines.len().saturating_sub(12)..].iter().map(|line| line.text.as_str());
            finding.with(format!("the end of the log of {name}"), last.collect::<Vec<_>>().join("\n"))
        })
    }
}

/// Whether this machine has containers.
pub fn missing() -> Option<String> {
    machine::missing()
}
