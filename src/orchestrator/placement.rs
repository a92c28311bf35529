//! Which slot a task gets: filters in a fixed order, then a strategy among what is left.

use super::nodes::{NodeState, Nodes, PoolKey, PoolReport};
use super::task::{Mode, Wish};
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    RoundRobin,
    LeastLoaded,
    Random,
}

impl Strategy {
    pub fn word(self) -> &'static str {
        match self {
            Strategy::RoundRobin => "round-robin",
            Strategy::LeastLoaded => "least-loaded",
            Strategy::Random => "random",
        }
    }
}

/// One pool's replica, seen as a place for a task.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub node_id: &'a str,
    /// What its slots are counted under.
    pub key: &'a PoolKey,
    pub state: NodeState,
    pub report: &'a PoolReport,
    pub free: u32,
}

/// What a task needs, and what it wishes.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    pub engine: &'a str,
    /// Every name under which a node may list the model.
    pub model_names: &'a [String],
    /// The context that it needs.
    pub ctx: u32,
    pub wish: &'a Wish,
    /// The node and pool that served the session last, where the task asks to reuse its prefix.
    pub last: Option<(&'a str, &'a str)>,
    /// The node and pool where this task has just failed: only where there is nothing else.
    pub shun: Option<(&'a str, &'a str)>,
}

/// The first filter that nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No node that is online has the model, for this engine.
    NoModel,
    /// A pinned pool is not known at all.
    NoSuchPool,
    /// The pinned pool is there, and does not have the model.
    PinWithoutModel,
    /// The pinned pool is there, and the task's other wishes rule it out.
    PinRuledOut,
    /// Pools have the model; none is ready.
    NotReady,
    /// Pools are ready; the task's wishes rule them all out.
    RuledOut,
    /// All is well, but every slot is taken.
    NoSlot,
}

pub fn candidates(nodes: &Nodes) -> Vec<Candidate<'_>> {
    let now = Instant::now();
    let all = nodes.iter().flat_map(|node| {
        let state = node.state(now, nodes.timeout);
        node.pools.iter().map(move |(key, pool)| Candidate {
            node_id: &node.registration.node_id,
            key,
            state,
            report: &pool.report,
            free: pool.free(now),
        })
    });
    all.collect()
}

/// The name under which the pool lists the model.
pub fn listed_as<'a>(report: &'a PoolReport, names: &[String]) -> Option<&'a str> {
    report.models.iter().find(|model| names.contains(&model.id)).map(|model| model.id.as_str())
}

pub fn has_model(report: &PoolReport, names: &[String]) -> bool {
    listed_as(report, names).is_some()
}

/// The context of the pool's model is long enough, as far as its node says how long it is.
fn holds(report: &PoolReport, demand: &Demand<'_>) -> bool {
    let length = report.models.iter().find(|model| demand.model_names.contains(&model.id));
    length.and_then(|model| model.context_length).is_none_or(|length| demand.ctx <= length)
}

pub fn serves(report: &PoolReport, engine: &str) -> bool {
    report.engine == engine
}

/// Every comma-separated part of the required mask is in the pool's.
fn covers(mask: &str, required: &str) -> bool {
    let parts = |text: &'_ str| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    let mask = parts(mask);
    parts(required).iter().all(|part| mask.contains(part))
}

/// Who could take the task, slots aside.
pub fn eligible<'a>(candidates: &[Candidate<'a>], demand: &Demand<'_>) -> Result<Vec<Candidate<'a>>, Obstacle> {
    let wish = demand.wish;
    let is_pinned = |candidate: &Candidate<'_>| wish.pin_pool_id.as_deref() == Some(&candidate.report.pool_id);
    let pinned = wish.mode == Mode::Pin;
    let mut left: Vec<Candidate<'a>> = candidates.to_vec();
    let lists = |candidate: &Candidate<'_>| {
        has_model(candidate.report, demand.model_names) && serves(candidate.report, demand.engine)
    };
    if pinned {
        // Where nobody has the model, that is what is wrong, whatever the pool is called.
        if !left.iter().any(lists) {
            return Err(Obstacle::NoModel);
        }
        left.retain(is_pinned);
        if left.is_empty() {
            return Err(Obstacle::NoSuchPool);
        }
    }
    let online = |candidate: &Candidate<'_>| matches!(candidate.state, NodeState::Online | NodeState::Draining);
    if pinned && !left.iter().any(online) {
        return Err(Obstacle::NotReady);
    }
    left.retain(online);
    left.retain(lists);
    if left.is_empty() {
        return Err(if pinned { Obstacle::PinWithoutModel } else { Obstacle::NoModel });
    }
    let fits = |candidate: &Candidate<'_>| fits(candidate, demand);
    let ready: Vec<_> = left.iter().copied().filter(is_ready).collect();
    let fitting: Vec<_> = ready.iter().copied().filter(fits).collect();
    if !fitting.is_empty() {
        return Ok(fitting);
    }
    // Would it help to wait for a pool to get ready?
    let none_fits = !left.iter().any(fits);
    Err(match (none_fits, pinned) {
        (true, true) => Obstacle::PinRuledOut,
        (true, false) => Obstacle::RuledOut,
        (false, _) => Obstacle::NotReady,
    })
}

/// Whether a pool is as the task needs and wishes it, whatever it has loaded.
pub fn fits(candidate: &Candidate<'_>, demand: &Demand<'_>) -> bool {
    let wish = demand.wish;
    let pool = &candidate.report.pool_id;
    let required = wish.require_device_mask.as_deref();
    holds(candidate.report, demand)
        && required.is_none_or(|required| covers(&candidate.report.device_mask, required))
        && !wish.avoid_pools.contains(pool)
        && wish.pin_pool_id.as_ref().is_none_or(|pin| pin == pool)
        && (wish.mode != Mode::Prefer || wish.allow_fallback || prefers(wish, candidate))
}

fn is_ready(candidate: &Candidate<'_>) -> bool {
    candidate.state == NodeState::Online && candidate.report.ready && !candidate.report.draining
}

fn prefers(wish: &Wish, candidate: &Candidate<'_>) -> bool {
    wish.prefer_pools.contains(&candidate.report.pool_id)
}

/// The place for a task now. `turn` is how many placements there were before, and `random` a number to choose by.
pub fn place<'a>(
    candidates: &[Candidate<'a>],
    demand: &Demand<'_>,
    strategy: Strategy,
    turn: usize,
    random: u64,
) -> Result<Candidate<'a>, Obstacle> {
    let mut free = eligible(candidates, demand)?;
    free.retain(|candidate| candidate.free > 0);
    let is_at = |place: Option<(&str, &str)>, candidate: &Candidate<'_>| {
        place == Some((candidate.node_id, candidate.report.pool_id.as_str()))
    };
    narrow(&mut free, |candidate| !is_at(demand.shun, candidate));
    if demand.wish.mode == Mode::Prefer {
        narrow(&mut free, |candidate| prefers(demand.wish, candidate));
    }
    narrow(&mut free, |candidate| is_at(demand.last, candidate));
    if free.is_empty() {
        return Err(Obstacle::NoSlot);
    }
    Ok(match strategy {
        Strategy::RoundRobin => free[turn % free.len()],
        Strategy::Random => free[(random % free.len() as u64) as usize],
        Strategy::LeastLoaded => {
            // taken / total, compared without division; of equals the one with more room, then the first by name
            let load = |candidate: &Candidate<'_>| {
                let total = u64::from(candidate.report.slots_total);
                (total - u64::from(candidate.free).min(total), total)
            };
            let mut best = free[0];
            for candidate in &free[1..] {
                let ((taken, total), (best_taken, best_total)) = (load(candidate), load(&best));
                let (own, other) = (taken * best_total, best_taken * total);
                if own < other || (own == other && candidate.free > best.free) {
                    best = *candidate;
                }
            }
            best
        }
    })
}

/// Keeps those that `keep` names, where there are any.
fn narrow<'a>(candidates: &mut Vec<Candidate<'a>>, keep: impl Fn(&Candidate<'a>) -> bool) {
    if candidates.iter().any(&keep) {
        candidates.retain(keep);
    }
}
