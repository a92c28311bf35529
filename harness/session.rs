//! One run's target: what it is, what it proved to be, and the worker that its cases share where they must.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use super::api::{self, Api};
use super::case::{Case, Lane};
use super::chain::llama;
use super::chain::mistakes::Slip;
use super::checkpoints::Captured;
use super::runner::{self, TargetSummary};
use super::selection::{BuiltInBackend, ModelFormat, TargetKind, TargetRequest};
use super::target::{SILENCE, Start, StartError, Target, Worker, unique};
use super::{Finding, containers, fuzzer, pool_machine, process, recognise, sshd, target, tiny_model};

/// What the harness gives a worker that must be asked with a token, and what it gives it for its callback.
pub const API_TOKEN: &str = "llorch-test-token-0123456789abcdef0123456789";
pub const SPAWN_TOKEN: &str = "llorch-spawn-token-fedcba9876543210fedcba98";

pub struct Session {
    pub target: Target,
    request: TargetRequest,
    /// The worker that all cases share, where the target is somebody else's.
    shared: Mutex<Option<Arc<Worker>>>,
    /// A job that was measured to run long on this target.
    long_job: Mutex<Option<Map<String, Value>>>,
    /// A stream of this target never ended: later ones are given up sooner.
    hangs: AtomicBool,
    /// What the target proved to be, once it was looked at.
    seen: OnceLock<recognise::Seen>,
    /// Captures that several cases look at, under what was captured.
    captures: Mutex<HashMap<String, Result<Arc<Captured>, Finding>>>,
    /// The embedded model as files, once a worker was to be started on it.
    model: OnceLock<(tempfile::TempDir, PathBuf)>,
    /// What is put in llama-server's place; else it is looked for.
    llama_server: Option<PathBuf>,
    /// The mistake that the orchestrators of this session's chains make.
    slip: Option<Slip>,
}

/// The target would not start, or is no worker.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", log(error))]
pub struct TargetError {
    error: StartError,
}

impl From<StartError> for TargetError {
    fn from(error: StartError) -> Self {
        TargetError { error }
    }
}

fn log(error: &StartError) -> String {
    match error {
        StartError::Exited { log, .. } | StartError::NotReady { log, .. } if !log.is_empty() => {
            format!("\nits last words:\n{log}")
        }
        _ => String::new(),
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Session {
    /// Starts or reaches the target once, and looks what it is: what is no worker ends the run here.
    pub fn open(request: TargetRequest) -> Result<Session, TargetError> {
        let session = Session::of(request)?;
        let worker = Arc::new(session.target.start(&session.plain_start()?)?);
        let seen = recognise::look(&worker).unwrap_or_default();
        if seen.never_ends {
            session.note_that_a_stream_hangs();
        } else if !session.is_built_in() {
            *lock(&session.shared) = Some(worker);
        }
        let _ = session.seen.set(seen);
        Ok(session)
    }

    /// A session whose target nobody has looked at yet.
    pub fn of(request: TargetRequest) -> Result<Session, TargetError> {
        let target = match &request.kind {
            #[cfg(feature = "candle")]
            TargetKind::BuiltIn { backend: Some(BuiltInBackend::Candle) } => {
                // Ours, and judged like anybody's: its long jobs are computed, not paced by a stub.
                let words = ["llorch-candled", "--backend", "cpu"].map(str::to_owned);
                let llorch = request.llorch.to_string_lossy().into_owned();
                Target::Spawn { command: [llorch].into_iter().chain(words).collect() }
            }
            TargetKind::BuiltIn { .. } => Target::built_in(&request.llorch),
            TargetKind::Spawn { command } => Target::spawn(command)?,
            TargetKind::Url { url } => Target::url(url)
                .map_err(|error| StartError::NoWorker { base: url.clone(), reason: error.to_string() })?,
        };
        Ok(Session {
            target,
            request,
            shared: Mutex::default(),
            long_job: Mutex::default(),
            hangs: AtomicBool::new(false),
            seen: OnceLock::new(),
            captures: Mutex::default(),
            model: OnceLock::new(),
            slip: None,
            llama_server: None,
        })
    }

    /// A session in which this program stands in llama-server's place.
    #[must_use]
    pub fn with_llama_server(mut self, program: PathBuf) -> Session {
        self.llama_server = Some(program);
        self
    }

    /// The refusal says how to get one.
    pub fn llama_server(&self) -> Result<PathBuf, String> {
        self.llama_server.clone().map_or_else(llama::program, Ok)
    }

    /// A session whose chains have an orchestrator that makes this mistake.
    #[must_use]
    pub fn with_slip(mut self, slip: Slip) -> Session {
        self.slip = Some(slip);
        self
    }

    pub fn slip(&self) -> Option<Slip> {
        self.slip
    }

    pub fn note_that_a_stream_hangs(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// How long a stream may be silent once it has begun to write.
    pub fn silence(&self) -> Duration {
        if self.hangs.load(Ordering::Relaxed) { Duration::from_secs(1) } else { SILENCE }
    }

    /// In which words the target is asked.
    pub fn api(&self) -> Api {
        self.request.api
    }

    /// How many cases this target bears at a time.
    pub fn jobs(&self) -> usize {
        if self.is_built_in() { 8 } else { 1 }
    }

    /// Ours, and without a stub that could be paced: what is to last has to be computed.
    pub fn computes_what_lasts(&self) -> bool {
        self.is_one_of_ours() && !self.is_built_in()
    }

    pub fn llorch(&self) -> &PathBuf {
        &self.request.llorch
    }

    /// Either of our workers, whichever way it is started.
    fn is_one_of_ours(&self) -> bool {
        matches!(self.request.kind, TargetKind::BuiltIn { .. })
    }

    fn is_built_in(&self) -> bool {
        matches!(self.target, Target::BuiltIn { .. })
    }

    /// How the target is started where a scenario asks for nothing in particular.
    fn plain_start(&self) -> Result<Start, StartError> {
        Ok(match &self.request.kind {
            TargetKind::Url { .. } => self.asked(Start::default()),
            TargetKind::BuiltIn { backend: Some(BuiltInBackend::Stub) } => Start::stub(),
            _ => self.asked(Start::model(self.model()?)),
        })
    }

    fn asked(&self, start: Start) -> Start {
        Start { api: self.api(), ..start }
    }

    /// The model that workers are started on: the one that was named, or the embedded one.
    fn model(&self) -> Result<PathBuf, StartError> {
        if let Some(named) = &self.request.model {
            return Ok(named.clone());
        }
        if let Some((_, path)) = self.model.get() {
            return Ok(path.clone());
        }
        let format = self.model_format();
        let written = tempfile::tempdir().and_then(|folder| {
            let path = tiny_model::write(folder.path(), format)?;
            Ok((folder, path))
        });
        let written = written.map_err(|error| StartError::NotStarted {
            command: "the worker".into(),
            reason: format!("the embedded model can't be written to a temporary folder: {error}"),
        })?;
        Ok(self.model.get_or_init(|| written).1.clone())
    }

    /// The worker that is asked where no scenario is played.
    pub fn first_worker(&self) -> Result<Arc<Worker>, StartError> {
        Ok(Arc::new(self.target.start(&self.plain_start()?)?))
    }

    /// The file that workers run on, where the harness knows it.
    pub fn known_model(&self) -> Result<PathBuf, Finding> {
        let refuse = |found: &str| Err(Finding::unimplemented("a model file that the harness knows", found));
        match (&self.request.kind, &self.request.model) {
            (_, Some(named)) => Ok(named.clone()),
            (TargetKind::BuiltIn { backend: Some(BuiltInBackend::Stub) }, _) => {
                refuse("the stub backend reads no model")
            }
            (TargetKind::Url { .. }, None) => refuse("the target runs already; --model names its file"),
            (TargetKind::Spawn { .. }, None) if self.target_brings("--model") => {
                refuse("the command brings its own; --model names it to the harness")
            }
            _ => Ok(self.model()?),
        }
    }

    /// In which format this target is given models of the harness's choosing.
    pub fn model_format(&self) -> ModelFormat {
        let usual = if self.api().is_native() { ModelFormat::Safetensors } else { ModelFormat::Gguf };
        self.request.model_formats.first().copied().unwrap_or(usual)
    }

    /// How this target is started for a scenario; `stub` asks for our stub backend.
    pub fn start(&self, stub: bool) -> Result<Start, Finding> {
        match (stub, &self.target) {
            (true, Target::BuiltIn { .. }) => Ok(Start::stub()),
            (true, _) => Err(Finding::unimplemented("the built-in stub backend", "the target is another worker")),
            (false, _) => Ok(self.plain_start()?),
        }
    }

    /// A start on a model of the harness's choosing; UNIMPLEMENTED where this target can't be given one.
    pub fn start_on(&self, model: &Path, format: ModelFormat) -> Result<Start, Finding> {
        let refuse = |found: &str| Err(Finding::unimplemented("a worker on a model of the harness's choosing", found));
        match &self.request.kind {
            TargetKind::Url { .. } => refuse("the target runs already"),
            TargetKind::BuiltIn { backend: Some(BuiltInBackend::Stub) } => refuse("the stub backend reads no model"),
            TargetKind::Spawn { .. } if self.target_brings("--model") => refuse("the command brings its own --model"),
            TargetKind::Spawn { .. }
                if !self.request.model_formats.is_empty() && !self.request.model_formats.contains(&format) =>
            {
                refuse(&format!("the target does not read {format:?} (--model-format)"))
            }
            _ => Ok(self.asked(Start::model(model))),
        }
    }

    /// True where the command line that was given says this flag itself, with a value of its own.
    pub fn target_brings(&self, flag: &str) -> bool {
        let Target::Spawn { command } = &self.target else { return false };
        let short = (flag == "--model").then_some("-m");
        let given = [Some(flag), short].into_iter().flatten().find_map(|flag| target::flag_value(command, flag));
        given.is_some_and(|value| !value.starts_with('{'))
    }

    /// The worker for a scenario: one of its own, or the one that all share.
    pub fn worker(&self, fresh: bool, start: &Start) -> Result<Arc<Worker>, Finding> {
        if fresh && !self.target.starts_fresh() {
            let found =
                format!("{} was given as a URL: it is not the harness's to start or to stop", self.target.describe());
            return Err(Finding::unimplemented("a worker that is started for this case", found));
        }
        if fresh || self.is_built_in() || *start != self.plain_start()? {
            return Ok(Arc::new(self.target.start(start)?));
        }
        let mut shared = lock(&self.shared);
        if let Some(worker) = shared.as_ref() {
            return Ok(Arc::clone(worker));
        }
        let worker = Arc::new(self.target.start(start)?);
        *shared = Some(Arc::clone(&worker));
        Ok(worker)
    }

    pub fn shares(&self, worker: &Arc<Worker>) -> bool {
        lock(&self.shared).as_ref().is_some_and(|shared| Arc::ptr_eq(shared, worker))
    }

    /// A scenario left jobs on the shared worker. One that the harness started is ended; the next scenario has another.
    pub fn give_up_shared(&self, worker: &Arc<Worker>) {
        if self.target.starts_fresh() && self.shares(worker) {
            *lock(&self.shared) = None;
        }
    }

    /// The capture under this name: taken once, by whoever asks first.
    pub fn captured(
        &self,
        key: &str,
        take: impl FnOnce() -> Result<Captured, Finding>,
    ) -> Result<Arc<Captured>, Finding> {
        let mut captures = lock(&self.captures);
        captures.entry(key.to_owned()).or_insert_with(|| take().map(Arc::new)).clone()
    }

    /// A job that runs for at least this long, with an id of its own. Measured once, on whichever worker is asked first.
    pub fn long_job(&self, worker: &Worker, at_least: Duration) -> Result<Map<String, Value>, Finding> {
        let mut known = lock(&self.long_job);
        let mut job = match known.as_ref() {
            Some(job) => job.clone(),
            None => match worker.long_job(at_least)? {
                Value::Object(job) => job,
                other => return Err(Finding::error("a job, as an object", other.to_string())),
            },
        };
        // A paced stub's job belongs to its pace, which may differ from worker to worker.
        if !self.is_built_in() {
            *known = Some(job.clone());
        }
        job.insert("job_id".into(), unique("long").into());
        Ok(job)
    }

    /// A job that is known to run long, so that it need not be measured.
    pub fn assume_long_job(&self, job: Map<String, Value>) {
        *lock(&self.long_job) = Some(job);
    }

    /// Sampling shows only on a worker that computes.
    pub fn needs_computing(&self, worker: &Worker) -> Result<(), Finding> {
        let seen = match self.seen.get() {
            Some(seen) => seen,
            None => {
                let seen = recognise::look(worker)?;
                self.seen.get_or_init(|| seen)
            }
        };
        if seen.is_stub() {
            return Err(Finding::unimplemented("a worker whose text depends on the request", seen.sentence()));
        }
        Ok(())
    }
}

impl runner::Session for Session {
    fn is_ours(&self) -> bool {
        self.is_one_of_ours()
    }

    fn lane(&self, lane: Lane) -> Result<(), String> {
        match lane {
            Lane::Hf if sshd::find_program("hf").is_some() => Ok(()),
            Lane::Hf => Err("there is no `hf` on the PATH (pip install -U huggingface_hub)".to_owned()),
            Lane::Sshd => sshd::missing().map(drop),
            Lane::Cmake => pool_machine::builds(),
            Lane::Schemathesis => fuzzer::program().map(drop),
            Lane::Storm => Err("a hundred kills take minutes: REQUIRE_STORM=1 has them".to_owned()),
            Lane::RealGpt2 => real_gpt2().map(drop),
            Lane::RealLlama => self.llama_server().map(drop),
            Lane::Docker => containers::missing().map_or(Ok(()), Err),
            lane => Err(format!("this version has no such lane yet ({})", lane.variable())),
        }
    }

    fn gate(&self, case: &Case) -> Result<(), Finding> {
        if !self.api().asks(case) {
            return Err(match self.api() {
                Api::Native => {
                    Finding::skipped("an engine with an API of its own", "--api llamacpp and --api openai ask one")
                }
                api => api::unspoken(api, "the worker contract"),
            });
        }
        if case.tags.iter().any(|tag| tag == "built-in") && !self.is_one_of_ours() {
            let found = "it is about our own model, its files and its document (`llorch verify`)";
            return Err(Finding::skipped("the built-in worker", found));
        }
        if case.stub && self.computes_what_lasts() {
            return Err(Finding::skipped("our stub backend", "llorch-cpud has it (`llorch verify`)"));
        }
        Ok(())
    }

    fn summary(&self) -> TargetSummary {
        let seen = self.seen.get_or_init(|| {
            let start = self.plain_start().map_err(Finding::from);
            start.and_then(|start| recognise::look(&*self.worker(false, &start)?)).unwrap_or_default()
        });
        let warning = seen.is_stub().then(|| format!("THIS WORKER IS A STUB: {}", seen.sentence()));
        TargetSummary { sentence: format!("{}, {}", self.target.describe(), seen.model()), warning }
    }

    fn abandon(&self) {
        process::kill_all();
    }
}

/// The folder of a GPT-2 medium with its real weights.
pub fn real_gpt2() -> Result<PathBuf, String> {
    let named = std::env::var_os("LLORCH_GPT2_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = named.ok_or("LLORCH_GPT2_DIR names no folder with GPT-2 medium's real weights")?;
    let there = folder.join("config.json").is_file();
    if there { Ok(folder) } else { Err(format!("LLORCH_GPT2_DIR: there is no config.json in {}", folder.display())) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
