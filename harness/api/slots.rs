//! What an engine says of itself: what it serves, and what it is doing: the proof that an abandoned job has really ended.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Finding;
use crate::harness::exposition::Scrape;
use crate::harness::http::{self, Answer, Base, Request};

const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// A server that runs, and the key that it asks for.
#[derive(Clone, Debug)]
pub struct Engine {
    pub base: Base,
    pub key: Option<String>,
}

impl Engine {
    pub fn at(base: &Base) -> Engine {
        Engine { base: base.clone(), key: None }
    }

    fn get(&self, path: &str) -> Result<Answer, Finding> {
        let request = Request::get(path);
        let request = match &self.key {
            Some(key) => request.bearer(key),
            None => request,
        };
        Ok(http::send(&self.base, &request, PATIENCE)?)
    }

    fn document(&self, path: &str) -> Value {
        self.get(path).and_then(|answer| answer.json()).unwrap_or_default()
    }

    /// The name of the model that it serves.
    pub fn model(&self) -> Option<String> {
        self.document("/v1/models")["data"][0]["id"].as_str().map(str::to_owned)
    }

    /// How many tokens a job may have in all.
    pub fn context(&self) -> Option<u64> {
        let told = self.document("/props")["default_generation_settings"]["n_ctx"].as_u64();
        told.or_else(|| {
            let model = self.document("/v1/models")["data"][0].clone();
            model["meta"]["n_ctx"].as_u64().or_else(|| model["max_model_len"].as_u64())
        })
    }

    /// How many of its slots work: `/slots`, or the gauge of `/metrics` where a server keeps its slots to itself.
    pub fn working(&self) -> Result<usize, Finding> {
        let slots = self.get("/slots")?;
        if slots.status == 200
            && let Ok(Value::Array(slots)) = slots.json()
        {
            return Ok(slots.iter().filter(|slot| slot["is_processing"] == true).count());
        }
        let gauge = "llamacpp:requests_processing";
        let metrics = self.get("/metrics")?;
        match Scrape::parse(&metrics.text()).ok().filter(|scrape| metrics.status == 200 && scrape.has(gauge)) {
            Some(scrape) => Ok(scrape.sum(gauge) as usize),
            None => {
                let found = format!("GET /slots answers {}, and /metrics does not count them", slots.status);
                let expected = "a server that shows what its slots do (llama-server --slots or --metrics)";
                Err(Finding::unimplemented(expected, found))
            }
        }
    }

    /// Waits until so many work, and says how long that took.
    pub fn wait_until(&self, wanted: usize, within: Duration) -> Result<Duration, Finding> {
        let began = Instant::now();
        loop {
            let found = self.working()?;
            if found == wanted {
                return Ok(began.elapsed());
            }
            if began.elapsed() >= within {
                let expected = format!("{wanted} working slots within {within:.1?}");
                return Err(Finding::fail(expected, format!("{found} work")));
            }
            std::thread::park_timeout(LOOK);
        }
    }
}
