//! What must outlive the process: tasks with their events, the node registry, sessions and the catalog.
//!
//! Everything that changes is appended as a `Record`; what is told to anybody is told by the append's answer, so nothing
//! is delivered that is not stored. One trait, so that a distributed engine can stand behind it for several
//! orchestrators; the one here is `log`, a file in this process's folder.

pub mod framing;
pub mod log;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::catalog::Model;
use super::nodes::Registration;
use super::sessions::SessionRecord;
use super::task::Admitted;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    Task(Box<Admitted>),
    Event(Event),
    TaskForgotten { task_id: Uuid },
    Node(Registration),
    NodeGone { node_id: String },
    Session(SessionRecord),
    SessionGone { session_id: Uuid },
    Model(Model),
    ModelGone { id: String },
}

/// One event of a task's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub task_id: Uuid,
    pub id: u64,
    pub name: String,
    /// The data as ordinary readers see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<String>,
    /// The data as verbose readers see it, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<String>,
}

/// Whose history a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Task(Uuid),
    Node(String),
    Session(Uuid),
    Model(String),
}

/// What a record does to the history of its key; a history that is gone need not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Adds,
    Replaces,
    Removes,
}

impl Record {
    pub fn key(&self) -> Key {
        match self {
            Record::Task(admitted) => Key::Task(admitted.spec.task_id),
            Record::Event(event) => Key::Task(event.task_id),
            Record::TaskForgotten { task_id } => Key::Task(*task_id),
            Record::Node(node) => Key::Node(node.node_id.clone()),
            Record::NodeGone { node_id } => Key::Node(node_id.clone()),
            Record::Session(session) => Key::Session(session.session_id),
            Record::SessionGone { session_id } => Key::Session(*session_id),
            Record::Model(model) => Key::Model(model.id.clone()),
            Record::ModelGone { id } => Key::Model(id.clone()),
        }
    }

    pub fn effect(&self) -> Effect {
        match self {
            Record::Event(_) => Effect::Adds,
            Record::Task(_) | Record::Node(_) | Record::Session(_) | Record::Model(_) => Effect::Replaces,
            Record::TaskForgotten { .. }
            | Record::NodeGone { .. }
            | Record::SessionGone { .. }
            | Record::ModelGone { .. } => Effect::Removes,
        }
    }
}

/// Why something could not be stored, or read back. Each message is a whole clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{path} can't be used: {reason}")]
    Unusable { path: String, reason: String },
    #[error("{path} is in use by another orchestratord; give each its own ORCHD_STATE_DIR")]
    InUse { path: String },
    #[error("{path} is damaged at byte {offset} of {length}: {reason}; move the file away to start without it")]
    Damaged { path: String, offset: u64, length: u64, reason: String },
    #[error("{path} could not be written: {reason}")]
    Write { path: String, reason: String },
    #[error("the store is closed")]
    Closed,
}

/// Called once the record is stored, or could not be; in the order of the appends. It must be quick: others wait.
pub type Stored = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Records in, in one order for all. What was stored before comes out when an implementation is opened.
pub trait TaskStore: Send + Sync {
    /// Stores a record. Never waits: the answer comes through `stored`.
    fn append(&self, record: &Record, stored: Stored);

    /// Resolves when all that was appended before is stored.
    fn flush(&self);
}
