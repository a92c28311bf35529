//! A real `llama-server` behind a whole chain: what it writes, whether its slot rests, what is left of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Held, Scene, wait_for};
use crate::harness::Finding;
use crate::harness::api::slots::Engine;
use crate::harness::chain::llama::{self, Running};
use crate::harness::chain::{LlamaModel, PATIENCE, WorkerPlan};
use crate::harness::haiku::run::Orchestrator;
use crate::harness::http::Base;
use crate::harness::ladder::known_answer;
use crate::harness::ladder::reference::Reference;
use crate::harness::process::{Command, Exit, Process, Signal};
use crate::harness::selection::ModelFormat;

/// Prompts with a known answer that are asked through the chain.
const PROMPTS: usize = 3;

/// What a scenario knows of the engines of its chain.
#[derive(Default)]
pub struct RealEngine {
    /// Named by ORCHD_LLAMACPP_URL.
    running: Option<Running>,
    /// The handoff of one that was ended.
    ended: Option<Value>,
}

impl Scene {
    /// A `llama-server` that no node starts: the orchestrator is told where it is.
    pub fn name_running_engine(&mut self) -> Result<(), Finding> {
        let model = match llama::named_model() {
            Ok(path) => path,
            Err(_) => self.tiny_file(ModelFormat::Gguf)?,
        };
        let program = self.llama_program()?;
        let running = Running::reach_or_start(&program, &model)?;
        let served = running.engine.model().unwrap_or_default();
        self.set(llama::RUNNING, false, &running.engine.base.to_string())?;
        let is_path = served.starts_with('/');
        self.chain.plan_model(if is_path { format!("file:{served}") } else { served });
        self.real.running = Some(running);
        Ok(())
    }

    pub(super) fn llama_program(&self) -> Result<PathBuf, Finding> {
        self.session.llama_server().map_err(|found| Finding::fail("a llama-server", found))
    }

    /// A chain as a client of a haiku sees it.
    pub(super) fn chain_client(&self) -> Result<Orchestrator, Finding> {
        let chain = self.chain()?;
        Ok(Orchestrator {
            base: chain.base(),
            token: chain.token().map(str::to_owned),
            model_ref: chain.default_model().to_owned(),
            engine: chain.default_engine().to_owned(),
        })
    }

    /// Where node a, or the scenario's one machine, keeps the handoff files.
    fn handoff_folder(&self) -> Result<PathBuf, Finding> {
        match self.has_chain() {
            true => Ok(self.chain()?.folder().join("a/engines")),
            false => Ok(self.pool.folder()?.join("engines")),
        }
    }

    /// The one that is there.
    pub(super) fn handoff_file(&self) -> Result<PathBuf, Finding> {
        let folder = self.handoff_folder()?;
        let mut files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let file = files.find(|path| path.extension().is_some_and(|end| end == "json"));
        file.ok_or_else(|| Finding::fail("a handoff file", format!("none in {}", folder.display())))
    }

    pub(super) fn handoff_document(&self) -> Result<Value, Finding> {
        let unreadable = |error: std::io::Error| Finding::fail("a handoff file that can be read", error.to_string());
        let text = fs::read_to_string(self.handoff_file()?).map_err(unreadable)?;
        serde_json::from_str(&text).map_err(|error| Finding::fail("a handoff file that can be read", error.to_string()))
    }

    fn real_engine(&self) -> Result<Engine, Finding> {
        if let Some(running) = &self.real.running {
            return Ok(running.engine.clone());
        }
        let handoff = self.handoff_document()?;
        let key = handoff["api_key_file"].as_str().and_then(|file| fs::read_to_string(file).ok());
        Ok(Engine { base: Base::parse(handoff["url"].as_str().unwrap_or_default())?, key })
    }

    /// Unseen prompts, greedily, through the chain: the text of the same file in the f64 reference.
    pub fn chain_writes_the_references_texts(&mut self) -> Result<(), Finding> {
        let model = self.chain()?.default_model().to_owned();
        let reference = Reference::open(model.strip_prefix("file:").unwrap_or(&model).as_ref())?;
        for (at, known) in known_answer::questions(&reference, PROMPTS)?.iter().enumerate() {
            let label = format!("known {at}");
            let cell = |name: &str, value: Value| (name.to_owned(), value.to_string());
            let changes = [
                cell("prompt", json!(known.prompt)),
                cell("max_tokens", json!(known.ids.len())),
                cell("temperature", json!(0.0)),
                cell("ctx", json!(128)),
            ];
            self.submit(&label, &changes)?;
            self.answer()?.expect_status(202)?;
            let transcript = self.transcript(&label)?;
            transcript.completed()?;
            let text = transcript.text();
            if text != known.text {
                let expected = format!(
                    "rung 2, known answer: {:?}, as the reference computes it from the same file (smallest margin {:.3})",
                    known.text, known.margin
                );
                return Err(transcript.evidence(Finding::fail(expected, format!("{text:?}"))));
            }
        }
        Ok(())
    }

    /// Seen at the engine itself, which counts its slots.
    pub fn engine_works(&mut self, works: bool, within: Duration) -> Result<(), Finding> {
        self.real_engine()?.wait_until(usize::from(works), within).map(drop)
    }

    /// SIGKILL; and its port is taken, so that the next one needs another.
    pub fn kill_engine(&mut self) -> Result<(), Finding> {
        let handoff = self.handoff_document()?;
        let problem = |error: String| Finding::error("an engine to kill", error);
        let pid = handoff["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| problem(handoff.to_string()))?;
        let port = Base::parse(handoff["url"].as_str().unwrap_or_default())?.port;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL)
            .map_err(|error| problem(error.to_string()))?;
        let held = wait_for(PATIENCE, || {
            std::net::TcpListener::bind(("127.0.0.1", port)).map_err(|error| problem(error.to_string()))
        })?;
        self.held.push(Held::Listener(held));
        self.real.ended = Some(handoff);
        Ok(())
    }

    /// Another process on another port, and the pool is ready again.
    pub fn engine_is_replaced(&mut self) -> Result<(), Finding> {
        let ended = self.real.ended.clone().ok_or_else(|| Finding::error("an engine that was killed", "none was"))?;
        wait_for(PATIENCE, || {
            let now = self.handoff_document()?;
            if now["pid"] != ended["pid"] && now["url"] != ended["url"] {
                return Ok(());
            }
            Err(Finding::fail("a handoff of another engine on another port", now.to_string()))
        })?;
        self.chain()?.wait_until_ready()
    }

    pub fn nothing_is_left_of_the_engine(&mut self) -> Result<(), Finding> {
        let folder = self.handoff_folder()?;
        wait_for(PATIENCE, || {
            let names = fs::read_dir(&folder).into_iter().flatten().flatten();
            let left: Vec<String> =
                names.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name != "logs").collect();
            if left.is_empty() {
                return Ok(());
            }
            Err(Finding::fail("nothing left of the engine but its log", left.join(", ")))
        })
    }

    /// `llorch haiku` through the chain leaves a bundle, and `llorch proof verify` reads it again.
    pub fn bundle_of_a_haiku_verifies(&mut self) -> Result<(), Finding> {
        let client = self.chain_client()?;
        let folder = self.folder()?;
        let proof_dir = folder.display().to_string();
        let llorch = self.session.llorch().clone();
        let run = |words: Vec<String>| -> Result<(Exit, String), Finding> {
            let process = Process::spawn(Command::new(&llorch).arguments(words))
                .map_err(|error| Finding::error("llorch", error.to_string()))?;
            let exit = process.wait_for_exit(PATIENCE)?;
            Ok((exit, process.lines().iter().map(|line| format!("{}\n", line.text)).collect()))
        };
        let words = [
            "haiku",
            "--orchestrator",
            &client.base.to_string(),
            "--model-ref",
            &client.model_ref,
            "--engine",
            &client.engine,
            "--proof-dir",
            &proof_dir,
            "--json",
        ];
        let (_, told) = run(words.map(str::to_owned).to_vec())?;
        let document: Value = serde_json::from_str(&told).unwrap_or_default();
        let bundle = document["bundle"].as_str().unwrap_or_default().to_owned();
        let (exit, verified) = run(["proof", "verify", &bundle].map(str::to_owned).to_vec())?;
        if !bundle.is_empty() && exit == Exit::Code(0) {
            return Ok(());
        }
        let finding = Finding::fail("a bundle that verifies offline (exit code 0)", exit.to_string());
        Err(finding.with("llorch haiku", told).with("llorch proof verify", verified))
    }

    /// What a node of the plan needs to find the program.
    pub(super) fn settings_for(&self, workers: &[WorkerPlan]) -> Result<Option<(String, String)>, Finding> {
        let needs = workers.iter().any(|worker| matches!(worker, WorkerPlan::Llama(_)));
        if workers.contains(&WorkerPlan::Llama(LlamaModel::Named)) {
            llama::named_model()?;
        }
        if !needs {
            return Ok(None);
        }
        Ok(Some((llama::PROGRAM.to_owned(), self.llama_program()?.display().to_string())))
    }
}
