//! `/execute`: the request is checked and admitted, or refused; an admitted job is a [`Run`].

use std::io;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::event_stream::EventStream;
use super::events::error_data;
use super::http_server::{Connection, Request, Response};
use super::jobs::Refusal;
use super::mistakes::Slip;
use super::oddities::Quirk;
use super::request::{Failure, Job, body_failure, check, parse_object};
use super::routes::{bad_request, echoed, refusal, respond, unsupported};
use super::run::{Ending, Run};
use super::worker::{Stop, Worker};

/// True: the connection can serve another request.
pub fn execute(worker: &Worker, request: &Request, connection: &mut Connection, correlation: &str) -> io::Result<bool> {
    let refuse = |connection: &mut Connection, response| {
        worker.metrics.refused();
        respond(worker, request, connection, response, correlation)
    };
    if let Some(response) = unsupported(worker, request) {
        return refuse(connection, response);
    }
    let job = match read_job(worker, request) {
        Ok(job) => job,
        Err(failures) if worker.plays(Slip::OverflowDrops) && overflows(&failures) => {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Err(failures) if worker.plays(Slip::MalformedJson500) && failures[0].constraint == "json" => {
            return refuse(connection, refusal(500, "INTERNAL", "internal error"));
        }
        Err(_) if worker.plays(Slip::BadRequestInStream) => {
            let mut stream =
                EventStream::open(&connection.socket, worker.script(), request, echoed(worker, correlation))?;
            stream.frame("error", error_data(worker, "INVALID_REQUEST", "the request is not valid"))?;
            return stream.finish();
        }
        Err(failures) => return refuse(connection, bad_request(worker, &failures)),
    };
    if worker.plays(Slip::OneShot) && worker.served.load(Ordering::SeqCst) {
        return Ok(false); // it is about to exit, however long that takes on a busy machine
    }
    let ticket = match worker.jobs.admit(&job.id) {
        Ok(ticket) => ticket,
        Err(reason) => return refuse(connection, refused(worker, reason)),
    };
    let mut run = Run::new(worker, &job, &ticket, &connection.socket, request, correlation);
    let ending = run.play();
    // Counted, logged and freed before the client reads the last event, so that nothing it does next comes too early.
    run.count(ending.as_ref().map_or("cancelled", Ending::outcome));
    worker.served.store(true, Ordering::SeqCst);
    ticket.release();
    if worker.plays(Slip::OneShot) {
        worker.request_stop(Stop::FirstJobDone);
    }
    match ending? {
        Ending::Dropped(_) => Ok(false),
        Ending::NeverOpened => {
            let response = refusal(499, "CANCELLED", "cancelled before the start");
            respond(worker, request, connection, response, correlation)
        }
        Ending::Success { mut stream, reason, matched } => {
            run.end(&mut stream, reason, matched)?;
            stream.finish()
        }
        Ending::Failure { mut stream, code, message } => {
            run.fail(&mut stream, code, message)?;
            stream.finish()
        }
    }
}

fn read_job(worker: &Worker, request: &Request) -> Result<Job, Vec<Failure>> {
    if request.oversized {
        return Err(vec![body_failure("at most 1 MiB", "the body is too long")]);
    }
    let members = parse_object(&request.body, worker.script())?;
    check(&members, worker.options.max_tokens_out, worker.script())
}

/// Did a number go beyond what a double can hold?
fn overflows(failures: &[Failure]) -> bool {
    failures.iter().any(|failure| failure.message.contains("number out of range"))
}

fn refused(worker: &Worker, reason: Refusal) -> Response {
    match reason {
        Refusal::Duplicate => refusal(409, "DUPLICATE_JOB", "a job with this id is active"),
        Refusal::Draining => refusal(503, "DRAINING", "the worker is stopping"),
        Refusal::Busy => {
            let status = if worker.plays(Slip::Busy429) { 429 } else { 503 };
            let response = refusal(status, "BUSY", "the queue is full");
            match () {
                () if worker.plays(Slip::BusyWithoutRetryAfter) => response,
                () if worker.shows(Quirk::RetryAfterDate) => response.with("Retry-After", date_in(1)),
                () => response.with("Retry-After", "1"),
            }
        }
    }
}

/// A date as HTTP spells it, some seconds from now.
fn date_in(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let time = jiff::Timestamp::from_second(now + seconds).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
