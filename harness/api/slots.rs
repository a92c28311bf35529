//! What an engine says of itself: what it serves, and what it is doing: the proof that an abandoned job has really ended.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Finding;
use crate::harness::exposition::Scrape;
use crate::harness::http::{self, Base, Request};

const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// The name of the model that it serves.
pub fn model(base: &Base) -> Option<String> {
    let models = http::send(base, &Request::get("/v1/models"), PATIENCE).ok()?.json().ok()?;
    models["data"][0]["id"].as_str().map(str::to_owned)
}

/// How many tokens a job may have in all.
pub fn context(base: &Base) -> Option<u64> {
    let ask = |path: &str| http::send(base, &Request::get(path), PATIENCE).ok()?.json().ok();
    let told = ask("/props").and_then(|props| props["default_generation_settings"]["n_ctx"].as_u64());
    told.or_else(|| {
        let models = ask("/v1/models")?;
        models["data"][0]["meta"]["n_ctx"].as_u64().or_else(|| models["data"][0]["max_model_len"].as_u64())
    })
}

/// How many of its slots work: `/slots`, or the gauge of `/metrics` where a server keeps its slots to itself.
pub fn working(base: &Base) -> Result<usize, Finding> {
    let slots = http::send(base, &Request::get("/slots"), PATIENCE)?;
    if slots.status == 200
        && let Ok(Value::Array(slots)) = slots.json()
    {
        return Ok(slots.iter().filter(|slot| slot["is_processing"] == true).count());
    }
    let metrics = http::send(base, &Request::get("/metrics"), PATIENCE)?;
    let scrape = (metrics.status == 200).then(|| Scrape::parse(&metrics.text()).ok()).flatten();
    let gauge = "llamacpp:requests_processing";
    match scrape.filter(|_| metrics.text().contains(gauge)) {
        Some(scrape) => Ok(scrape.sum(gauge) as usize),
        None => {
            let found = format!("GET /slots answers {}, and /metrics does not count them", slots.status);
            Err(Finding::unimplemented("a server that shows what its slots do (llama-server --slots or --metrics)", found))
        }
    }
}

/// Waits until so many work, and says how long that took.
pub fn wait_until(base: &Base, wanted: usize, within: Duration) -> Result<Duration, Finding> {
    let began = Instant::now();
    loop {
        let found = working(base)?;
        if found == wanted {
            return Ok(began.elapsed());
        }
        if began.elapsed() >= within {
            let expected = format!("{wanted} working slots within {within:.1?}");
            return Err(Finding::fail(expected, format!("{found} still work")));
        }
        std::thread::park_timeout(LOOK);
    }
}
