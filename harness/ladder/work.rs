//! Rung 6: time and processor time grow with prompt and output as the arithmetic demands, and no answer comes out of a
//! memory of earlier ones. Only ratios are judged, of jobs long enough to measure, on a model large enough to tell.

use std::time::Duration;

use serde_json::json;

use crate::harness::Finding;
use crate::harness::target::{Worker, unique};

const PATIENCE: Duration = Duration::from_secs(110);
/// Less work than this can't be told from the rest of the machine.
const LEAST: Duration = Duration::from_millis(120);

/// What one job cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    processor: Duration,
    /// From the first token to the end.
    decode: Duration,
    tokens: u64,
}

fn cost(worker: &Worker, prompt: &str, tokens: usize) -> Result<Cost, Finding> {
    let process = worker.process()?;
    let used = || process.cpu_time().map_err(|error| Finding::error("the worker's processor time", error.to_string()));
    let before = used()?;
    let job =
        json!({ "job_id": unique("work"), "prompt": prompt, "max_tokens": tokens, "temperature": 0.0, "seed": 1 });
    let transcript = worker.run(&job, PATIENCE)?;
    transcript.completed()?;
    let first = transcript.first_token_at().unwrap_or_default();
    let decode = transcript.ended_at.saturating_sub(first);
    Ok(Cost { processor: used()?.saturating_sub(before), decode, tokens: transcript.tokens_out().unwrap_or_default() })
}

fn ratio(longer: Duration, shorter: Duration) -> f64 {
    longer.as_secs_f64() / shorter.as_secs_f64().max(1e-4)
}

/// A prompt of about this many tokens in a recipe's vocabulary, different in its very first token.
fn prompt(words: usize, first: usize) -> String {
    (0..words).map(|index| format!(" w{}", (first + 7 * index) % 1500)).collect()
}

/// Three times the output costs about three times the work, and a prompt eight times as long several times the work.
pub fn grows(worker: &Worker) -> Result<(), Finding> {
    let _warm = cost(worker, &prompt(4, 1), 8)?;
    let short = cost(worker, &prompt(16, 100), 32)?;
    let long = cost(worker, &prompt(16, 200), 128)?;
    if long.tokens < 128 || long.processor < LEAST {
        let found = format!("{} tokens in {:.0?} of processor time", long.tokens, long.processor);
        return Err(Finding::unimplemented(format!("128 tokens that cost {LEAST:?} at least"), found));
    }
    let found = ratio(long.processor, short.processor);
    if found < 2.0 {
        let expected = "at least 2 times the processor time for 4 times the tokens";
        return Err(Finding::fail(
            expected,
            format!("{found:.2} times ({:.0?} after {:.0?})", long.processor, short.processor),
        ));
    }
    let brief = cost(worker, &prompt(60, 300), 1)?;
    let wordy = cost(worker, &prompt(480, 400), 1)?;
    let found = ratio(wordy.processor, brief.processor);
    if found < 2.5 {
        let expected = "at least 2.5 times the processor time for 8 times the prompt";
        return Err(Finding::fail(
            expected,
            format!("{found:.2} times ({:.0?} after {:.0?})", wordy.processor, brief.processor),
        ));
    }
    Ok(())
}

/// A prompt that was just answered costs its decoding again; a cache of prefixes may save the prefill, and nothing else.
pub fn repeats_cost_the_same(worker: &Worker) -> Result<(), Finding> {
    let _warm = cost(worker, &prompt(4, 1), 8)?;
    let asked = prompt(16, 500);
    let fresh = cost(worker, &asked, 64)?;
    for _ in 0..2 {
        let again = cost(worker, &asked, 64)?;
        let (time, work) = (ratio(again.decode, fresh.decode), ratio(again.processor, fresh.processor));
        if time < 0.5 || work < 0.4 {
            let expected = "a repeated prompt to cost at least half of a fresh one";
            let found = format!(
                "{time:.2} of the time and {work:.2} of the processor time ({:.0?} after {:.0?})",
                again.decode, fresh.decode
            );
            return Err(Finding::fail(expected, found));
        }
    }
    Ok(())
}
