//! What a client was told while machines came and went, and what of that must hold whatever happened to them: tokens in
//! their order, none twice and none left out, one ending, and the same again when it is read again.

use crate::harness::Finding;
use crate::harness::transcript::{Transcript, is_terminal};

/// How a stream is to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Whole,
    /// With an error that says WORKER_RESET and that another try may do.
    Reset,
    /// Either.
    Told,
}

/// One stream, as it was read while it ran.
pub fn judge(story: &Transcript, tokens: u64, ending: Ending) -> Result<(), Finding> {
    let fail = |expected: String, found: String| Err(story.evidence(Finding::fail(expected, found)));
    let numbers: Vec<_> = story.tokens().map(|frame| frame.json().ok().and_then(|data| data["i"].as_u64())).collect();
    if let Some(at) = (0..numbers.len()).find(|at| numbers[*at] != Some(*at as u64)) {
        return fail(format!("token {at} where it is due"), format!("{:?}", numbers[at]));
    }
    let ids: Vec<Option<u64>> = story.frames.iter().map(|frame| frame.id.as_ref()?.parse().ok()).collect();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0].is_none() || pair[1] <= pair[0]) {
        return fail("ids that rise".to_owned(), format!("{pair:?}"));
    }
    let endings = story.frames.iter().filter(|frame| is_terminal(frame)).count();
    if endings != 1 || !story.frames.last().is_some_and(is_terminal) {
        return fail("one ending, as the last event".to_owned(), format!("{endings}, {}", story.summary()));
    }
    let whole = story.tokens_out() == Some(tokens) && numbers.len() as u64 == tokens;
    let retriable = story.field("error", "retriable").is_some_and(|retriable| retriable == true);
    let reset = story.error_code().as_deref() == Some("WORKER_RESET") && retriable;
    let told = match ending {
        Ending::Whole => whole,
        Ending::Reset => reset,
        Ending::Told => whole || reset,
    };
    if told { Ok(()) } else { fail(format!("{ending:?}: {tokens} tokens, or a reset that says so"), story.summary()) }
}

/// What is read again is what was read, to the byte, as far as that had come; and nothing is added to an ending.
pub fn same_again(story: &Transcript, again: &Transcript) -> Result<(), Finding> {
    let raw = |transcript: &Transcript| transcript.frames.iter().map(|frame| frame.raw.clone()).collect::<Vec<_>>();
    let (first, second) = (raw(story), raw(again));
    let over = story.frames.last().is_some_and(is_terminal);
    if second.starts_with(&first) && (!over || first.len() == second.len()) {
        return Ok(());
    }
    let found = format!("{} events, then {}: {}", first.len(), second.len(), again.summary());
    Err(again.evidence(Finding::fail("the same events when the stream is read again", found)))
}
