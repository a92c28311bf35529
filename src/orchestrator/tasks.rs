//! Every task that can be asked about: those under way, and as many of those that are over as there is room for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::task::Task;

/// How much of what is over is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Streams that can be replayed.
    pub streams: usize,
    /// And the bytes of all of them.
    pub bytes: usize,
}

/// Of tasks whose streams are gone, so many still answer that they were there.
const TOMBSTONES: usize = 20_000;

#[derive(Debug)]
pub struct Tasks {
    retention: Retention,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tasks: HashMap<Uuid, Arc<Task>>,
    /// Those that are over and can be replayed, the oldest first.
    replayable: VecDeque<(Uuid, usize)>,
    bytes: usize,
    tombstones: VecDeque<Uuid>,
}

impl Tasks {
    pub fn new(retention: Retention) -> Self {
        Self { retention, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, id: Uuid) -> Option<Arc<Task>> {
        self.state().tasks.get(&id).cloned()
    }

    pub fn contains(&self, id: Uuid) -> bool {
        self.state().tasks.contains_key(&id)
    }

    /// False where the id is in use.
    pub fn insert(&self, task: Arc<Task>) -> bool {
        let mut state = self.state();
        if state.tasks.contains_key(&task.id()) {
            return false;
        }
        state.tasks.insert(task.id(), task);
        true
    }

    pub fn remove(&self, id: Uuid) {
        self.state().tasks.remove(&id);
    }

    /// A task is over. Hands back those whose streams made room.
    pub fn finished(&self, task: &Task) -> Vec<Uuid> {
        let mut state = self.state();
        let bytes = task.log.bytes() + task.spec().prompt.len();
        state.replayable.push_back((task.id(), bytes));
        state.bytes += bytes;
        let mut forgotten = Vec::new();
        while state.replayable.len() > self.retention.streams || state.bytes > self.retention.bytes {
            let Some((oldest, bytes)) = state.replayable.pop_front() else { break };
            state.bytes -= bytes;
            if let Some(task) = state.tasks.get_mut(&oldest) {
                *task = Arc::new(task.remains());
            }
            state.tombstones.push_back(oldest);
            forgotten.push(oldest);
        }
        while state.tombstones.len() > TOMBSTONES {
            let Some(oldest) = state.tombstones.pop_front() else { break };
            state.tasks.remove(&oldest);
        }
        forgotten
    }
}
