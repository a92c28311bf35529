//! The queue: order, bound, and what a full one does.

use llorch::orchestrator::queue::{Entry, Policy, Pushed, Queue, Take};
use llorch::orchestrator::task::Priority::{self, Batch, Interactive};
use uuid::Uuid;

pub const TESTS: &[(&str, fn())] = &[
    ("orchestrator_queue/interactive_first_each_in_order", interactive_first_each_in_order),
    ("orchestrator_queue/positions_count_within_a_priority", positions_count_within_a_priority),
    ("orchestrator_queue/reject_hands_the_new_one_back", reject_hands_the_new_one_back),
    ("orchestrator_queue/drop_lru_drops_the_oldest_batch_task", drop_lru_drops_the_oldest_batch_task),
    ("orchestrator_queue/drop_lru_never_drops_an_interactive_task", drop_lru_never_drops_an_interactive_task),
    ("orchestrator_queue/unbounded", unbounded),
    (
        "orchestrator_queue/what_was_admitted_comes_back_whatever_the_bound",
        what_was_admitted_comes_back_whatever_the_bound,
    ),
    ("orchestrator_queue/one_that_cannot_be_placed_holds_up_nobody", one_that_cannot_be_placed_holds_up_nobody),
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting(u128, Priority);

impl Entry for Waiting {
    fn id(&self) -> Uuid {
        Uuid::from_u128(self.0)
    }

    fn priority(&self) -> Priority {
        self.1
    }
}

fn queue(capacity: Option<usize>, policy: Policy, entries: &[(u128, Priority)]) -> Queue<Waiting> {
    let mut queue = Queue::new(capacity, policy);
    for (id, priority) in entries {
        assert!(matches!(queue.push(Waiting(*id, *priority)), Pushed::At(_)));
    }
    queue
}

fn order(queue: &Queue<Waiting>) -> Vec<u128> {
    queue.iter().map(|waiting| waiting.0).collect()
}

fn interactive_first_each_in_order() {
    let queue = queue(None, Policy::Reject, &[(1, Batch), (2, Interactive), (3, Batch), (4, Interactive)]);
    assert_eq!(order(&queue), [2, 4, 1, 3]);
}

fn positions_count_within_a_priority() {
    let mut queue = queue(None, Policy::Reject, &[(1, Interactive), (2, Interactive)]);
    assert_eq!(queue.push(Waiting(3, Batch)), Pushed::At(0));
    assert_eq!(queue.push(Waiting(4, Interactive)), Pushed::At(2));
    assert_eq!(queue.position(Uuid::from_u128(3)), Some(0));
    queue.remove(Uuid::from_u128(1));
    assert_eq!(queue.position(Uuid::from_u128(4)), Some(1));
    assert_eq!(queue.position(Uuid::from_u128(1)), None);
    assert_eq!((queue.depth(Interactive), queue.depth(Batch)), (2, 1));
}

fn reject_hands_the_new_one_back() {
    let mut queue = queue(Some(2), Policy::Reject, &[(1, Batch), (2, Interactive)]);
    assert!(queue.is_full() && queue.would_refuse());
    assert_eq!(queue.push(Waiting(3, Interactive)), Pushed::Full(Waiting(3, Interactive)));
    assert_eq!(order(&queue), [2, 1]);
    queue.remove(Uuid::from_u128(1));
    assert_eq!(queue.push(Waiting(3, Interactive)), Pushed::At(1));
}

fn drop_lru_drops_the_oldest_batch_task() {
    let mut queue = queue(Some(3), Policy::DropLru, &[(1, Batch), (2, Interactive), (3, Batch)]);
    assert!(queue.is_full() && !queue.would_refuse());
    assert_eq!(queue.push(Waiting(4, Interactive)), Pushed::InsteadOf(Waiting(1, Batch), 1));
    assert_eq!(queue.push(Waiting(5, Batch)), Pushed::InsteadOf(Waiting(3, Batch), 0));
    assert_eq!(order(&queue), [2, 4, 5]);
}

fn drop_lru_never_drops_an_interactive_task() {
    let mut queue = queue(Some(2), Policy::DropLru, &[(1, Interactive), (2, Interactive)]);
    assert!(queue.would_refuse());
    for priority in [Interactive, Batch] {
        assert_eq!(queue.push(Waiting(3, priority)), Pushed::Full(Waiting(3, priority)));
    }
    assert_eq!(order(&queue), [1, 2]);
}

fn unbounded() {
    let entries: Vec<(u128, Priority)> = (0..10_000).map(|id| (id, Batch)).collect();
    let queue = queue(None, Policy::Reject, &entries);
    assert!(!queue.is_full() && queue.len() == 10_000);
}

fn what_was_admitted_comes_back_whatever_the_bound() {
    let mut queue = queue(Some(1), Policy::Reject, &[(1, Interactive)]);
    queue.push_front(Waiting(2, Interactive));
    queue.restore(Waiting(3, Interactive));
    assert_eq!(order(&queue), [2, 1, 3]);
}

fn one_that_cannot_be_placed_holds_up_nobody() {
    let mut queue = queue(None, Policy::Reject, &[(1, Interactive), (2, Interactive), (3, Batch), (4, Batch)]);
    let taken = queue.take_where(|waiting| match waiting.0 {
        1 => Take::Next,
        4 => Take::NoMore,
        _ => Take::It,
    });
    assert_eq!(taken.iter().map(|waiting| waiting.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(order(&queue), [1, 4]);
}
