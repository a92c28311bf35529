//! From what the store held to where things were: finished streams can be replayed, what waited waits again, and what ran
//! has lost its worker.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::event_log::{EventLog, Frame};
use super::service::Orchestrator;
use super::store::{Event, Record};
use super::task::{Admitted, Phase, Task, now_ms};
use super::{admission, life, stream};

/// What a start found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub finished: usize,
    pub queued: usize,
    pub lost: usize,
    pub nodes: usize,
}

/// Puts everything back, and goes on with it.
pub fn restore(service: &Arc<Orchestrator>, records: Vec<Record>) -> Found {
    let mut found = Found::default();
    let mut order: Vec<Uuid> = Vec::new();
    let mut tasks: HashMap<Uuid, (Admitted, Vec<Event>)> = HashMap::new();
    for record in records {
        match record {
            Record::Task(admitted) => {
                order.push(admitted.spec.task_id);
                tasks.insert(admitted.spec.task_id, (*admitted, Vec::new()));
            }
            Record::Event(event) => {
                if let Some((_, events)) = tasks.get_mut(&event.task_id) {
                    events.push(event);
                }
            }
            Record::TaskForgotten { task_id } => drop(tasks.remove(&task_id)),
            Record::Node(registration) => service.scheduler.state().nodes.register(registration),
            Record::NodeGone { node_id } => drop(service.scheduler.state().nodes.remove(&node_id)),
            Record::Session(record) => service.sessions.restore(record),
            Record::SessionGone { session_id } => drop(service.sessions.remove(session_id)),
            Record::Model(model) => service.catalog.put(model),
            Record::ModelGone { id } => drop(service.catalog.remove(&id)),
        }
    }
    found.nodes = service.scheduler.state().nodes.iter().count();
    for id in order {
        let Some((admitted, events)) = tasks.remove(&id) else { continue };
        let (task, state) = rebuild(service, admitted, &events);
        let task = Arc::new(task);
        service.tasks.insert(task.clone());
        match state {
            State::Finished => {
                found.finished += 1;
                service.finished(&task);
            }
            State::Started { tokens } => {
                found.lost += 1;
                life::end_lost(service, task, tokens);
            }
            State::Waiting => {
                found.queued += 1;
                admission::readmit(service, task);
            }
        }
    }
    found
}

enum State {
    Waiting,
    Started { tokens: u64 },
    Finished,
}

fn rebuild(service: &Orchestrator, admitted: Admitted, events: &[Event]) -> (Task, State) {
    let task = Task::new(admitted, EventLog::new(service.configuration.event_log));
    let mut state = State::Waiting;
    let mut tokens = 0;
    for event in events {
        let ends = matches!(event.name.as_str(), "end" | "error");
        let bytes = |data: &Option<String>| data.as_ref().map(|data| stream::frame(event.id, &event.name, data));
        let frame = Frame { id: event.id, plain: bytes(&event.plain), verbose: bytes(&event.verbose) };
        task.log.publish(frame, ends);
        match event.name.as_str() {
            "token" => tokens += 1,
            "started" => state = State::Started { tokens: 0 },
            "end" | "error" => {
                let ending: serde_json::Value =
                    event.plain.as_deref().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
                let phase = match (event.name.as_str(), ending["code"].as_str()) {
                    ("end", _) => Phase::Completed,
                    (_, Some("CANCELLED")) => Phase::Cancelled,
                    _ => Phase::Failed,
                };
                let mut progress = task.progress();
                (progress.phase, progress.ending) = (phase, Some(ending));
                progress.ended_at_ms = Some(now_ms());
                state = State::Finished;
            }
            _ => {}
        }
    }
    task.progress().tokens = tokens;
    if let State::Started { tokens: relayed } = &mut state {
        *relayed = tokens;
    }
    (task, state)
}
