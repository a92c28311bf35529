//! A `llama-server` at a URL, through the `llamacpp-http` adapter: an engine that no node has to report.
//!
//! It is looked after as a node would look after it: met when it answers, asked for its health over and over, reported to
//! the scheduler as the one pool of a node of its own.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;

use super::{Answer, Broken, EndData, ErrorData, Events, Job, Refusal, TokenData, Upstream, UpstreamEvent};
use crate::orchestrator::configuration::Llamacpp;
use crate::orchestrator::narration::narrate;
use crate::orchestrator::nodes::{ListedModel, PoolReport, Registration};
use crate::orchestrator::scheduler::Scheduler;
use crate::orchestrator::task::now_ms;
use crate::pool::adapter::llamacpp::{Ending, EngineError, EngineJob, Event, LlamaCpp, Unfit};
use crate::pool::registry::Cause;
use crate::worker::error::ApiError;

/// The node that the engine is the pool of.
pub const NODE: &str = "orchestratord";
pub const ENGINE: &str = "llamacpp";
/// How often the engine is asked for its health.
const LOOK: Duration = Duration::from_secs(1);
/// How long a job may run.
const LIMIT: Duration = Duration::from_secs(24 * 3600); // the task's own deadline comes first
const EVENTS: usize = 16;
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// The engine, once it has been met.
pub struct Binding {
    settings: Llamacpp,
    server: Mutex<Option<Arc<LlamaCpp>>>,
    /// A hand on each job, to stop it with.
    jobs: Arc<Mutex<HashMap<String, watch::Sender<bool>>>>,
}

impl Binding {
    pub fn new(settings: Llamacpp) -> Self {
        Self { settings, server: Mutex::default(), jobs: Arc::default() }
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<LlamaCpp>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after the engine, until it is dropped.
    pub async fn keep(self: Arc<Self>, scheduler: Arc<Scheduler>) {
        scheduler.state().nodes.register(Registration {
            node_id: NODE.to_owned(),
            machine_id: NODE.to_owned(),
            address: self.settings.url.clone(),
            pools: vec![self.settings.pool_id.clone()],
            capabilities: json!({}),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            registered_at_ms: now_ms(),
        });
        let mut was_well = false;
        loop {
            let server = self.meet().await;
            let is_well = server.is_some();
            if is_well != was_well {
                let human = if is_well {
                    "Reaches the engine at ORCHD_LLAMACPP_URL"
                } else {
                    "Loses the engine at ORCHD_LLAMACPP_URL"
                };
                narrate("engine", &self.settings.pool_id, "", human);
            }
            was_well = is_well;
            scheduler.state().nodes.heartbeat(NODE, vec![self.report(server.as_deref())]);
            scheduler.dispatch();
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The engine, if it is well.
    async fn meet(&self) -> Option<Arc<LlamaCpp>> {
        let known = self.server().clone();
        let server = match known {
            Some(server) => server.health().await.ok().map(|()| server),
            None => {
                let url = reqwest::Url::parse(&self.settings.url).ok()?;
                LlamaCpp::connect(url, None).await.ok().map(Arc::new)
            }
        };
        // One that comes back may hold another model: it is met anew.
        self.server().clone_from(&server);
        server
    }

    fn report(&self, server: Option<&LlamaCpp>) -> PoolReport {
        let properties = server.map(LlamaCpp::properties);
        let slots = properties.map_or(0, |properties| u32::try_from(properties.slots).unwrap_or(u32::MAX));
        PoolReport {
            pool_id: self.settings.pool_id.clone(),
            replica_id: self.settings.replica_id.clone(),
            ready: properties.is_some(),
            draining: false,
            slots_free: slots,
            slots_total: slots,
            vram_free_bytes: 0,
            engine: ENGINE.to_owned(),
            engine_version: properties.map(|properties| properties.version.clone()).unwrap_or_default(),
            device_mask: String::new(),
            models: properties
                .map(|properties| models(&properties.model_alias, &properties.model_path, properties.context_length))
                .unwrap_or_default(),
        }
    }
}

/// Every name that the engine's model goes by.
fn models(alias: &str, path: &str, context_length: u32) -> Vec<ListedModel> {
    let mut names = vec![alias.to_owned(), path.to_owned(), format!("file:{path}")];
    let stem = std::path::Path::new(path).file_stem().and_then(|stem| stem.to_str());
    names.extend(stem.map(str::to_owned));
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !name.is_empty() && name != "file:")
        .map(|id| ListedModel { id, context_length: Some(context_length) })
        .collect()
}

impl Upstream for Binding {
    fn execute<'a>(&'a self, job: &'a Job) -> Answer<'a, Result<Events, Refusal>> {
        Box::pin(async move {
            let Some(server) = self.server().clone() else {
                return Err(Refusal::Unreachable("the engine does not answer".to_owned()));
            };
            let body = serde_json::to_vec(&job.body).unwrap_or_default();
            let engine_job = EngineJob::read(&body, &server).await.map_err(refusal)?;
            let Some(place) = server.enter() else {
                return Err(Refusal::Busy { pause: BUSY_PAUSE, message: "every slot works".to_owned() });
            };
            let (stop, stopped) = watch::channel(false);
            let jobs = self.jobs.clone();
            lock(&jobs).insert(job.job_id.clone(), stop);
            let (sender, receiver) = mpsc::channel(EVENTS);
            let job_id = job.job_id.clone();
            tokio::spawn(async move {
                let turn = tokio::select! {
                    turn = place.turn() => turn,
                    () = sender.closed() => None,
                    () = asked(stopped.clone()) => None,
                };
                if turn.is_some() {
                    run(&server, &engine_job, stopped, &sender).await;
                }
                lock(&jobs).remove(&job_id);
            });
            Ok(Box::pin(Received(receiver)) as Events)
        })
    }

    fn cancel<'a>(&'a self, job: &'a Job) -> Answer<'a, ()> {
        Box::pin(async move {
            if let Some(stop) = lock(&self.jobs).get(&job.job_id) {
                stop.send_replace(true);
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(unfit: Unfit) -> Refusal {
    match unfit {
        Unfit::Request(ApiError::Invalid(errors)) => {
            Refusal::Invalid { message: "the engine can't run it".to_owned(), errors: json!(errors) }
        }
        Unfit::Request(error) => {
            Refusal::Failed { code: error.code().word().to_owned(), message: "the engine refuses it".to_owned() }
        }
        Unfit::Engine(EngineError::Unreachable(reason)) => Refusal::Unreachable(reason),
        Unfit::Engine(error @ EngineError::Loading) => Refusal::Busy { pause: BUSY_PAUSE, message: error.to_string() },
        Unfit::Engine(error) => Refusal::Failed { code: "INTERNAL".to_owned(), message: error.to_string() },
    }
}

async fn asked(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

type Sender = mpsc::Sender<Result<UpstreamEvent, Broken>>;

/// Runs the job, and spells what the adapter says in the words of the contract.
async fn run(server: &LlamaCpp, job: &EngineJob, stopped: watch::Receiver<bool>, out: &Sender) {
    let (sender, mut events) = mpsc::channel(EVENTS);
    let forward = async {
        while let Some(event) = events.recv().await {
            let event = match event {
                Event::Started(started) => UpstreamEvent::Started(
                    [("model".to_owned(), started.model.into()), ("seed".to_owned(), started.seed.into())]
                        .into_iter()
                        .collect(),
                ),
                Event::Token(token) => UpstreamEvent::Token(TokenData { t: token.t, i: token.i.into() }),
            };
            if out.send(Ok(event)).await.is_err() {
                break; // dropping the receiver stops the job
            }
        }
        drop(events);
    };
    let work = async {
        let stop = async {
            asked(stopped).await;
            Cause::Cancelled
        };
        let ending = server.run(job, LIMIT, stop, &sender).await;
        drop(sender);
        ending
    };
    let (ending, ()) = tokio::join!(work, forward);
    let last = match ending {
        Ending::End(end) => UpstreamEvent::End(EndData {
            tokens_out: end.tokens_out.into(),
            decode_time_ms: end.decode_time_ms,
            stop_reason: json!(end.stop_reason).as_str().unwrap_or_default().to_owned(),
            stop_sequence_matched: end.stop_sequence_matched,
            seed: Some(end.seed),
            tokens_in: Some(job.prompt_ids.len() as u64),
        }),
        Ending::Error(failure) => UpstreamEvent::Error(ErrorData {
            code: json!(failure)["code"].as_str().unwrap_or("INTERNAL").to_owned(),
            message: failure.message,
        }),
    };
    let _ = out.send(Ok(last)).await;
}

struct Received(mpsc::Receiver<Result<UpstreamEvent, Broken>>);

impl Stream for Received {
    type Item = Result<UpstreamEvent, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
