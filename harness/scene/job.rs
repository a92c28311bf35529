//! One job that a scenario has sent: first a connection that waits for its head, then a stream, then a transcript.
//!
//! The head is awaited on a thread of its own, since a worker may hold it back until the job starts.

use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Finding;
use crate::harness::http::{Answer, Base, HttpError, Request};
use crate::harness::sse::Frame;
use crate::harness::stream::{Caps, Opened, Stream};
use crate::harness::target::SILENCE;
use crate::harness::transcript::{End, Transcript};

/// How long any single thing a worker owes may take before it counts as never coming.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Job {
    pub label: String,
    pub job_id: String,
    pub request: Request,
    pub sent: Instant,
    /// When its cancel was sent.
    pub cancel_asked: Option<Instant>,
    /// When its cancel was answered, or its client went away.
    pub cancelled: Option<Instant>,
    /// How long its stream may be silent once it has begun to write.
    pub silence: Duration,
    state: State,
}

enum State {
    /// The head is awaited; the socket comes as soon as it is connected.
    Opening(Receiver<Result<Opened, HttpError>>, Receiver<TcpStream>),
    Streaming(Stream),
    Ended(Box<Transcript>),
    Refused(Answer),
    Broken(HttpError),
}

impl Job {
    /// Sends the request and gives the worker a moment to answer, so that jobs sent one after the other arrive so.
    pub fn send(base: &Base, label: &str, job_id: &str, request: Request) -> Job {
        let (opened, head) = channel();
        let (connected, connection) = channel();
        let sent = Instant::now();
        let (base, asked) = (base.clone(), request.clone());
        thread::spawn(move || {
            // The scenario may have ended meanwhile: then nobody listens, and the stream closes as it is dropped.
            let _ = opened.send(Stream::open_watched(&base, &asked, Caps::default(), |socket| {
                let _ = connected.send(socket);
            }));
        });
        let mut job = Job {
            label: label.into(),
            job_id: job_id.into(),
            request,
            sent,
            cancel_asked: None,
            cancelled: None,
            silence: SILENCE,
            state: State::Opening(head, connection),
        };
        job.wait_for_head(Duration::from_secs(1));
        job
    }

    fn wait_for_head(&mut self, deadline: Duration) {
        if let State::Opening(opened, _) = &self.state {
            self.state = match opened.recv_timeout(deadline) {
                Ok(Ok(Opened::Stream(stream))) => State::Streaming(stream),
                Ok(Ok(Opened::Refused(answer))) => State::Refused(answer),
                Ok(Err(error)) => State::Broken(error),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    /// The stream while it runs.
    fn stream(&mut self, deadline: Duration) -> Result<&Stream, Finding> {
        self.wait_for_head(deadline);
        match &self.state {
            State::Streaming(stream) => Ok(stream),
            State::Opening(..) => Err(self.finding("a stream", format!("no answer within {deadline:.1?}"))),
            State::Refused(answer) => Err(self.refusal(answer)),
            State::Broken(error) => Err(error.clone().into()),
            State::Ended(transcript) => {
                Err(transcript.evidence(self.finding("a stream that goes on", "it has ended".into())))
            }
        }
    }

    pub fn wait_for_token(&mut self) -> Result<(), Finding> {
        match &self.state {
            State::Ended(transcript) if transcript.tokens().next().is_some() => Ok(()),
            _ => self.stream(PATIENCE)?.wait_for_tokens(1, PATIENCE),
        }
    }

    /// Events of any kind.
    pub fn wait_for_frames(&mut self, count: usize) -> Result<(), Finding> {
        self.stream(PATIENCE)?.wait_until(&format!("{count} events"), PATIENCE, |frames| frames.len() >= count)
    }

    /// Two more tokens than now: one may have been on its way already.
    pub fn wait_for_more(&mut self) -> Result<(), Finding> {
        let stream = self.stream(PATIENCE)?;
        let now = stream.frames().iter().filter(|frame| frame.is("token")).count();
        stream.wait_for_tokens(now + 2, PATIENCE)
    }

    pub fn wait_for_event(&mut self, event: &str, deadline: Duration) -> Result<Frame, Finding> {
        if let State::Ended(transcript) = &self.state {
            let frame = transcript.events(event).next().cloned();
            return frame.ok_or_else(|| {
                transcript.evidence(self.finding(&format!("the event {event:?}"), "a stream without it".into()))
            });
        }
        let begun = Instant::now();
        self.stream(deadline)?.wait_for_event(event, deadline.saturating_sub(begun.elapsed()))
    }

    /// The whole of the stream, once it has ended; hangs up when it does not within the deadline.
    pub fn transcript(&mut self, deadline: Duration) -> Result<&Transcript, Finding> {
        self.wait_for_head(deadline);
        if let State::Streaming(_) = &self.state {
            let placeholder = State::Broken(HttpError::NoAnswer { address: self.label.clone() });
            if let State::Streaming(stream) = std::mem::replace(&mut self.state, placeholder) {
                let left = deadline.saturating_sub(self.sent.elapsed()).max(Duration::from_secs(1));
                self.state = State::Ended(Box::new(stream.finish_unless_silent(left, self.silence)));
            }
        }
        match &self.state {
            State::Ended(transcript) => Ok(transcript),
            State::Refused(answer) => Err(self.refusal(answer)),
            State::Broken(error) => Err(error.clone().into()),
            _ => Err(self.finding("a stream", format!("no answer within {deadline:.1?}"))),
        }
    }

    /// The answer of any status other than 200, or nothing while the job is streamed.
    pub fn refused(&mut self, deadline: Duration) -> Option<&Answer> {
        self.wait_for_head(deadline);
        match &self.state {
            State::Refused(answer) => Some(answer),
            _ => None,
        }
    }

    /// The time from one token to the next, in the middle of all so far.
    pub fn median_gap(&self) -> Duration {
        let arrivals: Vec<Duration> =
            self.frames().iter().filter(|frame| frame.is("token")).map(|frame| frame.at).collect();
        let mut gaps: Vec<Duration> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort();
        gaps.get(gaps.len() / 2).copied().unwrap_or_default()
    }

    pub fn frames(&self) -> Vec<Frame> {
        match &self.state {
            State::Streaming(stream) => stream.frames(),
            State::Ended(transcript) => transcript.frames.clone(),
            _ => Vec::new(),
        }
    }

    /// The zero of the stream's arrival times, on the clock that all jobs share.
    pub fn stream_began(&self) -> Instant {
        match &self.state {
            State::Streaming(stream) => stream.sent(),
            _ => self.sent,
        }
    }

    /// When this job's `event` arrived, on that clock.
    pub fn arrival_of(&self, event: &str) -> Option<Instant> {
        self.frames().iter().find(|frame| frame.is(event)).map(|frame| self.stream_began() + frame.at)
    }

    /// Its stream was left because nothing came any more.
    pub fn was_given_up(&self) -> bool {
        matches!(&self.state, State::Ended(transcript) if transcript.end == End::DeadlinePassed)
    }

    pub fn has_ended(&self) -> bool {
        !matches!(self.state, State::Opening(..) | State::Streaming(_))
    }

    /// Hangs up at once, as a client that goes away.
    pub fn disconnect(&mut self) {
        self.wait_for_head(Duration::ZERO);
        let placeholder = State::Broken(HttpError::NoAnswer { address: self.label.clone() });
        self.state = match std::mem::replace(&mut self.state, placeholder) {
            State::Streaming(stream) => State::Ended(Box::new(stream.close())),
            State::Opening(_, connection) => {
                if let Ok(socket) = connection.recv_timeout(PATIENCE) {
                    let _ = socket.shutdown(Shutdown::Both);
                }
                State::Broken(HttpError::NoAnswer { address: self.label.clone() })
            }
            other => other,
        };
    }

    fn finding(&self, expected: &str, found: String) -> Finding {
        Finding::fail(format!("{expected} for the job {:?}", self.label), found)
    }

    fn refusal(&self, answer: &Answer) -> Finding {
        answer.evidence(self.finding("a stream, status 200", format!("status {} {}", answer.status, answer.reason)))
    }
}
