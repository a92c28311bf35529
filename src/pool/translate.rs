//! A job on an engine: the adapter's events, as the contract's frames.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use tokio::sync::mpsc;

use super::adapter::llamacpp::{Ending, EngineJob, Event, LlamaCpp, Place};
use super::error::{Code, Failure, PoolError};
use super::execute::{Errand, Frames, Gone, stopped, streaming};
use super::metrics::Outcome;

/// How long a job may run.
const LIMIT: Duration = Duration::from_secs(300);
/// Events between the adapter and the frames.
const EVENTS: usize = 16;

pub async fn execute(errand: Errand, engine: Arc<LlamaCpp>, body: &[u8]) -> Result<Response, PoolError> {
    let job = EngineJob::read(body, &engine).await?;
    let Some(place) = engine.enter() else {
        return Err(PoolError::refused(Code::Busy, "every slot works, and no more jobs may wait"));
    };
    let (frames, response) = streaming();
    tokio::spawn(async move {
        let (outcome, tokens_out) = run(&errand, &engine, &place, &job, &frames).await;
        drop(place);
        errand.ended(outcome, tokens_out);
    });
    Ok(response)
}

/// Waits for its turn, runs, and says how the job ended. The slot's lease is held until the slot is idle.
async fn run(errand: &Errand, engine: &LlamaCpp, place: &Place, job: &EngineJob, frames: &Frames) -> (Outcome, u64) {
    let mut stop = errand.lease.stop.clone();
    let turn = tokio::select! {
        turn = place.turn() => turn,
        () = frames.gone() => return (Outcome::Disconnected, 0),
        _ = stopped(&mut stop) => {
            let failure = Failure::new(Code::Cancelled, "the job was cancelled before it started");
            return ended(errand, frames, Ending::Error(failure)).await;
        }
    };
    let (sender, mut events) = mpsc::channel(EVENTS);
    let forward = async {
        // A client that has gone drops the receiver: the adapter stops the job.
        while let Some(event) = events.recv().await {
            let sent = match &event {
                Event::Started(started) => frames.send_json(&errand.lease.stop, "started", started).await,
                Event::Token(_) if errand.lease.stop.borrow().is_some() => Ok(()),
                Event::Token(token) => frames.send_json(&errand.lease.stop, "token", token).await,
            };
            if let Err(Gone) = sent {
                break;
            }
        }
        drop(events);
    };
    let work = async {
        // Whoever goes away is noticed also while no event comes.
        let halt = async {
            tokio::select! {
                cause = stopped(&mut stop) => cause,
                () = frames.gone() => super::registry::Cause::Cancelled,
            }
        };
        let ending = engine.run(job, LIMIT, halt, &sender).await;
        drop(sender);
        ending
    };
    let (ending, ()) = tokio::join!(work, forward);
    drop(turn);
    ended(errand, frames, ending).await
}

async fn ended(errand: &Errand, frames: &Frames, ending: Ending) -> (Outcome, u64) {
    let stop = &errand.lease.stop;
    let (sent, outcome, tokens) = match &ending {
        Ending::End(end) => (frames.send_json(stop, "end", end).await, Outcome::End, u64::from(end.tokens_out)),
        Ending::Error(failure) => {
            let outcome = match failure.code {
                Code::Cancelled => Outcome::Cancelled,
                Code::WorkerReset => Outcome::WorkerReset,
                _ => Outcome::Error,
            };
            (frames.send_json(stop, "error", failure).await, outcome, 0)
        }
    };
    match sent {
        Ok(()) => (outcome, tokens),
        Err(Gone) => (Outcome::Disconnected, tokens),
    }
}
