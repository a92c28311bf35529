//! The counters of `/metrics`, and their text.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::http_server::Response;
use super::mistakes::Slip;
use super::options::Script;

#[derive(Default)]
pub struct Metrics {
    counters: Mutex<Counters>,
}

#[derive(Default)]
struct Counters {
    requests: BTreeMap<&'static str, u64>,
    tokens_in: u64,
    tokens_generated: u64,
    first_token: Histogram,
    inter_token: Histogram,
    duration: Histogram,
    scrapes: u64,
}

/// Upper bounds in milliseconds.
const BOUNDS: [f64; 8] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 1000.0, 10_000.0];

#[derive(Default)]
struct Histogram {
    /// How many observations fell up to each bound.
    within: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

/// What a finished job adds.
pub struct JobRecord {
    pub outcome: &'static str,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// Milliseconds from the start to each token.
    pub token_times: Vec<f64>,
    pub duration: f64,
}

/// What the gauges show at the moment of a scrape.
pub struct Gauges {
    pub memory_bytes: u64,
    pub uptime_seconds: u64,
    pub queue_depth: usize,
}

impl Histogram {
    fn observe(&mut self, value: f64) {
        for (count, bound) in self.within.iter_mut().zip(BOUNDS) {
            *count += u64::from(value <= bound);
        }
        self.count += 1;
        self.sum += value;
    }

    fn render(&self, name: &str) -> String {
        let mut text = format!("# TYPE {name} histogram\n");
        for (count, bound) in self.within.iter().zip(BOUNDS) {
            text += &format!("{name}_bucket{{le=\"{bound}\"}} {count}\n");
        }
        text += &format!("{name}_bucket{{le=\"+Inf\"}} {}\n{name}_sum {}\n", self.count, self.sum);
        text + &format!("{name}_count {}\n", self.count)
    }
}

impl Metrics {
    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that was refused before it became a job.
    pub fn refused(&self) {
        *self.counters().requests.entry("error").or_default() += 1;
    }

    pub fn record(&self, job: &JobRecord, script: Script) {
        let mut counters = self.counters();
        let outcome = match job.outcome {
            "cancelled" if script.plays(Slip::CancelledAsSuccess) => "success",
            outcome => outcome,
        };
        *counters.requests.entry(outcome).or_default() += 1;
        counters.tokens_in += job.tokens_in;
        if script.plays(Slip::TokenCounterResets) {
            counters.tokens_generated = 0;
        }
        counters.tokens_generated += if script.plays(Slip::TokenCounterWrong) { 1 } else { job.tokens_out };
        let mut last = None;
        for &time in &job.token_times {
            match last.replace(time) {
                None => counters.first_token.observe(time),
                Some(before) => counters.inter_token.observe(time - before),
            }
        }
        counters.duration.observe(job.duration);
    }

    pub fn scrape(&self, gauges: &Gauges, script: Script) -> Response {
        let mut counters = self.counters();
        counters.scrapes += 1;
        if script.plays(Slip::CounterIdles) {
            counters.tokens_generated += 1;
        }
        let jitter = if script.plays(Slip::ScrapesDiffer) { counters.scrapes } else { 0 };
        let memory = gauges.memory_bytes + jitter;
        if script.plays(Slip::MetricsAsJson) {
            let body =
                json!({"worker_memory_bytes": memory, "worker_tokens_generated_total": counters.tokens_generated});
            return Response::json(200, &body);
        }
        let mut text = String::new();
        let mut single = |name: &str, kind: &str, value: u64| {
            text += &format!("# TYPE {name} {kind}\n{name} {value}\n");
        };
        single("worker_memory_bytes", "gauge", memory);
        single("worker_vram_bytes", "gauge", 0);
        single("worker_queue_depth", "gauge", gauges.queue_depth as u64);
        single("worker_uptime_seconds", "gauge", gauges.uptime_seconds);
        single("worker_tokens_in_total", "counter", counters.tokens_in);
        single("worker_tokens_generated_total", "counter", counters.tokens_generated);
        if !script.plays(Slip::RequestsTotalMissing) {
            text += "# TYPE worker_requests_total counter\n";
            for outcome in ["success", "error", "cancelled", "timeout"] {
                let count = counters.requests.get(outcome).copied().unwrap_or(0);
                text += &format!("worker_requests_total{{outcome=\"{outcome}\"}} {count}\n");
            }
        }
        text += &counters.first_token.render("worker_first_token_ms");
        text += &counters.inter_token.render("worker_inter_token_ms");
        text += &counters.duration.render("worker_inference_duration_ms");
        Response::text(200, "text/plain; version=0.0.4; charset=utf-8", text)
    }
}
