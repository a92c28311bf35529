//! A whole chain at work: how it is set up, what happens to its daemons, and what they say of themselves.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::described::Described;
use super::shows::shows;
use super::{Scene, wait_for};
use crate::harness::Finding;
use crate::harness::chain::engine::Engine;
use crate::harness::chain::mistakes::Slip;
use crate::harness::chain::storm::{Victim, Weather};
use crate::harness::chain::{Chain, NodePlan, PATIENCE, Plan, WorkerPlan};
use crate::harness::exposition::Scrape;
use crate::harness::fuzzer;
use crate::harness::http::{self, Answer, Base, Request};
use crate::harness::process::{Exit, Signal};
use crate::harness::session::API_TOKEN;

/// Before something that must not happen has not happened.
const A_WHILE: Duration = Duration::from_millis(700);

/// What a scenario about a chain has.
#[derive(Default)]
pub struct ChainScene {
    plan: Plan,
    pub(super) chain: Option<Chain>,
    engines: BTreeMap<String, Engine>,
    weather: Option<Weather>,
    /// Every single answer of the orchestrator, with what was asked, for those who hold them against its document.
    asked: Vec<(String, String, Answer)>,
}

/// What can be asked what it shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    Answer,
    Stream(String),
    Task(String),
    Route(String),
    NodeRoute(String, String),
}

impl Subject {
    /// The one that is named; where none is, the last answer.
    pub fn of(stream: String, task: String, path: String, node: String) -> Subject {
        match (stream.is_empty(), task.is_empty(), path.is_empty(), node.is_empty()) {
            (false, ..) => Subject::Stream(stream),
            (_, false, ..) => Subject::Task(task),
            (_, _, false, true) => Subject::Route(path),
            (_, _, false, false) => Subject::NodeRoute(path, node),
            _ => Subject::Answer,
        }
    }
}

impl ChainScene {
    /// What tasks run on, where that is no worker of the plan.
    pub(super) fn plan_model(&mut self, model: String) {
        self.plan.model = Some(model);
    }
}

impl Scene {
    pub(super) fn chain(&self) -> Result<&Chain, Finding> {
        self.chain.chain.as_ref().ok_or_else(|| Finding::error("a chain that the scenario has", "it has none"))
    }

    pub(super) fn has_chain(&self) -> bool {
        self.chain.chain.is_some()
    }

    fn chain_mut(&mut self) -> Result<&mut Chain, Finding> {
        self.chain.chain.as_mut().ok_or_else(|| Finding::error("a chain that the scenario has", "it has none"))
    }

    /// A variable of the orchestrator, or of the nodes.
    pub fn set(&mut self, name: &str, of_nodes: bool, value: &str) -> Result<(), Finding> {
        let value = value.replace("{token}", API_TOKEN).replace("{other token}", OTHER_TOKEN);
        let plan = &mut self.chain.plan;
        let settings = if of_nodes { &mut plan.node_settings } else { &mut plan.settings };
        settings.push((name.to_owned(), value));
        Ok(())
    }

    /// A node for each record: `node`, `pool`, and `workers` with commas between, or `none`.
    pub fn start_chain(&mut self, nodes: &[Vec<(String, String)>]) -> Result<(), Finding> {
        let mut plan = std::mem::take(&mut self.chain.plan);
        for record in nodes {
            let cell = |name: &str| record.iter().find(|(column, _)| column == name).map(|(_, cell)| cell.clone());
            let node = cell("node").unwrap_or_else(|| "a".into());
            let pool = cell("pool").unwrap_or_else(|| format!("pool-{node}"));
            let workers = cell("workers").unwrap_or_default();
            let workers = workers.split(',').map(str::trim).filter(|words| !words.is_empty() && *words != "none");
            let workers = workers.map(WorkerPlan::of).collect::<Result<Vec<_>, _>>()?;
            plan.node_settings.extend(self.settings_for(&workers)?);
            plan.nodes.push(NodePlan { name: node, pool, workers });
        }
        if let Some(hub) = &self.pool.hub {
            plan.node_settings.push(("HF_ENDPOINT".into(), hub.url()));
        }
        self.chain.plan = plan.clone();
        self.chain.chain = Some(Chain::start(self.session.llorch(), plan, self.session.slip())?);
        Ok(())
    }

    /// Settings that were made since the chain was started hold from the next life on.
    fn new_settings(&self) -> Vec<(String, String)> {
        self.chain.plan.settings.clone()
    }

    /// What happens to a daemon: `the orchestrator`, `node a`, `the worker of node a`.
    pub fn happens(&mut self, whom: &str, what: &str) -> Result<(), Finding> {
        let signal = match what {
            "is killed" => Some(Signal::SIGKILL),
            "is told to stop" => Some(Signal::SIGTERM),
            "freezes" => Some(Signal::SIGSTOP),
            "wakes" => Some(Signal::SIGCONT),
            _ => None,
        };
        if let Some(name) = whom.strip_prefix("the worker of node ") {
            let signal = signal.ok_or_else(|| Finding::error("a signal", what))?;
            return self.chain()?.signal_workers(name, signal);
        }
        let settings = self.new_settings();
        let chain = self.chain_mut()?;
        if whom == "the orchestrator" && what == "starts again" {
            return chain.restart_orchestrator(&settings);
        }
        let node = whom.strip_prefix("node ");
        if let (Some(name), "starts again") = (node, what) {
            return chain.restart_node(name);
        }
        let daemon = node.map_or(Ok(&chain.orchestrator), |name| chain.node(name))?;
        match (what, signal) {
            (_, Some(signal @ (Signal::SIGSTOP | Signal::SIGCONT))) => daemon.signal(signal),
            (_, Some(Signal::SIGTERM)) => match daemon.end(Signal::SIGTERM)? {
                Exit::Code(0) => Ok(()),
                exit => Err(daemon.evidence(Finding::fail("exit code 0 after SIGTERM", exit.to_string()))),
            },
            (_, Some(signal)) => daemon.end(signal).map(drop),
            (_, None) => Err(Finding::error("something that may happen to a daemon", what)),
        }
    }

    /// Asks the orchestrator, and keeps the answer.
    pub(super) fn ask_chain(&mut self, request: &Request) -> Result<(), Finding> {
        let answer = self.chain()?.send(request)?;
        self.chain.asked.push((request.method.clone(), request.path.clone(), answer.clone()));
        self.answers.push(answer);
        Ok(())
    }

    /// `{task:first}`, `{session:first}`, `{haiku}`, `{paced}`, `{folder}` filled in.
    pub(super) fn fill(&mut self, text: &str) -> Result<String, Finding> {
        let mut filled = text.to_owned();
        for job in &self.jobs {
            filled = filled.replace(&format!("{{task:{}}}", job.label), &job.job_id);
        }
        for (label, session) in &self.sessions {
            filled = filled.replace(&format!("{{session:{label}}}"), session);
        }
        if let Some(chain) = &self.chain.chain {
            filled = filled.replace("{haiku}", &chain.models.haiku).replace("{paced}", &chain.models.paced);
            filled = filled.replace("{folder}", &chain.folder().display().to_string());
        }
        Ok(filled)
    }

    fn subject(&mut self, subject: &Subject) -> Result<Value, Finding> {
        match subject {
            Subject::Answer => Ok(of_answer(self.answer()?)),
            Subject::Stream(label) => {
                let transcript = self.transcript(label)?;
                let mut document = Map::new();
                for frame in &transcript.frames {
                    document.insert(frame.name().to_owned(), frame.json().unwrap_or_default());
                }
                document.insert("tokens".into(), transcript.tokens().count().into());
                document.insert("text".into(), transcript.text().into());
                document.insert("headers".into(), of_headers(&transcript.headers.0));
                document.insert("events".into(), transcript.frames.len().into());
                Ok(Value::Object(document))
            }
            Subject::Task(label) => {
                let id = self.job(label)?.job_id.clone();
                self.chain()?.get(&format!("/v2/tasks/{id}"))
            }
            Subject::Route(path) if path == "/metrics" => {
                let answer = self.chain()?.send(&Request::get("/metrics"))?;
                Ok(of_scrape(&Scrape::parse(&answer.text())?))
            }
            Subject::Route(path) => {
                let path = self.fill(path)?;
                self.chain()?.get(&path)
            }
            Subject::NodeRoute(path, node) => {
                self.chain()?.send_to_node(node, Request::get(path))?.expect_status(200)?.json()
            }
        }
    }

    /// Now, or soon: asked again and again until it does.
    pub fn shows(&mut self, subject: &Subject, rows: &[(String, String)], soon: bool) -> Result<(), Finding> {
        let rows = rows.iter().map(|(pointer, cell)| Ok((self.fill(pointer)?, self.fill(cell)?)));
        let rows = rows.collect::<Result<Vec<_>, Finding>>()?;
        let patience = if soon { self.patience() } else { Duration::ZERO };
        let outcome = wait_for(patience, || shows(&self.subject(subject)?, &rows));
        outcome.map_err(|finding| match (&self.chain.chain, subject) {
            (_, Subject::Answer) => self.answer().map(|answer| answer.evidence(finding.clone())).unwrap_or(finding),
            (Some(chain), _) => chain.evidence(finding),
            (None, _) => finding,
        })
    }

    /// A trial expects that it does not happen, and the case itself, in the same suite, that it does: a trial need not wait
    /// as long as the slowest machine takes.
    fn patience(&self) -> Duration {
        if self.session.slip().is_some() { PATIENCE / 5 } else { PATIENCE }
    }

    /// It shows that now, and goes on to.
    pub fn keeps_showing(&mut self, subject: &Subject, rows: &[(String, String)]) -> Result<(), Finding> {
        let until = Instant::now() + A_WHILE;
        while Instant::now() < until {
            self.shows(subject, rows, false)?;
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Retry-After in whole seconds, X-Backoff-Ms and the body's retry_after_ms say the same time.
    pub fn backoffs_agree(&mut self) -> Result<(), Finding> {
        let answer = self.answer()?;
        let number = |name: &str| answer.header(name).and_then(|text| text.parse::<u64>().ok());
        let body = answer.json()?;
        let said = [number("retry-after").map(|seconds| seconds * 1000), number("x-backoff-ms")];
        let told = body.pointer("/error/retry_after_ms").and_then(Value::as_u64);
        if told.is_some_and(|told| told > 0 && said == [Some(told), Some(told)]) {
            return Ok(());
        }
        let expected = "Retry-After, X-Backoff-Ms and retry_after_ms that say the same time, above 0";
        Err(answer.evidence(Finding::fail(expected, format!("{said:?} ms in the headers, {told:?} in the body"))))
    }

    /// A handoff file of a node: it names an engine that is started here, is broken, or is removed.
    pub fn handoff(&mut self, node: &str, what: &str) -> Result<(), Finding> {
        let problem = |error: std::io::Error| Finding::error("a handoff file", error.to_string());
        let pool = format!("pool-{node}");
        let file = self.chain()?.folder().join(node).join("engines").join(format!("{pool}-e0.json"));
        match what.strip_prefix("names the engine ") {
            Some(name) => {
                let name = name.trim_matches('"');
                let engine = match self.chain.engines.remove(name) {
                    Some(engine) => engine,
                    None => Engine::start(name).map_err(problem)?,
                };
                let written = file.with_file_name(".handoff.tmp");
                fs::write(&written, engine.handoff(&pool).to_string()).map_err(problem)?;
                fs::rename(&written, &file).map_err(problem)?;
                self.chain.engines.insert(name.to_owned(), engine);
                Ok(())
            }
            None if what == "is broken" => fs::write(&file, "{\"pool_id\":").map_err(problem),
            None if what == "is removed" => fs::remove_file(&file).map_err(problem),
            None => Err(Finding::error("something that happens to a handoff file", what)),
        }
    }

    /// The engine goes away without a word.
    pub fn engine_goes(&mut self, name: &str) -> Result<(), Finding> {
        let engine = self.chain.engines.remove(name);
        engine.map(drop).ok_or_else(|| Finding::error("an engine of the scenario", name))
    }

    /// What the last job on an engine asked of it.
    pub fn engine_was_asked_to_reuse(&mut self, name: &str, reuse: bool) -> Result<(), Finding> {
        let asked = self.chain.engines.get(name).and_then(Engine::last_reuse);
        if asked == Some(reuse) {
            return Ok(());
        }
        Err(Finding::fail(format!("cache_prompt: {reuse} in what the engine {name} was asked"), format!("{asked:?}")))
    }

    pub fn storm(&mut self, victims: &str, kills: usize) -> Result<(), Finding> {
        let victims: Vec<Victim> = match victims {
            "the orchestrator" => vec![Victim::Orchestrator],
            "a pool manager" => vec![Victim::Node],
            "a worker" => vec![Victim::Worker],
            _ => vec![Victim::Orchestrator, Victim::Node, Victim::Worker],
        };
        // Another storm each time; what it was is said when it breaks something.
        let seed = Instant::now().elapsed().as_nanos() as u64 ^ uuid::Uuid::new_v4().as_u64_pair().0;
        let weather = self.chain_mut()?.storm(&victims, kills, seed);
        self.chain.weather = Some(weather.map_err(|finding| finding.with("the storm's seed", seed.to_string()))?);
        Ok(())
    }

    /// There were tasks to lose: some came to their end, and as many were killed as were to be.
    pub fn storm_was_survived(&mut self) -> Result<(), Finding> {
        let weather = self.chain.weather.ok_or_else(|| Finding::error("a storm", "there was none"))?;
        if weather.ended > 0 && weather.ended + weather.reset == weather.admitted {
            return Ok(());
        }
        Err(Finding::fail("every admitted task at an ending, and some whole", weather.to_string()))
    }

    /// Nodes first: they end their workers.
    pub fn stop_chain(&mut self) -> Result<(), Finding> {
        let nodes: Vec<String> = self.chain()?.nodes.keys().map(|name| format!("node {name}")).collect();
        nodes.iter().try_for_each(|node| self.happens(node, "is told to stop"))?;
        self.happens("the orchestrator", "is told to stop")
    }

    /// Of a chain that was stopped, or of its nodes.
    pub fn nothing_is_left(&mut self, but_orchestrator: bool) -> Result<(), Finding> {
        let chain = self.chain()?;
        let orchestrator = but_orchestrator.then(|| chain.orchestrator.id() as i32);
        wait_for(self.patience(), || {
            let mut left = chain.processes();
            left.retain(|pid| Some(*pid) != orchestrator);
            if left.is_empty() { Ok(()) } else { Err(Finding::fail("no process left behind", format!("{left:?}"))) }
        })
    }

    /// Every answer so far, held against what the orchestrator's own document says of its route and status.
    pub fn answers_are_as_described(&mut self) -> Result<(), Finding> {
        let document = self.chain()?.get("/openapi.json")?;
        let described = Described::new(document)?;
        if self.chain.asked.is_empty() {
            return Err(Finding::error("answers to hold against the document", "nothing was asked"));
        }
        self.chain.asked.iter().try_for_each(|(method, path, answer)| described.check(method, path, answer))
    }
}

impl Scene {
    /// The document of `the orchestrator`, `node a` or `the worker of node a`, held against what that answers.
    pub fn fuzz(&mut self, whom: &str) -> Result<(), Finding> {
        let folder = self.folder()?;
        let chain = self.chain()?;
        let base = match (whom.strip_prefix("node "), whom.strip_prefix("the worker of node ")) {
            (Some(node), _) => chain.node(node)?.base(),
            (_, Some(node)) => {
                let state = chain.send_to_node(node, Request::get("/v2/state"))?.expect_status(200)?.json()?;
                Base::parse(state["workers"][0]["uri"].as_str().unwrap_or_default())?
            }
            _ => chain.base(),
        };
        let answer = http::send(&base, &Request::get("/openapi.json"), PATIENCE)?;
        let mut document = answer.expect_status(200)?.json()?;
        Described::new(document.clone())?;
        let on_trial = self.session.slip() == Some(Slip::DocumentUntrue);
        if on_trial {
            demand_too_much(&mut document);
        }
        fuzzer::run(&document, &base, &folder, on_trial).map_err(|finding| chain.evidence(finding))
    }
}

/// A field that no answer of `/health` has.
fn demand_too_much(document: &mut Value) {
    let of_health = "/paths/~1health/get/responses/200/content/application~1json/schema/$ref";
    let schema = document.pointer(of_health).and_then(Value::as_str).map(|name| name.replace('#', ""));
    let required = schema.and_then(|schema| document.pointer_mut(&format!("{schema}/required")));
    required.and_then(Value::as_array_mut).into_iter().for_each(|names| names.push("shoe_size".into()));
}

/// A second good token, for rotations and scopes.
pub const OTHER_TOKEN: &str = "llorch-other-token-89abcdef0123456789abcdef01";

fn of_headers(headers: &[(String, String)]) -> Value {
    headers.iter().map(|(name, value)| (name.to_lowercase(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

fn of_answer(answer: &Answer) -> Value {
    json!({
        "status": answer.status, "headers": of_headers(&answer.headers.0),
        "body": answer.json().unwrap_or(Value::Null),
    })
}

/// Each sample under its name, labels and all; and each name with the sum of its samples.
fn of_scrape(scrape: &Scrape) -> Value {
    let mut document = Map::new();
    for sample in &scrape.samples {
        document.insert(sample.to_string(), json!(sample.value));
        document.insert(sample.name.clone(), json!(scrape.sum(&sample.name)));
    }
    Value::Object(document)
}
