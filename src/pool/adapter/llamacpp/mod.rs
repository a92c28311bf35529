//! `llama-server` behind the worker contract.
//!
//! `LlamaCpp` is one server: whether it is well, what it holds, how many of its slots work. `request` spells a job in its
//! words; `run` sends it, reads its stream into the contract's events, and, when a job is stopped, closes the connection
//! and does not say so before the slot is seen idle again.

mod request;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::failure::describe;
use crate::worker::validate::Limits;
pub use request::{EngineJob, Unfit, engine_seed};
pub use run::{Ending, Event, Token};

/// For everything but a job's stream.
const PATIENCE: Duration = Duration::from_secs(5);
/// Kept for the next question; a job's stream has a connection of its own. Shorter than any server keeps one.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_CONNECTION: Duration = Duration::from_secs(2);
/// Jobs that may wait for a slot.
const QUEUE: usize = 8;
const MAX_TOKENS: u32 = 2048;

/// What went wrong with the engine, as opposed to the job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("the engine is not reached: {0}")]
    Unreachable(String),
    #[error("the engine is still loading its model")]
    Loading,
    #[error("the engine refuses the API key")]
    Unauthorized,
    /// Its own words, and its status.
    #[error("the engine answered {status}: {message}")]
    Refused { status: u16, message: String },
    #[error("the engine's answer can't be read: {0}")]
    Garbled(String),
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    pub model_path: String,
    pub model_alias: String,
    /// Of one slot.
    pub context_length: u32,
    pub vocab_size: u32,
    pub slots: usize,
    pub version: String,
}

#[derive(Debug)]
pub struct LlamaCpp {
    base: Url,
    api_key: Option<String>,
    client: Client,
    properties: Properties,
    /// A permit for each slot. Handed out in the order in which they were asked for.
    slots: Arc<Semaphore>,
    /// Jobs that hold a permit or wait for one.
    jobs: AtomicUsize,
    /// Requests of ours whose slot may be working.
    running: AtomicUsize,
}

impl LlamaCpp {
    /// Meets a server: it has to be well, and to say what it holds.
    pub async fn connect(base: Url, api_key: Option<String>) -> Result<Self, EngineError> {
        let client = crate::http::client()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(PATIENCE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_CONNECTION)
            .build()
            .map_err(|error| EngineError::Unreachable(describe(&error)))?;
        let properties = Properties {
            model_path: String::new(),
            model_alias: String::new(),
            context_length: 0,
            vocab_size: 0,
            slots: 1,
            version: String::new(),
        };
        let slots = Arc::new(Semaphore::new(0));
        let mut server =
            Self { base, api_key, client, properties, slots, jobs: AtomicUsize::new(0), running: AtomicUsize::new(0) };
        server.health().await?;
        server.properties = server.ask_properties().await?;
        server.slots = Arc::new(Semaphore::new(server.properties.slots));
        Ok(server)
    }

    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// What a request is held against.
    pub fn limits(&self) -> Limits {
        Limits {
            // A prompt that fills the context leaves the server no room: it refuses one.
            prompt_tokens: self.properties.context_length.saturating_sub(1),
            max_tokens: MAX_TOKENS,
            vocab_size: self.properties.vocab_size,
        }
    }

    fn route(&self, name: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(name.split('/'));
        }
        url
    }

    fn request(&self, method: reqwest::Method, route: &str) -> RequestBuilder {
        let request = self.client.request(method, self.route(route));
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, EngineError> {
        let answer = request.send().await;
        let answer = answer.map_err(|error| EngineError::Unreachable(describe(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        Err(refusal(status, &answer.bytes().await.unwrap_or_default()))
    }

    async fn get(&self, route: &str) -> Result<Value, EngineError> {
        let answer = self.send(self.request(reqwest::Method::GET, route).timeout(PATIENCE)).await?;
        answer.json().await.map_err(|error| EngineError::Garbled(describe(&error.without_url())))
    }

    /// Whether it could take a job.
    pub async fn health(&self) -> Result<(), EngineError> {
        self.send(self.request(reqwest::Method::GET, "health").timeout(PATIENCE)).await.map(drop)
    }

    async fn ask_properties(&self) -> Result<Properties, EngineError> {
        #[derive(Deserialize)]
        struct Settings {
            n_ctx: u32,
        }
        #[derive(Deserialize)]
        struct Props {
            default_generation_settings: Settings,
            total_slots: usize,
            #[serde(default)]
            model_alias: String,
            #[serde(default)]
            model_path: String,
            #[serde(default)]
            build_info: String,
        }
        let garbled = |error: serde_json::Error| EngineError::Garbled(error.to_string());
        let props: Props = serde_json::from_value(self.get("props").await?).map_err(garbled)?;
        let models = self.get("v1/models").await?;
        let vocab_size = models["data"][0]["meta"]["n_vocab"].as_u64().and_then(|size| u32::try_from(size).ok());
        Ok(Properties {
            model_path: props.model_path,
            model_alias: props.model_alias,
            context_length: props.default_generation_settings.n_ctx,
            vocab_size: vocab_size.ok_or_else(|| EngineError::Garbled("its model has no n_vocab".to_owned()))?,
            slots: props.total_slots.max(1),
            version: props.build_info,
        })
    }

    /// A text's tokens, as a prompt has them.
    pub async fn tokenize(&self, text: &str, as_prompt: bool) -> Result<Vec<u32>, EngineError> {
        #[derive(Deserialize)]
        struct Tokens {
            tokens: Vec<u32>,
        }
        let body = json!({"content": text, "add_special": as_prompt});
        let request = self.request(reqwest::Method::POST, "tokenize").timeout(PATIENCE).json(&body);
        let answer = self.send(request).await?;
        let tokens: Result<Tokens, _> = answer.json().await;
        tokens.map(|tokens| tokens.tokens).map_err(|error| EngineError::Garbled(describe(&error.without_url())))
    }

    /// How many of its slots work, ours and other people's.
    pub async fn working_slots(&self) -> Result<usize, EngineError> {
        if let Ok(Value::Array(slots)) = self.get("slots").await {
            return Ok(slots.iter().filter(|slot| slot["is_processing"] == true).count());
        }
        // A server may keep its slots to itself and still count requests.
        let answer = self.send(self.request(reqwest::Method::GET, "metrics").timeout(PATIENCE)).await?;
        let text = answer.text().await.map_err(|error| EngineError::Garbled(describe(&error.without_url())))?;
        let line = text.lines().find_map(|line| line.strip_prefix("llamacpp:requests_processing "));
        let count = line.and_then(|count| count.trim().parse::<f64>().ok()).map(|count| count as usize);
        count.ok_or_else(|| EngineError::Garbled("it shows neither slots nor requests".to_owned()))
    }

    /// A place for a job, or none when as many wait as may.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let most = self.properties.slots + QUEUE;
        let entered =
            self.jobs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |jobs| (jobs < most).then_some(jobs + 1));
        entered.ok().map(|_| Place { server: self.clone() })
    }
}

/// An answer other than success.
fn refusal(status: StatusCode, body: &[u8]) -> EngineError {
    if status == StatusCode::UNAUTHORIZED {
        return EngineError::Unauthorized;
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or("no reason given").to_owned();
    if status == StatusCode::SERVICE_UNAVAILABLE && message.contains("oading") {
        return EngineError::Loading;
    }
    EngineError::Refused { status: status.as_u16(), message }
}

/// A job's place with the server: one of those that wait, until its turn comes. Given back by dropping it.
#[derive(Debug)]
pub struct Place {
    server: Arc<LlamaCpp>,
}

impl Place {
    /// Waits for a slot, in order.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.server.slots.clone().acquire_owned().await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.jobs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counted for as long as a request may hold a slot.
struct Running<'a>(&'a LlamaCpp);

impl<'a> Running<'a> {
    fn begin(server: &'a LlamaCpp) -> Self {
        server.running.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }

    /// Ours, without this one.
    fn others(&self) -> usize {
        self.0.running.load(Ordering::Relaxed).saturating_sub(1)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
