//! `/metrics`: what the node counts, in Prometheus text. Two scrapes without work between are equal, uptime aside.

use prometheus::{Encoder, Gauge, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::registry;

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By pool and outcome.
    pub jobs: IntCounterVec,
    pub tokens_out: IntCounterVec,
    pub workers_started: IntCounter,
    pub workers_failed: IntCounter,
    pub heartbeats: IntCounterVec,
    slots_total: IntGaugeVec,
    slots_free: IntGaugeVec,
    ready: IntGaugeVec,
    uptime: Gauge,
}

/// How a relayed job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    End,
    Error,
    Refused,
    Cancelled,
    Disconnected,
    WorkerReset,
}

impl Outcome {
    const ALL: [Outcome; 6] = [
        Outcome::End,
        Outcome::Error,
        Outcome::Refused,
        Outcome::Cancelled,
        Outcome::Disconnected,
        Outcome::WorkerReset,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Outcome::End => "end",
            Outcome::Error => "error",
            Outcome::Refused => "refused",
            Outcome::Cancelled => "cancelled",
            Outcome::Disconnected => "disconnected",
            Outcome::WorkerReset => "worker_reset",
        }
    }
}

impl Metrics {
    pub fn new(pools: &[String]) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["pool_id"]);
        let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            registry: Registry::new(),
            jobs: counter("pool_jobs_total", "Jobs by how they ended here", &["pool_id", "outcome"])?,
            tokens_out: counter("pool_tokens_out_total", "Tokens of the jobs that ended", &["pool_id"])?,
            workers_started: IntCounter::new("pool_workers_started_total", "Workers that were started")?,
            workers_failed: IntCounter::new("pool_workers_failed_total", "Workers that failed")?,
            heartbeats: counter("pool_heartbeats_total", "Heartbeats by what came of them", &["outcome"])?,
            slots_total: gauge("pool_slots_total", "Slots of the ready replicas")?,
            slots_free: gauge("pool_slots_free", "Slots without a job")?,
            ready: gauge("pool_ready", "1 where a job could start")?,
            uptime: Gauge::new("pool_uptime_seconds", "Since the process started")?,
        };
        for pool in pools {
            for outcome in Outcome::ALL {
                metrics.jobs.with_label_values(&[pool.as_str(), outcome.word()]);
            }
            metrics.tokens_out.with_label_values(&[pool.as_str()]);
        }
        for outcome in ["success", "error"] {
            metrics.heartbeats.with_label_values(&[outcome]);
        }
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.jobs.clone()))?;
        registry.register(Box::new(metrics.tokens_out.clone()))?;
        registry.register(Box::new(metrics.workers_started.clone()))?;
        registry.register(Box::new(metrics.workers_failed.clone()))?;
        registry.register(Box::new(metrics.heartbeats.clone()))?;
        registry.register(Box::new(metrics.slots_total.clone()))?;
        registry.register(Box::new(metrics.slots_free.clone()))?;
        registry.register(Box::new(metrics.ready.clone()))?;
        registry.register(Box::new(metrics.uptime.clone()))?;
        Ok(metrics)
    }

    pub fn ended(&self, pool_id: &str, outcome: Outcome) {
        self.jobs.with_label_values(&[pool_id, outcome.word()]).inc();
    }

    /// The text of a scrape, with the gauges as they are now.
    pub fn render(&self, pools: &registry::Registry, uptime_seconds: f64) -> Result<Vec<u8>, prometheus::Error> {
        for pool in pools.pools() {
            let summary = super::status::Summary::of(pool);
            let label = [pool.id.as_str()];
            self.slots_total.with_label_values(&label).set(summary.slots_total as i64);
            self.slots_free.with_label_values(&label).set(summary.slots_free as i64);
            self.ready.with_label_values(&label).set(i64::from(summary.ready));
        }
        self.uptime.set(uptime_seconds);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
