//! From a job's events to the bytes of its stream.
//!
//! The events come through a channel and the ending through a slot of its own, so exactly one ending comes last. A stream
//! that is dropped before its end belongs to a client that went away: its job is stopped.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::{Instant, Interval};
use tokio_stream::Stream;

use super::error::Code;
use super::events::{Cause, Ending, Event, Failure};
use super::jobs::Outlet;
use super::service::Service;

/// A comment keeps connections open that somebody in between would close for silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The head is sent at once, the frames as they are computed.
pub fn response(service: Arc<Service>, outlet: Outlet) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"), // nginx would collect the frames
    ];
    (headers, Body::from_stream(JobStream::new(service, outlet))).into_response()
}

struct JobStream {
    service: Arc<Service>,
    outlet: Outlet,
    silence: Interval,
    /// The ending has been handed to the socket: nothing comes after it.
    over: bool,
}

impl JobStream {
    fn new(service: Arc<Service>, outlet: Outlet) -> Self {
        service.stream_opened();
        let silence = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        Self { service, outlet, silence, over: false }
    }

    /// The next frame, without regard to keep-alive.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        if self.over {
            return Poll::Ready(None);
        }
        while let Some(event) = std::task::ready!(self.outlet.events.poll_recv(context)) {
            // What was computed before the job was stopped and is still in the channel is not sent any more.
            if matches!(event, Event::Started(_)) || !self.outlet.cancel.is_raised() {
                return Poll::Ready(Some(event_frame(&event)));
            }
        }
        let ending = std::task::ready!(Pin::new(&mut self.outlet.ending).poll(context))
            .unwrap_or_else(|_| Ending::Error(Failure::new(Code::Internal, "the inference thread ended")));
        self.over = true;
        Poll::Ready(Some(ending_frame(&ending)))
    }
}

impl Stream for JobStream {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(frame) = self.poll_frame(context) {
            self.silence.reset();
            return Poll::Ready(frame.map(Ok));
        }
        self.silence.poll_tick(context).map(|_| Some(Ok(": keep-alive\n\n".to_owned())))
    }
}

impl Drop for JobStream {
    fn drop(&mut self) {
        if !self.over
            && let Some(admitted) = self.service.jobs.stop_ticket(self.outlet.ticket, Cause::Disconnected)
        {
            self.service.end_unstarted(admitted, Cause::Disconnected);
        }
        self.service.stream_closed();
    }
}

fn event_frame(event: &Event) -> String {
    match event {
        Event::Started(data) => frame("started", data),
        Event::Token(data) => frame("token", data),
        Event::Metrics(data) => frame("metrics", data),
    }
}

fn ending_frame(ending: &Ending) -> String {
    match ending {
        Ending::End(data) => frame("end", data),
        Ending::Error(data) => frame("error", data),
    }
}

/// One frame. JSON keeps the data on one line, whatever the text holds.
fn frame(name: &str, data: &impl Serialize) -> String {
    match serde_json::to_string(data) {
        Ok(data) => format!("event: {name}\ndata: {data}\n\n"),
        // These types hold strings and numbers only, which JSON can always spell; the stream still ends properly if not.
        Err(_) => {
            "event: error\ndata: {\"code\":\"INTERNAL\",\"message\":\"unspeakable event\",\"retriable\":true}\n\n"
                .to_owned()
        }
    }
}
