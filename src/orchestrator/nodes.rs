//! The nodes as they report themselves: who is there, with which pools, models and slots.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::task::now_ms;

/// What a node says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    pub node_id: String,
    pub machine_id: String,
    /// Its pool manager's base URL, without a slash at the end.
    pub address: String,
    pub pools: Vec<String>,
    pub capabilities: Value,
    pub version: String,
    pub registered_at_ms: u64,
}

/// A model as a node lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListedModel {
    pub id: String,
    #[schema(required)]
    pub context_length: Option<u32>,
}

/// A pool's replica as a heartbeat reports it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PoolReport {
    pub pool_id: String,
    pub replica_id: String,
    pub ready: bool,
    pub draining: bool,
    pub slots_free: u32,
    pub slots_total: u32,
    pub vram_free_bytes: u64,
    pub engine: String,
    pub engine_version: String,
    pub device_mask: String,
    pub models: Vec<ListedModel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Registered, or known from before a restart; no heartbeat yet.
    Registering,
    Online,
    /// All of its pools are draining.
    Draining,
    /// No heartbeat for too long.
    Offline,
    /// It could not be reached since its last heartbeat.
    Failed,
}

/// A slot that was given back this recently may still be counted as taken by the node.
const REPORT_LAG: Duration = Duration::from_secs(2);

/// A pool's replica, and what this orchestrator runs on it.
#[derive(Debug)]
pub struct Pool {
    pub report: PoolReport,
    /// Tasks of ours that hold a slot; never below zero, never above `slots_total` but for a report that shrinks.
    pub leases: u32,
    /// Slots that somebody else holds, as of the last report.
    foreign: u32,
    returned: Vec<Instant>,
    /// The pool said that it is busy though it seemed to have a slot: not before this.
    pub not_before: Option<Instant>,
    /// Tells it from one of the same name that was there before: whose lease it is.
    pub life: u64,
}

impl Pool {
    fn new(report: PoolReport) -> Self {
        static LIVES: AtomicU64 = AtomicU64::new(0);
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let mut pool = Self { report, leases: 0, foreign: 0, returned: Vec::new(), not_before: None, life };
        pool.count_foreign(Instant::now());
        pool
    }

    /// What the node counts as taken beyond our leases is somebody else's.
    fn count_foreign(&mut self, now: Instant) {
        self.returned.retain(|returned| now.duration_since(*returned) < REPORT_LAG);
        let ours = self.leases + self.returned.len() as u32;
        self.foreign = self.report.slots_total.saturating_sub(self.report.slots_free).saturating_sub(ours);
    }

    pub fn free(&self, now: Instant) -> u32 {
        if self.not_before.is_some_and(|instant| now < instant) {
            return 0;
        }
        self.report.slots_total.saturating_sub(self.foreign).saturating_sub(self.leases)
    }

    fn give_back(&mut self, now: Instant) {
        self.leases = self.leases.saturating_sub(1);
        self.returned.retain(|returned| now.duration_since(*returned) < REPORT_LAG);
        self.returned.push(now);
    }
}

/// A pool's id, and a replica's or nothing.
pub type PoolKey = (String, String);

#[derive(Debug)]
pub struct Node {
    pub registration: Registration,
    pub last_heartbeat: Option<Instant>,
    pub last_heartbeat_ms: Option<u64>,
    failed: bool,
    /// By pool; and by replica, where a report has several of one pool.
    pub pools: BTreeMap<PoolKey, Pool>,
}

impl Node {
    pub fn state(&self, now: Instant, timeout: Duration) -> NodeState {
        match self.last_heartbeat {
            None => NodeState::Registering,
            Some(last) if now.duration_since(last) > timeout => NodeState::Offline,
            Some(_) if self.failed => NodeState::Failed,
            Some(_) if !self.pools.is_empty() && self.pools.values().all(|pool| pool.report.draining) => {
                NodeState::Draining
            }
            Some(_) => NodeState::Online,
        }
    }
}

#[derive(Debug)]
pub struct Nodes {
    pub timeout: Duration,
    nodes: BTreeMap<String, Node>,
}

impl Nodes {
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, nodes: BTreeMap::new() }
    }

    /// Registers, or registers again: what runs there, and what was reported, stays.
    pub fn register(&mut self, registration: Registration) {
        match self.nodes.get_mut(&registration.node_id) {
            Some(node) => {
                let moved = node.registration.address != registration.address;
                node.registration = registration;
                if moved {
                    node.pools.clear();
                    node.last_heartbeat = None;
                }
            }
            None => {
                let id = registration.node_id.clone();
                let node = Node {
                    registration,
                    last_heartbeat: None,
                    last_heartbeat_ms: None,
                    failed: false,
                    pools: BTreeMap::new(),
                };
                self.nodes.insert(id, node);
            }
        }
    }

    /// Takes a report. False for a node that is not known.
    pub fn heartbeat(&mut self, node_id: &str, reports: Vec<PoolReport>) -> bool {
        let Some(node) = self.nodes.get_mut(node_id) else { return false };
        let now = Instant::now();
        node.last_heartbeat = Some(now);
        node.last_heartbeat_ms = Some(now_ms());
        node.failed = false;
        let mut before = std::mem::take(&mut node.pools);
        let several = |pool_id: &str, reports: &[PoolReport]| {
            reports.iter().filter(|report| report.pool_id == pool_id).count() > 1
        };
        let keys: Vec<_> = reports
            .iter()
            .map(|report| {
                let replica = if several(&report.pool_id, &reports) { report.replica_id.as_str() } else { "" };
                (report.pool_id.clone(), replica.to_owned())
            })
            .collect();
        for (report, key) in reports.into_iter().zip(keys) {
            let pool = match before.remove(&key) {
                Some(mut pool) => {
                    pool.report = report;
                    pool.count_foreign(now);
                    pool
                }
                None => Pool::new(report),
            };
            node.pools.insert(key, pool);
        }
        // A pool that is not reported any more, and on which something still runs, is not ready until that ends.
        for (key, mut pool) in before {
            if pool.leases > 0 {
                pool.report.ready = false;
                node.pools.insert(key, pool);
            }
        }
        true
    }

    pub fn remove(&mut self, node_id: &str) -> bool {
        self.nodes.remove(node_id).is_some()
    }

    pub fn get(&self, node_id: &str) -> Option<&Node> {
        self.nodes.get(node_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub fn state(&self, node_id: &str) -> Option<NodeState> {
        self.nodes.get(node_id).map(|node| node.state(Instant::now(), self.timeout))
    }

    /// The node could not be reached: no work until it reports itself again.
    pub fn mark_failed(&mut self, node_id: &str) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.failed = true;
        }
    }

    /// Every replica of a pool, on every node.
    pub fn replicas_mut<'a>(&'a mut self, pool_id: &'a str) -> impl Iterator<Item = &'a mut Pool> {
        let pools = self.nodes.values_mut().flat_map(|node| node.pools.iter_mut());
        pools.filter(move |((id, _), _)| id == pool_id).map(|(_, pool)| pool)
    }

    /// Every replica of a pool on one node.
    pub fn replicas_of_mut<'a>(&'a mut self, node_id: &str, pool_id: &'a str) -> impl Iterator<Item = &'a mut Pool> {
        let pools = self.nodes.get_mut(node_id).into_iter().flat_map(|node| node.pools.iter_mut());
        pools.filter(move |((id, _), _)| id == pool_id).map(|(_, pool)| pool)
    }

    pub fn pool_mut(&mut self, node_id: &str, key: &PoolKey) -> Option<&mut Pool> {
        self.nodes.get_mut(node_id)?.pools.get_mut(key)
    }

    /// Gives the life of the pool that the lease is of.
    pub fn lease(&mut self, node_id: &str, key: &PoolKey) -> Option<u64> {
        let pool = self.pool_mut(node_id, key)?;
        pool.leases += 1;
        Some(pool.life)
    }

    /// A pool that has come anew since then was never leased.
    pub fn give_back(&mut self, node_id: &str, key: &PoolKey, life: Option<u64>) {
        if let Some(pool) = self.pool_mut(node_id, key).filter(|pool| Some(pool.life) == life) {
            pool.give_back(Instant::now());
        }
    }
}
