//! `/metrics`: what the orchestrator counts, in Prometheus text. No label ever holds a task's id.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::placement::Strategy;
use super::task::Priority;

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    tasks_enqueued: IntCounterVec,
    tasks_started: IntCounterVec,
    tasks_canceled: IntCounterVec,
    tasks_rejected: IntCounterVec,
    placement_decisions: IntCounterVec,
    tokens_in: IntCounterVec,
    tokens_out: IntCounterVec,
    backpressure: IntCounterVec,
    catalog_verifications: IntCounterVec,
    node_registrations: IntCounterVec,
    node_heartbeats: IntCounterVec,
    queue_depth: IntGaugeVec,
    nodes_online: IntGauge,
    pools_available: IntGauge,
    model_state: IntGaugeVec,
    first_token_ms: HistogramVec,
    decode_ms: HistogramVec,
}

const FIRST_TOKEN_MS: [f64; 11] = [50.0, 100.0, 150.0, 200.0, 300.0, 500.0, 750.0, 1000.0, 1500.0, 2000.0, 3000.0];
const DECODE_MS: [f64; 10] = [250.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0, 4000.0, 6000.0, 8000.0, 12_000.0];
const PRIORITIES: [Priority; 2] = [Priority::Interactive, Priority::Batch];

/// What is read at the scrape and not counted along the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    pub interactive: usize,
    pub batch: usize,
    pub nodes_online: usize,
    pub pools_available: usize,
    pub models_active: usize,
    pub models_retired: usize,
}

/// What a task's samples are labelled with.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    pub engine: &'a str,
    pub engine_version: &'a str,
    pub pool_id: &'a str,
    pub replica_id: &'a str,
    pub priority: Priority,
}

impl Metrics {
    /// `engines` are those that tasks may name: their series are there from the start, at zero.
    pub fn new(engines: &[&str]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauges = |name: &str, help: &str, label: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| -> Result<HistogramVec, prometheus::Error> {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = HistogramVec::new(options, &["engine", "priority"])?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let place = ["engine", "engine_version", "pool_id", "replica_id", "priority"];
        let metrics = Self {
            tasks_enqueued: counter("tasks_enqueued_total", "Tasks admitted", &["engine", "priority"])?,
            tasks_started: counter("tasks_started_total", "Tasks that a worker started", &place)?,
            tasks_canceled: counter("tasks_canceled_total", "Tasks ended before their own end", &["reason"])?,
            tasks_rejected: counter("tasks_rejected_total", "Tasks not admitted", &["reason"])?,
            placement_decisions: counter(
                "placement_decisions_total",
                "Slots given to tasks, and tasks for which there is none",
                &["pool_id", "replica_id", "policy", "outcome"],
            )?,
            tokens_in: counter(
                "tokens_in_total",
                "Tokens of the prompts of tasks that ended: as the engine counts them, else a quarter of their bytes",
                &["engine"],
            )?,
            tokens_out: counter("tokens_out_total", "The tokens_out of the tasks that ended", &["engine"])?,
            backpressure: counter("admission_backpressure_events_total", "Times the queue was full", &["policy"])?,
            catalog_verifications: counter(
                "catalog_verifications_total",
                "Models looked for on the nodes",
                &["outcome"],
            )?,
            node_registrations: counter("node_registrations_total", "Registrations taken", &["outcome"])?,
            node_heartbeats: counter(
                "node_heartbeats_total",
                "Heartbeats, from known and unknown nodes",
                &["outcome"],
            )?,
            queue_depth: gauges("queue_depth", "Tasks that wait", "priority")?,
            nodes_online: gauge("nodes_online", "Nodes that take work")?,
            pools_available: gauge("pools_available", "Pools of those nodes that are ready and not draining")?,
            model_state: gauges("model_state", "Models of the catalog by state", "outcome")?,
            first_token_ms: histogram("latency_first_token_ms", "From admission to the first token", &FIRST_TOKEN_MS)?,
            decode_ms: histogram("latency_decode_ms", "From the first token to the end", &DECODE_MS)?,
            registry,
        };
        metrics.begin(engines);
        Ok(metrics)
    }

    fn begin(&self, engines: &[&str]) {
        for engine in engines {
            self.tokens_in.with_label_values(&[engine]);
            self.tokens_out.with_label_values(&[engine]);
            for priority in PRIORITIES {
                self.tasks_enqueued.with_label_values(&[engine, priority.word()]);
                self.first_token_ms.with_label_values(&[engine, priority.word()]);
                self.decode_ms.with_label_values(&[engine, priority.word()]);
            }
        }
        for reason in ["cancelled", "disconnected", "dropped", "deadline", "budget"] {
            self.tasks_canceled.with_label_values(&[reason]);
        }
        for policy in ["reject", "drop-lru"] {
            self.backpressure.with_label_values(&[policy]);
        }
        for outcome in ["available", "missing"] {
            self.catalog_verifications.with_label_values(&[outcome]);
        }
        self.node_registrations.with_label_values(&["ok"]);
        self.node_heartbeats.with_label_values(&["ok"]);
    }

    pub fn enqueued(&self, engine: &str, priority: Priority) {
        self.tasks_enqueued.with_label_values(&[engine, priority.word()]).inc();
    }

    pub fn started(&self, labels: Labels<'_>) {
        let Labels { engine, engine_version, pool_id, replica_id, priority } = labels;
        self.tasks_started.with_label_values(&[engine, engine_version, pool_id, replica_id, priority.word()]).inc();
    }

    pub fn canceled(&self, reason: &str) {
        self.tasks_canceled.with_label_values(&[reason]).inc();
    }

    pub fn rejected(&self, reason: &str) {
        self.tasks_rejected.with_label_values(&[reason]).inc();
    }

    pub fn placed(&self, pool_id: &str, replica_id: &str, strategy: Strategy) {
        self.placement_decisions.with_label_values(&[pool_id, replica_id, strategy.word(), "placed"]).inc();
    }

    pub fn not_placed(&self, strategy: Strategy, outcome: &str) {
        self.placement_decisions.with_label_values(&["", "", strategy.word(), outcome]).inc();
    }

    pub fn backpressure(&self, policy: &str) {
        self.backpressure.with_label_values(&[policy]).inc();
    }

    pub fn tokens(&self, engine: &str, tokens_in: u64, tokens_out: u64) {
        self.tokens_in.with_label_values(&[engine]).inc_by(tokens_in);
        self.tokens_out.with_label_values(&[engine]).inc_by(tokens_out);
    }

    pub fn first_token(&self, engine: &str, priority: Priority, ms: f64) {
        self.first_token_ms.with_label_values(&[engine, priority.word()]).observe(ms);
    }

    pub fn decoded(&self, engine: &str, priority: Priority, ms: f64) {
        self.decode_ms.with_label_values(&[engine, priority.word()]).observe(ms);
    }

    pub fn verified(&self, outcome: &str) {
        self.catalog_verifications.with_label_values(&[outcome]).inc();
    }

    pub fn registered(&self) {
        self.node_registrations.with_label_values(&["ok"]).inc();
    }

    pub fn heartbeat(&self, outcome: &str) {
        self.node_heartbeats.with_label_values(&[outcome]).inc();
    }

    /// The text of a scrape, with the gauges as they are now.
    pub fn render(&self, now: Gauges) -> Result<Vec<u8>, prometheus::Error> {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.queue_depth.with_label_values(&["interactive"]).set(whole(now.interactive));
        self.queue_depth.with_label_values(&["batch"]).set(whole(now.batch));
        self.nodes_online.set(whole(now.nodes_online));
        self.pools_available.set(whole(now.pools_available));
        self.model_state.with_label_values(&["active"]).set(whole(now.models_active));
        self.model_state.with_label_values(&["retired"]).set(whole(now.models_retired));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
