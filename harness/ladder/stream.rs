//! Rung 7: tokens arrive spread over the generation, and everything that counts them agrees, with the others and with the
//! clock.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Finding;
use crate::harness::exposition::Scrape;
use crate::harness::haiku::run::{Chain, settled};
use crate::harness::proof::{Source, checks::tokens_counter};
use crate::harness::target::{Worker, unique};
use crate::harness::transcript::Transcript;
use crate::harness::transcript::arrivals::BURST_SHARE;

const PATIENCE: Duration = Duration::from_secs(110);

/// A job of this length shows whether its tokens were held back.
const LONG_ENOUGH: Duration = Duration::from_millis(300);

/// One job, with the counter before and after.
pub struct Counted {
    pub transcript: Transcript,
    pub before: f64,
    pub after: f64,
    /// Processor time that the worker had used when the first token came, and at the end; of a process of ours.
    worked: Option<[Duration; 2]>,
}

fn counter(worker: &Worker) -> Result<f64, Finding> {
    Ok(worker.metrics()?.sum(tokens_counter(Source::Worker)))
}

/// An engine with an API of its own, whose counters are its own too.
pub fn run_uncounted(worker: &Worker) -> Result<Counted, Finding> {
    let mut job = job();
    job["max_tokens"] = 64.into(); // enough to see how they arrive
    let transcript = worker.run(&job, PATIENCE)?;
    transcript.completed()?;
    Ok(Counted { transcript, before: f64::NAN, after: f64::NAN, worked: None })
}

fn job() -> Value {
    json!({ "job_id": unique("stream"), "prompt": " w5 w77 w9", "max_tokens": 160, "temperature": 0.0, "seed": 1 })
}

pub fn run(worker: &Worker) -> Result<Counted, Finding> {
    let before = Chain::metrics(worker)?;
    let used = || worker.process().ok().and_then(|process| process.cpu_time().ok());
    let asleep = used();
    let stream = worker.execute(&job())?;
    stream.wait_for_tokens(1, PATIENCE)?;
    let at_first = used();
    let transcript = stream.finish(PATIENCE);
    let worked = asleep.zip(at_first).zip(used());
    let worked = worked.map(|((asleep, first), end)| [first, end].map(|used| used.saturating_sub(asleep)));
    transcript.completed()?.judge_all()?;
    let after = settled(worker, Some(&before), &transcript);
    let after = after.ok_or_else(|| Finding::fail("metrics after a job", "they can't be read"))?;
    let [before, after] =
        [before, after].map(|text| Scrape::parse(&text).map(|scrape| scrape.sum(tokens_counter(Source::Worker))));
    let (before, after) = (before?, after?);
    Ok(Counted { transcript, before, after, worked })
}

pub fn arrives_as_computed(counted: &Counted) -> Result<(), Finding> {
    let transcript = &counted.transcript;
    let (first, end) = (transcript.first_token_at().unwrap_or_default(), transcript.ended_at);
    if end >= LONG_ENOUGH && first > end / 2 {
        let found = format!("{first:.0?} of {end:.0?} had passed");
        return Err(transcript.evidence(Finding::fail("the first of 160 tokens in the first half of the job", found)));
    }
    if let Some([first, whole]) = counted.worked
        && whole >= LONG_ENOUGH
        && first > whole / 2
    {
        let expected = "at most half of the processor's work done before the first of 160 tokens comes";
        let found = format!("{first:.2?} of {whole:.2?}: what comes after it was computed before");
        return Err(transcript.evidence(Finding::fail(expected, found)));
    }
    let arrivals = transcript.burst()?;
    if arrivals.largest_share <= BURST_SHARE {
        return Ok(());
    }
    let expected = format!("at most {:.0} % of the tokens within a twentieth of the time", 100.0 * BURST_SHARE);
    Err(counted.transcript.evidence(Finding::fail(expected, arrivals.to_string())))
}

/// Every token of a recipe's greedy text is text of its own: events, `tokens_out` and the counter are one number.
pub fn counts_agree(counted: &Counted) -> Result<(), Finding> {
    let events = counted.transcript.tokens().count() as u64;
    let told = counted.transcript.tokens_out().unwrap_or_default();
    let ended_text = counted.transcript.stop_reason().as_deref() == Some("EOS");
    let risen = counted.after - counted.before;
    if (events == told || (ended_text && events + 1 == told)) && risen == told as f64 {
        return Ok(());
    }
    let expected = "one number of tokens: in events, in end.tokens_out and in the counter";
    let found = format!("{events} events, tokens_out {told}, the counter risen by {risen}");
    Err(counted.transcript.evidence(Finding::fail(expected, found)))
}

/// `decode_time_ms` is the time that passed.
pub fn times_agree(counted: &Counted) -> Result<(), Finding> {
    let transcript = &counted.transcript;
    let told = transcript.need("end", "decode_time_ms")?.as_f64().unwrap_or_default();
    let first = transcript.first_token_at().unwrap_or_default();
    let seen = transcript.ended_at.saturating_sub(first).as_secs_f64() * 1e3;
    let whole = transcript.ended_at.as_secs_f64() * 1e3;
    if told >= 0.5 * seen && told <= 1.1 * whole + 20.0 {
        return Ok(());
    }
    let expected =
        format!("decode_time_ms between {:.0}, half of what the tokens took to come, and {:.0}", 0.5 * seen, whole);
    Err(transcript.evidence(Finding::fail(expected, format!("{told}"))))
}

/// While nobody asks, nothing is counted.
pub fn idle_counts_nothing(worker: &Worker) -> Result<(), Finding> {
    let before = counter(worker)?;
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(50));
        let now = counter(worker)?;
        if now != before {
            return Err(Finding::fail(
                format!("a counter of tokens that stays at {before} while no job runs"),
                now.to_string(),
            ));
        }
    }
    Ok(())
}
