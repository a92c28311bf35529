//! The queue and the nodes under one lock: who waits, which slots are leased, and who gets one next.
//!
//! Whatever changes either calls `dispatch`, which hands leases to waiting tasks in their order. A task that can't be
//! placed now does not hold up one behind it that can: they may want different models.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::metrics::Metrics;
use super::narration::narrate;
use super::nodes::{Nodes, PoolKey};
use super::placement::{self, Candidate, Demand, Obstacle, Strategy};
use super::prediction::{self, ServiceTimes};
use super::queue::{Entry, Policy, Pushed, Queue, Take};
use super::sessions::Session;
use super::task::{Cause, Priority, Target, Task, TaskSpec};

/// A slot of a pool's replica, ours until this is dropped.
#[derive(Debug)]
pub struct Lease {
    scheduler: Arc<Scheduler>,
    task_id: Uuid,
    pub node_id: String,
    /// What the slot is counted under.
    key: PoolKey,
    /// The pool's, when the lease was taken.
    life: Option<u64>,
    pub address: String,
    pub pool_id: String,
    pub replica_id: String,
    pub engine: String,
    pub engine_version: String,
    /// The task's model, as the pool lists it.
    pub model: String,
}

impl Lease {
    pub fn target(&self) -> Target {
        Target { node_id: self.node_id.clone(), pool_id: self.pool_id.clone() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        {
            let mut state = self.scheduler.state();
            state.running.remove(&self.task_id);
            state.nodes.give_back(&self.node_id, &self.key, self.life);
        }
        self.scheduler.dispatch();
    }
}

/// A task in the queue.
#[derive(Debug)]
struct Waiting {
    task: Arc<Task>,
    session: Arc<Session>,
    /// Where it has just failed.
    shun: Option<Target>,
    placed: oneshot::Sender<Lease>,
}

impl Entry for Waiting {
    fn id(&self) -> Uuid {
        self.task.id()
    }

    fn priority(&self) -> Priority {
        self.task.spec().priority
    }
}

/// A task on a slot.
#[derive(Debug)]
struct Running {
    place: (String, PoolKey),
    since: Instant,
    expected_ms: f64,
}

/// A task that has a place in the queue; the lease comes through here.
pub type Turn = oneshot::Receiver<Lease>;

/// The queue is full.
#[derive(Clone, Copy, Debug)]
pub struct Full {
    pub policy: Policy,
    pub retry_after_ms: u64,
}

#[derive(Debug)]
pub struct Scheduler {
    strategy: Strategy,
    policy: Policy,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub struct State {
    pub nodes: Nodes,
    queue: Queue<Waiting>,
    running: HashMap<Uuid, Running>,
    times: ServiceTimes,
    /// Placements so far.
    turn: usize,
    /// Lowered by a stop: what waits then waits for the next start.
    dispatching: bool,
}

impl Scheduler {
    pub fn new(
        nodes: Nodes,
        capacity: Option<usize>,
        policy: Policy,
        strategy: Strategy,
        metrics: Arc<Metrics>,
    ) -> Self {
        let state = State {
            nodes,
            queue: Queue::new(capacity, policy),
            running: HashMap::new(),
            times: ServiceTimes::default(),
            turn: 0,
            dispatching: true,
        };
        Self { strategy, policy, metrics, state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the queue for the task that `make` builds from its position and its predicted start; `make` may refuse.
    pub fn admit<E>(
        &self,
        spec: &TaskSpec,
        model_names: &[String],
        session: &Arc<Session>,
        make: impl FnOnce(usize, u64) -> Result<Arc<Task>, E>,
    ) -> Result<Result<(Arc<Task>, Turn), E>, Full> {
        let dropped;
        let admitted = {
            let mut state = self.state();
            if state.queue.would_refuse() {
                return Err(Full { policy: self.policy, retry_after_ms: state.room_ms() });
            }
            let position = state.queue.depth(spec.priority);
            let predicted = state.predict(spec, model_names, None);
            let task = match make(position, predicted) {
                Ok(task) => task,
                Err(error) => return Ok(Err(error)),
            };
            let (placed, turn) = oneshot::channel();
            let waiting = Waiting { task: task.clone(), session: session.clone(), shun: None, placed };
            dropped = match state.queue.push(waiting) {
                Pushed::InsteadOf(oldest, _) => Some(oldest),
                Pushed::At(_) | Pushed::Full(_) => None,
            };
            (task, turn)
        };
        if let Some(oldest) = dropped {
            oldest.task.stop(Cause::Dropped);
        }
        Ok(Ok(admitted))
    }

    /// A place for a task that was admitted before: at the front after a failed attempt, in order after a restart.
    pub fn readmit(
        self: &Arc<Self>,
        task: &Arc<Task>,
        session: &Arc<Session>,
        shun: Option<Target>,
        front: bool,
    ) -> Turn {
        let (placed, turn) = oneshot::channel();
        let waiting = Waiting { task: task.clone(), session: session.clone(), shun, placed };
        let mut state = self.state();
        if front {
            state.queue.push_front(waiting);
        } else {
            state.queue.restore(waiting);
        }
        drop(state);
        self.dispatch();
        turn
    }

    /// Takes a task that will not run out of the queue.
    pub fn leave_queue(&self, task_id: Uuid) {
        let left = self.state().queue.remove(task_id);
        drop(left);
    }

    /// Hands a lease to each waiting task that can be placed now.
    pub fn dispatch(self: &Arc<Self>) {
        let placed = {
            let mut state = self.state();
            if !state.dispatching { Vec::new() } else { self.place_waiting(&mut state) }
        };
        // A lease whose task does not wait any more comes back by being dropped: outside the lock.
        for (waiting, lease) in placed {
            let human = format!("Places the task on pool {} of node {}", lease.pool_id, lease.node_id);
            narrate("placement", &waiting.id().to_string(), &waiting.task.admitted.correlation, &human);
            let _ = waiting.placed.send(lease);
        }
    }

    fn place_waiting(self: &Arc<Self>, state: &mut State) -> Vec<(Waiting, Lease)> {
        let State { nodes, queue, running, times, turn, .. } = state;
        let mut leases = Vec::new();
        let taken = queue.take_where(|waiting| {
            let candidates = placement::candidates(nodes);
            if candidates.iter().all(|candidate| candidate.free == 0) {
                return Take::NoMore;
            }
            let spec = waiting.task.spec();
            let last = waiting.session.last_place(spec.kv_hint);
            let demand = Demand {
                last: last.as_ref().map(|target| (target.node_id.as_str(), target.pool_id.as_str())),
                shun: waiting.shun.as_ref().map(|target| (target.node_id.as_str(), target.pool_id.as_str())),
                ..demand(spec, &waiting.task.admitted.model_names)
            };
            let random = Uuid::new_v4().as_u64_pair().1;
            let Ok(chosen) = placement::place(&candidates, &demand, self.strategy, *turn, random) else {
                return Take::Next;
            };
            let report = chosen.report;
            let (node_id, key) = (chosen.node_id.to_owned(), chosen.key.clone());
            self.metrics.placed(&report.pool_id, &report.replica_id, self.strategy);
            let mut lease = Lease {
                scheduler: self.clone(),
                task_id: spec.task_id,
                address: nodes.get(&node_id).map(|node| node.registration.address.clone()).unwrap_or_default(),
                pool_id: report.pool_id.clone(),
                replica_id: report.replica_id.clone(),
                engine: report.engine.clone(),
                engine_version: report.engine_version.clone(),
                model: placement::listed_as(report, &waiting.task.admitted.model_names).unwrap_or_default().to_owned(),
                node_id: node_id.clone(),
                key: key.clone(),
                life: None,
            };
            lease.life = nodes.lease(&node_id, &key);
            leases.push(lease);
            *turn += 1;
            let expected_ms = times.duration_ms(spec.expected_tokens, spec.max_tokens);
            running.insert(spec.task_id, Running { place: (node_id, key), since: Instant::now(), expected_ms });
            Take::It
        });
        taken.into_iter().zip(leases).collect()
    }

    /// No task starts from here on.
    pub fn stop_dispatching(&self) {
        self.state().dispatching = false;
    }

    pub fn is_dispatching(&self) -> bool {
        self.state().dispatching
    }

    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    pub fn measured(&self, first_token: Duration, decode: Duration, tokens: u64, max_tokens: u32) {
        self.state().times.measured(first_token, decode, tokens, max_tokens);
    }

    /// The pool has no slot though it seemed to: it is left alone for a while.
    pub fn hold_off(self: &Arc<Self>, lease: &Lease, pause: Duration) {
        if let Some(pool) = self.state().nodes.pool_mut(&lease.node_id, &lease.key) {
            pool.not_before = Some(Instant::now() + pause);
        }
        let scheduler = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            scheduler.dispatch();
        });
    }
}

pub fn demand<'a>(spec: &'a TaskSpec, model_names: &'a [String]) -> Demand<'a> {
    Demand { engine: &spec.engine, model_names, ctx: spec.ctx, wish: &spec.placement, last: None, shun: None }
}

impl State {
    pub fn depth(&self, priority: Priority) -> usize {
        self.queue.depth(priority)
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn position(&self, task_id: Uuid) -> Option<usize> {
        self.queue.position(task_id)
    }

    /// What keeps this task from a slot, if anything does.
    pub fn obstacle(&self, spec: &TaskSpec, model_names: &[String]) -> Option<Obstacle> {
        let candidates = placement::candidates(&self.nodes);
        placement::eligible(&candidates, &demand(spec, model_names)).err()
    }

    /// The longest context of a model of these names, where nodes say it.
    pub fn context_length(&self, model_names: &[String]) -> Option<u32> {
        let candidates = placement::candidates(&self.nodes);
        let models = candidates.iter().flat_map(|candidate| &candidate.report.models);
        models.filter(|model| model_names.contains(&model.id)).filter_map(|model| model.context_length).max()
    }

    /// When the task would start, behind what waits ahead of it: of `before`, or of a task that came now.
    pub fn predict(&self, spec: &TaskSpec, model_names: &[String], before: Option<Uuid>) -> u64 {
        let candidates = placement::candidates(&self.nodes);
        let eligible = placement::eligible(&candidates, &demand(spec, model_names)).unwrap_or_default();
        let own = self.times.duration_ms(spec.expected_tokens, spec.max_tokens);
        let rivals = self.queue.iter().take_while(|waiting| before.is_none_or(|id| waiting.id() != id));
        let ahead = rivals.filter(|waiting| {
            let other = waiting.task.spec();
            let first = other.priority == Priority::Interactive || spec.priority == Priority::Batch;
            first && other.engine == spec.engine && waiting.task.admitted.model_names == model_names
        });
        let durations: Vec<f64> = ahead.map(|waiting| self.duration_ms(waiting.task.spec())).collect();
        if eligible.iter().map(|pool| pool.free as usize).sum::<usize>() > durations.len() {
            return 0; // no need to ask when the others end
        }
        let slots = self.slots(&eligible, own);
        // Without any slot it waits for one to appear: for as long as a task takes, at the least.
        prediction::start_ms(slots, durations).unwrap_or(own as u64)
    }

    fn duration_ms(&self, spec: &TaskSpec) -> f64 {
        self.times.duration_ms(spec.expected_tokens, spec.max_tokens)
    }

    /// When each slot gets free, in milliseconds from now.
    fn slots(&self, pools: &[Candidate<'_>], mean_ms: f64) -> Vec<f64> {
        let now = Instant::now();
        let mut slots = Vec::new();
        // Of ours, at each place.
        let mut known: HashMap<(&str, &PoolKey), usize> =
            pools.iter().map(|pool| ((pool.node_id, pool.key), pool.free as usize)).collect();
        for running in self.running.values() {
            let (node, key) = &running.place;
            if let Some(known) = known.get_mut(&(node.as_str(), key)) {
                *known += 1;
                slots.push(running.expected_ms - (now - running.since).as_secs_f64() * 1000.0);
            }
        }
        for pool in pools {
            slots.extend(std::iter::repeat_n(0.0, pool.free as usize));
            // The others' slots: nothing is known of their tasks but that they are tasks.
            let ours = known.get(&(pool.node_id, pool.key)).copied().unwrap_or(0);
            slots.extend(std::iter::repeat_n(mean_ms, (pool.report.slots_total as usize).saturating_sub(ours)));
        }
        slots
    }

    /// When the queue will have room: when its first task starts. Whole seconds, so that every way to say it agrees.
    fn room_ms(&self) -> u64 {
        let first = self.queue.iter().next();
        let start = first.map(|waiting| {
            let task = &waiting.task;
            self.predict(task.spec(), &task.admitted.model_names, Some(task.id()))
        });
        start.unwrap_or(0).div_ceil(1000).max(1) * 1000
    }

    /// How long a client does well to wait before its next task: not at all while there is room.
    pub fn backoff_ms(&self) -> u64 {
        if self.queue.is_full() { self.room_ms() } else { 0 }
    }
}
