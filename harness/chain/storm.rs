//! Whoever runs a chain is killed, `kill -9`, at random moments and under load, again and again; and every promise is held
//! against what the clients have: no admitted task lost, no token twice, out of order or different in a replay, no slot
//! held by nobody, no process left behind.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::tasks::{base_task, events};
use super::{Chain, PATIENCE, pointed, rules};
use crate::harness::Finding;
use crate::harness::http::{self, Base, HttpError, Request};
use crate::harness::process::Signal;
use crate::harness::sse::Frame;
use crate::harness::stream::{Caps, Stream};
use crate::harness::transcript::{Transcript, is_terminal};

/// Clients that have a task under way at any time.
const CLIENTS: usize = 6;
/// Tokens of a task: at a few milliseconds each, about as long as the time between two kills.
const TOKENS: u32 = 40;
/// The longest wait before a kill.
const LONGEST_LULL: u64 = 300;
/// A client that can't be heard asks again.
const AGAIN: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Orchestrator,
    Node,
    Worker,
}

/// What a storm has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    pub kills: [usize; 3],
    pub admitted: usize,
    pub ended: usize,
    pub reset: usize,
    pub tokens: usize,
}

impl std::fmt::Display for Weather {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [orchestrator, node, worker] = self.kills;
        write!(
            out,
            "{} kills ({orchestrator} of the orchestrator, {node} of a pool manager, {worker} of a worker): {} tasks \
             admitted, {} ended whole, {} told WORKER_RESET, {} tokens",
            orchestrator + node + worker,
            self.admitted,
            self.ended,
            self.reset,
            self.tokens
        )
    }
}

/// A task that was admitted, and all that its client read of it, over however many connections.
struct Kept {
    task_id: String,
    frames: Vec<Frame>,
}

/// What all clients share.
struct Load {
    base: Base,
    token: Option<String>,
    model_ref: String,
    over: AtomicBool,
    admitted: AtomicUsize,
    kept: Mutex<Vec<Result<Kept, Finding>>>,
}

impl Load {
    fn authorized(&self, request: Request) -> Request {
        match &self.token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    /// One client: a task after the other, each read to its ending.
    fn run(&self) {
        while !self.over.load(Ordering::SeqCst) {
            match self.admit() {
                Ok(Some(task_id)) => {
                    self.admitted.fetch_add(1, Ordering::SeqCst);
                    let kept = self.follow(&task_id);
                    self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
                }
                Ok(None) => std::thread::park_timeout(AGAIN),
                Err(finding) => self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Err(finding)),
            }
        }
    }

    /// The id of a task that was admitted; none where nobody took it.
    fn admit(&self) -> Result<Option<String>, Finding> {
        let mut task: Map<String, Value> = base_task(&self.model_ref, "llorch");
        task.insert("max_tokens".into(), TOKENS.into());
        let task_id = task["task_id"].as_str().unwrap_or_default().to_owned();
        let request = self.authorized(Request::post("/v2/tasks").json(&Value::Object(task)));
        match http::send(&self.base, &request, PATIENCE) {
            Ok(answer) => match answer.status {
                202 => Ok(Some(task_id)),
                // No node is there just now, or the queue is full.
                429 | 503 => Ok(None),
                _ => Err(answer.evidence(Finding::fail("202, 429 or 503", format!("status {}", answer.status)))),
            },
            // Whether it was admitted nobody has said: then nothing was promised.
            Err(_) => Ok(None),
        }
    }

    /// Reads until the ending, and comes back after whatever ends a connection.
    fn follow(&self, task_id: &str) -> Result<Kept, Finding> {
        let mut frames: Vec<Frame> = Vec::new();
        let until = Instant::now() + 2 * PATIENCE;
        while Instant::now() < until {
            let after = frames.last().and_then(|frame| frame.id.as_deref()?.parse().ok());
            let request = self.authorized(events(task_id, after, false));
            let opened = match Stream::open(&self.base, &request, Caps::within(PATIENCE)) {
                Ok(opened) => opened,
                Err(HttpError::BadFraming { reason, .. }) => return Err(Finding::fail("an HTTP answer", reason)),
                Err(_) => {
                    std::thread::park_timeout(AGAIN);
                    continue;
                }
            };
            // What was admitted is known, after any restart.
            let transcript = opened.stream()?.finish(PATIENCE);
            let whole = transcript.frames.iter().take_while(|frame| frame.raw.ends_with(b"\n\n")).cloned();
            frames.extend(whole);
            if frames.last().is_some_and(is_terminal) {
                return Ok(Kept { task_id: task_id.to_owned(), frames });
            }
        }
        let found = format!("{} events and no ending within {:.0?}", frames.len(), 2 * PATIENCE);
        Err(Finding::fail(format!("the ending of the task {task_id}, which was admitted"), found))
    }
}

impl Chain {
    /// Kills this many times, at random moments that follow from the seed, with clients at work all the time; then judges.
    pub fn storm(&mut self, victims: &[Victim], kills: usize, seed: u64) -> Result<Weather, Finding> {
        let load = Arc::new(Load {
            base: self.base(),
            token: self.token().map(str::to_owned),
            model_ref: self.models.paced.clone(),
            over: AtomicBool::new(false),
            admitted: AtomicUsize::new(0),
            kept: Mutex::default(),
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let load = load.clone();
                std::thread::spawn(move || load.run())
            })
            .collect();
        let mut random = Random(seed | 1);
        let mut weather = Weather::default();
        let blown = (0..kills).try_for_each(|_| self.strike(victims, &mut random, &mut weather));
        load.over.store(true, Ordering::SeqCst);
        let panicked = clients.into_iter().filter_map(|client| client.join().err()).count();
        blown?;
        if panicked > 0 {
            return Err(Finding::error("clients that come to their end", format!("{panicked} panicked")));
        }
        self.aftermath(&load, &mut weather)?;
        Ok(weather)
    }

    /// One kill, and the next life of whoever does not come back by itself.
    fn strike(&mut self, victims: &[Victim], random: &mut Random, weather: &mut Weather) -> Result<(), Finding> {
        std::thread::park_timeout(Duration::from_millis(random.below(LONGEST_LULL)));
        let victim = victims[random.below(victims.len() as u64) as usize];
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        let name = &names[random.below(names.len() as u64) as usize];
        match victim {
            Victim::Orchestrator => {
                self.orchestrator.end(Signal::SIGKILL)?;
                self.restart_orchestrator(&[])?;
            }
            Victim::Node => {
                let node = self.nodes.get_mut(name).ok_or_else(|| Finding::error("a node", "none"))?;
                node.restart(&[])?;
            }
            Victim::Worker => {
                let workers = self.workers(name).unwrap_or_default();
                let Some(pid) = workers.get(random.below(workers.len().max(1) as u64) as usize) else { return Ok(()) };
                // It may have ended meanwhile.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
        weather.kills[victim as usize] += 1;
        Ok(())
    }

    /// Every promise, once it is quiet.
    fn aftermath(&mut self, load: &Load, weather: &mut Weather) -> Result<(), Finding> {
        let kept = std::mem::take(&mut *load.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let kept: Vec<Kept> = kept.into_iter().collect::<Result<_, _>>().map_err(|finding| self.evidence(finding))?;
        weather.admitted = load.admitted.load(Ordering::SeqCst);
        for Kept { task_id, frames } in &kept {
            // What one client pieced together is what another reads now, to the byte, and obeys every rule.
            let replay = self.read(task_id, None, false)?;
            rules::judge(&replay)?;
            let raw = |frames: &[Frame]| frames.iter().map(|frame| frame.raw.clone()).collect::<Vec<_>>();
            if raw(frames) != raw(&replay.frames) {
                let expected = format!("the {} events that the client of {task_id} has read", frames.len());
                return Err(self.evidence(replay.evidence(Finding::fail(expected, replay.summary()))));
            }
            self.count(&replay, weather)?;
        }
        self.is_whole_again()
    }

    fn count(&self, replay: &Transcript, weather: &mut Weather) -> Result<(), Finding> {
        weather.tokens += replay.tokens().count();
        match replay.error_code().as_deref() {
            None if replay.tokens_out() == Some(u64::from(TOKENS)) => weather.ended += 1,
            Some("WORKER_RESET" | "NODE_UNAVAILABLE") => weather.reset += 1,
            _ => {
                let expected = "an end after every token, or a worker that was lost";
                return Err(replay.evidence(Finding::fail(expected, replay.summary())));
            }
        }
        Ok(())
    }

    /// Every slot is free, nothing waits, every process that should be there is, and no other.
    pub fn is_whole_again(&mut self) -> Result<(), Finding> {
        for name in self.nodes.keys().cloned().collect::<Vec<_>>() {
            self.revive(&name)?;
        }
        self.wait_until_ready()?;
        // A worker that was killed last may be seen to be gone only now.
        let until = Instant::now() + PATIENCE;
        loop {
            match self.nothing_is_over() {
                Err(_) if Instant::now() < until => std::thread::park_timeout(AGAIN),
                outcome => return outcome.map_err(|finding| self.evidence(finding)),
            }
        }
    }

    /// No lease on any replica, and no process but those that are known.
    fn nothing_is_over(&self) -> Result<(), Finding> {
        for node in self.nodes.keys() {
            let state = self.send_to_node(node, Request::get("/v2/state"))?.json()?;
            let pools = state["pools"].as_array().into_iter().flatten();
            let replicas = pools.flat_map(|pool| pool["replicas"].as_array().into_iter().flatten());
            if let Some(leased) = replicas.into_iter().find(|replica| replica["leases"] != 0) {
                return Err(Finding::fail("no lease on any replica", leased.to_string()));
            }
        }
        // Looked at before those that are known: one that is started meanwhile is no orphan.
        let found = self.processes();
        let mut expected: Vec<i32> = vec![self.orchestrator.id() as i32];
        for (name, node) in &self.nodes {
            expected.push(node.id() as i32);
            expected.extend(self.workers(name)?);
        }
        let orphans: Vec<i32> = found.into_iter().filter(|pid| !expected.contains(pid)).collect();
        if orphans.is_empty() {
            return Ok(());
        }
        Err(Finding::fail(format!("no process but {expected:?}"), format!("also {orphans:?}")))
    }

    /// Workers that were killed so often that their pool manager has given them up are started again, as an operator would.
    fn revive(&self, name: &str) -> Result<(), Finding> {
        let state = self.send_to_node(name, Request::get("/v2/state"))?.json()?;
        for worker in state["workers"].as_array().into_iter().flatten().filter(|worker| worker["circuit_open"] == true)
        {
            let wanted = serde_json::json!({
                "model_ref": worker["model_ref"], "backend": worker["backend"], "pool_id": worker["pool_id"],
                "supervise": true,
            });
            let request = Request::post("/v2/workers/start").json(&wanted);
            self.send_to_node(name, request)?.expect_status(200)?;
        }
        Ok(())
    }

    /// How many tasks wait or run, as the orchestrator counts them.
    pub fn leases(&self) -> Result<u64, Finding> {
        let nodes = self.get("/v2/nodes")?;
        let pools = nodes["nodes"].as_array().into_iter().flatten();
        let pools = pools.flat_map(|node| node["pools"].as_array().into_iter().flatten());
        Ok(pools.filter_map(|pool| pointed(pool, "/leases")?.as_u64()).sum())
    }
}

/// A small generator (xorshift): a storm that was seen can be made again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}
