//! Jobs that are known to run long on this worker: because the stub is paced, or because it was measured.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value, json};

use super::worker::{Worker, unique};
use crate::harness::Finding;
use crate::harness::transcript::{End, is_terminal};

/// The most tokens that the contract lets a job ask for.
const MOST_TOKENS: u32 = 2048;

impl Worker {
    /// A request that will run for at least this long, with a `job_id` of its own.
    ///
    /// A paced stub is known by its flags. Any other worker is measured: the longest job that the contract allows is
    /// run, with a seed, until it has lasted that long, and is then hung up on; the same seed gives the same tokens. Where
    /// no such job exists (the worker is too fast, the context too short) that is UNIMPLEMENTED, with what was measured.
    pub fn long_job(&self, at_least: Duration) -> Result<Value, Finding> {
        if let Some(pace) = self.stub {
            return paced(pace.tokens.unwrap_or(2), pace.delay, at_least);
        }
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, body)) = longest.as_ref().filter(|(lasted, _)| *lasted >= at_least) {
            return Ok(fresh(body));
        }
        let mut measured = Vec::new();
        for seed in 1..=3 {
            let body = json!({
                "job_id": unique("pace"), "prompt": "Once upon a time", "max_tokens": MOST_TOKENS,
                "temperature": 1.0, "seed": seed,
            });
            let stream = self.execute(&body)?;
            // From `started` on: the job may have waited for others before.
            let began = stream.wait_for_event("started", LONGEST_WAIT)?.at;
            // That this wait fails is what is hoped for.
            let _ = stream.wait_until("its end", at_least, |frames| frames.iter().any(is_terminal));
            let transcript = stream.close();
            // A worker that sends everything at the end says in its `end` how long it computed.
            let told = transcript.field("end", "decode_time_ms").and_then(|time| time.as_f64()).unwrap_or_default();
            let still_runs = transcript.end == End::Disconnected && transcript.terminal().is_none();
            if still_runs || told >= at_least.as_secs_f64() * 1000.0 {
                *longest = Some((at_least, body.clone()));
                return Ok(fresh(&body));
            }
            measured.push(format!("{:.2?} ({})", transcript.ended_at.saturating_sub(began), transcript.summary()));
        }
        let found = format!("the longest jobs that the contract allows took {}", measured.join(", "));
        Err(Finding::unimplemented(format!("a job that runs for {at_least:.1?}"), found))
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(60);

fn paced(tokens: u32, delay: Duration, at_least: Duration) -> Result<Value, Finding> {
    let lasts = delay * tokens;
    if lasts < at_least {
        let found = format!("the stub was started with {tokens} tokens of {delay:?}, {lasts:.1?} in all");
        return Err(Finding::error(format!("a stub paced for {at_least:.1?}"), found));
    }
    Ok(
        json!({ "job_id": unique("long"), "prompt": "Once upon a time", "max_tokens": tokens.clamp(1, MOST_TOKENS), "seed": 1 }),
    )
}

fn fresh(body: &Value) -> Value {
    let mut body = body.clone();
    body["job_id"] = unique("long").into();
    body
}
