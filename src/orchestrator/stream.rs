//! From a task's event log to the bytes of one client's stream.
//!
//! Each client reads the log at its own pace; one that stops reading holds up nobody, and one that goes away is noticed
//! by this being dropped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::{Instant, Interval};
use tokio_stream::Stream;

use super::error::Code;
use super::event_log::Read;
use super::service::Orchestrator;
use super::task::Task;

/// A comment keeps connections open that somebody in between would close for silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The stream of a task from the event after `after` on.
pub fn response(service: Arc<Orchestrator>, task: Arc<Task>, after: u64, verbose: bool) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"), // nginx would collect the frames
    ];
    (headers, Body::from_stream(TaskStream::new(service, task, after, verbose))).into_response()
}

/// One frame, as it goes over the wire.
pub fn frame(id: u64, name: &str, data: &str) -> Bytes {
    Bytes::from(format!("id: {id}\nevent: {name}\ndata: {data}\n\n"))
}

struct TaskStream {
    service: Arc<Orchestrator>,
    task: Arc<Task>,
    /// The last event that was handed on.
    after: u64,
    verbose: bool,
    /// Read and not yet handed on.
    pending: VecDeque<Bytes>,
    silence: Interval,
    over: bool,
}

impl TaskStream {
    fn new(service: Arc<Orchestrator>, task: Arc<Task>, after: u64, verbose: bool) -> Self {
        task.log.join();
        let silence = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        Self { service, task, after, verbose, pending: VecDeque::new(), silence, over: false }
    }

    /// The next frames, without regard to keep-alive.
    fn poll_frames(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Poll::Ready(Some(frame));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let microbatch = self.service.configuration.microbatch;
            match std::task::ready!(self.task.log.poll_read(self.after, self.verbose, microbatch, context)) {
                Read::Frames(frames, read) => {
                    self.after = read;
                    if microbatch && frames.len() > 1 {
                        self.pending.push_back(frames.concat().into());
                    } else {
                        self.pending.extend(frames);
                    }
                }
                Read::Over => self.over = true,
                Read::Gone(newest) => {
                    self.over = true;
                    let data = json!({
                        "code": Code::NotResumable,
                        "message": format!("what followed event {} is not kept any more", self.after),
                        "engine": self.task.spec().engine,
                        "retriable": false,
                        "retry_after_ms": null,
                    });
                    self.pending.push_back(frame(newest, "error", &data.to_string()));
                }
            }
        }
    }
}

impl Stream for TaskStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(frame) = self.poll_frames(context) {
            self.silence.reset();
            return Poll::Ready(frame.map(Ok));
        }
        self.silence.poll_tick(context).map(|_| Some(Ok(Bytes::from_static(b": keep-alive\n\n"))))
    }
}

impl Drop for TaskStream {
    fn drop(&mut self) {
        if let Some(mark) = self.task.log.leave() {
            self.service.deserted(self.task.clone(), mark);
        }
    }
}
