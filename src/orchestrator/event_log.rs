//! The events of one task, kept so that any number of readers read them at their own pace, and come back for more.
//!
//! Only what the store holds is in here. The log is bounded: the oldest events make room, and a reader that still wanted
//! them hears that its place is gone. A reader that is slow holds up nobody: it only falls behind.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::Bytes;

/// One event, in the form in which it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: u64,
    /// As ordinary readers see it; `None` for what only verbose ones do.
    pub plain: Option<Bytes>,
    /// As verbose readers see it, where that differs.
    pub verbose: Option<Bytes>,
}

impl Frame {
    pub fn seen(&self, verbose: bool) -> Option<&Bytes> {
        if verbose { self.verbose.as_ref().or(self.plain.as_ref()) } else { self.plain.as_ref() }
    }

    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.plain) + length(&self.verbose)
    }
}

/// How much of one task's history is kept.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    pub events: usize,
    pub bytes: usize,
}

/// What a reader gets when it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next frames to write, and the id to go on from.
    Frames(Vec<Bytes>, u64),
    /// All that there ever will be has been read.
    Over,
    /// What the reader wanted next is not here any more. The id is the newest.
    Gone(u64),
}

#[derive(Debug)]
pub struct EventLog {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    cap: Cap,
    frames: VecDeque<Frame>,
    /// The id of the newest event, here or made room of; 0 before the first.
    newest: u64,
    bytes: usize,
    ended: bool,
    readers: usize,
    /// Rises each time somebody joins: who waits for a return can see that there was one.
    joined: u64,
    wakers: Vec<Waker>,
}

/// The most that one read hands out, so that one reader with much to catch up on shares the socket's thread.
const READ_BYTES: usize = 64 * 1024;

impl EventLog {
    pub fn new(cap: Cap) -> Self {
        Self {
            state: Mutex::new(State {
                cap,
                frames: VecDeque::new(),
                newest: 0,
                bytes: 0,
                ended: false,
                readers: 0,
                joined: 0,
                wakers: Vec::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stored event and wakes who waits for it. After an ending nothing is taken any more.
    pub fn publish(&self, frame: Frame, ends: bool) {
        let wakers = {
            let mut state = self.state();
            if state.ended {
                return;
            }
            state.newest = frame.id;
            state.bytes += frame.bytes();
            state.ended = ends;
            state.frames.push_back(frame);
            while state.frames.len() > state.cap.events || state.bytes > state.cap.bytes {
                let Some(oldest) = state.frames.pop_front() else { break };
                state.bytes -= oldest.bytes();
            }
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What follows the event `after`, or a place among those who are woken for it.
    pub fn poll_read(&self, after: u64, verbose: bool, microbatch: bool, context: &Context<'_>) -> Poll<Read> {
        let mut state = self.state();
        let oldest = state.newest + 1 - state.frames.len() as u64;
        if after + 1 < oldest || after > state.newest {
            return Poll::Ready(Read::Gone(state.newest));
        }
        let (mut frames, mut bytes, mut read) = (Vec::new(), 0, after);
        for frame in state.frames.range((after + 1 - oldest) as usize..) {
            read = frame.id;
            if let Some(seen) = frame.seen(verbose) {
                bytes += seen.len();
                frames.push(seen.clone());
                if !microbatch || bytes >= READ_BYTES {
                    break;
                }
            }
        }
        // Without a frame where all that is new is for verbose readers.
        if read > after {
            return Poll::Ready(Read::Frames(frames, read));
        }
        if state.ended {
            return Poll::Ready(Read::Over);
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    pub fn newest(&self) -> u64 {
        self.state().newest
    }

    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// What stays of a log whose events are let go: that there were some.
    pub fn remains(&self) -> Self {
        let remains = Self::new(Cap { events: 0, bytes: 0 });
        let newest = self.newest();
        {
            let mut state = remains.state();
            (state.newest, state.ended) = (newest, true);
        }
        remains
    }

    /// Resolves when the ending is here.
    pub async fn ended(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.state();
            if state.ended {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub fn join(&self) {
        let mut state = self.state();
        state.readers += 1;
        state.joined += 1;
    }

    /// A reader leaves. `Some` with a mark to compare, where it was the last of a task that is not over.
    pub fn leave(&self) -> Option<u64> {
        let mut state = self.state();
        state.readers -= 1;
        (state.readers == 0 && !state.ended).then_some(state.joined)
    }

    /// Nobody has joined since the mark, and nobody is here.
    pub fn is_deserted_since(&self, mark: u64) -> bool {
        let state = self.state();
        state.readers == 0 && state.joined == mark && !state.ended
    }
}
