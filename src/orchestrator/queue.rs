//! Where tasks wait: first in, first out within a priority, interactive ones before batch ones, bounded over both.

use std::collections::VecDeque;

use uuid::Uuid;

use super::task::Priority;

/// What happens to a task that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is refused.
    Reject,
    /// The batch task that has waited longest makes room for it.
    DropLru,
}

impl Policy {
    pub fn word(self) -> &'static str {
        match self {
            Policy::Reject => "reject",
            Policy::DropLru => "drop-lru",
        }
    }
}

/// What can wait.
pub trait Entry {
    fn id(&self) -> Uuid;
    fn priority(&self) -> Priority;
}

/// How a push went.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<E> {
    /// It waits, behind so many of its priority.
    At(usize),
    /// It waits, and this one does not any more.
    InsteadOf(E, usize),
    /// It does not wait: here it is back.
    Full(E),
}

#[derive(Debug)]
pub struct Queue<E> {
    /// `None` is without bound.
    capacity: Option<usize>,
    policy: Policy,
    interactive: VecDeque<E>,
    batch: VecDeque<E>,
}

impl<E: Entry> Queue<E> {
    pub fn new(capacity: Option<usize>, policy: Policy) -> Self {
        Self { capacity, policy, interactive: VecDeque::new(), batch: VecDeque::new() }
    }

    pub fn len(&self) -> usize {
        self.interactive.len() + self.batch.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn depth(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Batch => self.batch.len(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.capacity.is_some_and(|capacity| self.len() >= capacity)
    }

    /// Whether a push now would be refused.
    pub fn would_refuse(&self) -> bool {
        self.is_full() && (self.policy == Policy::Reject || self.batch.is_empty())
    }

    fn lane(&mut self, priority: Priority) -> &mut VecDeque<E> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }

    pub fn push(&mut self, entry: E) -> Pushed<E> {
        let dropped = match (self.is_full(), self.policy) {
            (false, _) => None,
            (true, Policy::Reject) => return Pushed::Full(entry),
            (true, Policy::DropLru) => match self.batch.pop_front() {
                Some(oldest) => Some(oldest),
                None => return Pushed::Full(entry),
            },
        };
        let lane = self.lane(entry.priority());
        lane.push_back(entry);
        let position = lane.len() - 1;
        match dropped {
            None => Pushed::At(position),
            Some(oldest) => Pushed::InsteadOf(oldest, position),
        }
    }

    /// Back to where it came from: it was admitted once, so the bound does not apply.
    pub fn push_front(&mut self, entry: E) {
        self.lane(entry.priority()).push_front(entry);
    }

    /// Behind those of its priority, whatever the bound: for what was admitted before a restart.
    pub fn restore(&mut self, entry: E) {
        self.lane(entry.priority()).push_back(entry);
    }

    pub fn remove(&mut self, id: Uuid) -> Option<E> {
        [Priority::Interactive, Priority::Batch].into_iter().find_map(|priority| {
            let lane = self.lane(priority);
            let index = lane.iter().position(|entry| entry.id() == id)?;
            lane.remove(index)
        })
    }

    /// How many of its priority are before it.
    pub fn position(&self, id: Uuid) -> Option<usize> {
        let find = |lane: &VecDeque<E>| lane.iter().position(|entry| entry.id() == id);
        find(&self.interactive).or_else(|| find(&self.batch))
    }

    /// In the order in which they get their turn.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.interactive.iter().chain(&self.batch)
    }

    /// Takes out, in order, what `take` wants; it says when to stop looking.
    pub fn take_where(&mut self, mut take: impl FnMut(&E) -> Take) -> Vec<E> {
        let mut taken = Vec::new();
        'lanes: for priority in [Priority::Interactive, Priority::Batch] {
            let lane = self.lane(priority);
            let mut index = 0;
            while let Some(entry) = lane.get(index) {
                match take(entry) {
                    Take::It => taken.extend(lane.remove(index)),
                    Take::Next => index += 1,
                    Take::NoMore => break 'lanes,
                }
            }
        }
        taken
    }
}

pub enum Take {
    It,
    Next,
    NoMore,
}
