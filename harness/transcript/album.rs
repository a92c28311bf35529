//! Keeps when the events of every stream arrived, for a report that shows them; nothing while no report wants them.
//!
//! Transcripts come and go inside scenarios, on threads named after their cases; here is what remains of them.

use std::sync::{Mutex, PoisonError};

use super::Transcript;
use crate::parity::report::{Moment, Run};

static ALBUM: Mutex<Option<Vec<Run>>> = Mutex::new(None);

/// From now on streams are kept.
pub fn open() {
    ALBUM.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
}

/// What was kept since it was opened or last taken.
pub fn take() -> Vec<Run> {
    ALBUM.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take).unwrap_or_default()
}

/// A stream without events has nothing to show.
pub fn keep(transcript: &Transcript) {
    if let Some(runs) = ALBUM.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        && !transcript.frames.is_empty()
    {
        runs.push(run(transcript, &case_of_this_thread()));
    }
}

/// The arrivals of one stream, under a label.
pub fn run(transcript: &Transcript, label: &str) -> Run {
    let moment = |at: std::time::Duration, kind: &str| Moment { ms: at.as_secs_f64() * 1e3, kind: kind.to_owned() };
    let events = transcript.frames.iter().map(|frame| moment(frame.at, frame.name())).collect();
    Run { label: label.to_owned(), events }
}

/// The runner names a case's thread `case N ADDRESS`; other streams are the session's own, asked before the cases.
fn case_of_this_thread() -> String {
    let thread = std::thread::current();
    let address =
        thread.name().and_then(|name| name.strip_prefix("case ")?.split_once(' ')).map(|(_, address)| address);
    address.unwrap_or("before the cases").to_owned()
}
