//! `/metrics`: what the worker counts, in Prometheus text. Every series is there from the start, at zero.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// How an admitted job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Error,
    Cancelled,
    Timeout,
}

impl Outcome {
    const ALL: [Outcome; 4] = [Outcome::Success, Outcome::Error, Outcome::Cancelled, Outcome::Timeout];

    pub fn word(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Error => "error",
            Outcome::Cancelled => "cancelled",
            Outcome::Timeout => "timeout",
        }
    }
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    memory_bytes: IntGauge,
    vram_bytes: IntGauge,
    requests: IntCounterVec,
    pub tokens_in: IntCounter,
    pub tokens_generated: IntCounter,
    pub first_token_ms: Histogram,
    pub inter_token_ms: Histogram,
    pub duration_ms: Histogram,
    uptime_seconds: Gauge,
    queue_depth: IntGauge,
}

const LATENCY_MS: [f64; 14] =
    [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];
const DURATION_MS: [f64; 14] =
    [1.0, 5.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0, 60_000.0, 300_000.0];

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            memory_bytes: IntGauge::new("worker_memory_bytes", "Bytes held in the host's memory, by account")?,
            vram_bytes: IntGauge::new("worker_vram_bytes", "Bytes held in a device's memory, by account")?,
            requests: IntCounterVec::new(
                Opts::new("worker_requests_total", "Admitted jobs by how they ended"),
                &["outcome"],
            )?,
            tokens_in: IntCounter::new("worker_tokens_in_total", "Tokens of the prompts that were read")?,
            tokens_generated: IntCounter::new("worker_tokens_generated_total", "Tokens sampled")?,
            first_token_ms: histogram("worker_first_token_ms", "From admission to the first text", &LATENCY_MS)?,
            inter_token_ms: histogram("worker_inter_token_ms", "From one piece of text to the next", &LATENCY_MS)?,
            duration_ms: histogram("worker_inference_duration_ms", "From start to end of a job", &DURATION_MS)?,
            uptime_seconds: Gauge::new("worker_uptime_seconds", "Since the process started")?,
            queue_depth: IntGauge::new("worker_queue_depth", "Jobs that wait")?,
        };
        for outcome in Outcome::ALL {
            metrics.requests.with_label_values(&[outcome.word()]);
        }
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.memory_bytes.clone()))?;
        registry.register(Box::new(metrics.vram_bytes.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.tokens_in.clone()))?;
        registry.register(Box::new(metrics.tokens_generated.clone()))?;
        registry.register(Box::new(metrics.first_token_ms.clone()))?;
        registry.register(Box::new(metrics.inter_token_ms.clone()))?;
        registry.register(Box::new(metrics.duration_ms.clone()))?;
        registry.register(Box::new(metrics.uptime_seconds.clone()))?;
        registry.register(Box::new(metrics.queue_depth.clone()))?;
        Ok(metrics)
    }

    pub fn ended(&self, outcome: Outcome) {
        self.requests.with_label_values(&[outcome.word()]).inc();
    }

    /// The text of a scrape, with the gauges as they are now.
    pub fn render(&self, now: Gauges) -> Result<Vec<u8>, prometheus::Error> {
        self.memory_bytes.set(i64::try_from(now.memory_bytes).unwrap_or(i64::MAX));
        self.vram_bytes.set(i64::try_from(now.vram_bytes).unwrap_or(i64::MAX));
        self.queue_depth.set(i64::try_from(now.queue_depth).unwrap_or(i64::MAX));
        self.uptime_seconds.set(now.uptime_seconds);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// What is read at the scrape and not counted along the way.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    pub memory_bytes: u64,
    pub vram_bytes: u64,
    pub queue_depth: usize,
    pub uptime_seconds: f64,
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
}
