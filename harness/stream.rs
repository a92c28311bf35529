//! An event stream that is being read: a thread of its own with a blocking socket reads it, so that arrival times are
//! those of the wire, whatever the scenarios' executor is doing.
//!
//! `Stream::open` sends the request and reads the head on the caller's thread; the body is then read in the background.
//! `wait_until` watches it, `close` hangs up now, `finish` waits for its end; both give the `Transcript`.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Finding;
use super::api::translate::Translator;
use super::http::wire::{Exchange, Head};
use super::http::{Answer, Base, HttpError, Request};
use super::sse::{Frame, Parser};
use super::transcript::{End, Transcript, album};

/// What one stream may cost: a worker that never stops must not stop the harness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caps {
    pub bytes: u64,
    pub frames: usize,
    /// From the request to the last byte; the head must come within it too.
    pub time: Duration,
}

impl Default for Caps {
    fn default() -> Caps {
        Caps { bytes: 64 << 20, frames: 100_000, time: Duration::from_secs(120) }
    }
}

impl Caps {
    pub fn within(time: Duration) -> Caps {
        Caps { time, ..Caps::default() }
    }
}

/// What a request for a stream got.
#[derive(Debug)]
pub enum Opened {
    Stream(Stream),
    /// Any status other than 200.
    Refused(Answer),
}

impl Opened {
    /// The stream, or a finding that shows the answer that came instead.
    pub fn stream(self) -> Result<Stream, Finding> {
        match self {
            Opened::Stream(stream) => Ok(stream),
            Opened::Refused(answer) => {
                let found = format!("status {} {}", answer.status, answer.reason);
                Err(answer.evidence(Finding::fail("a stream, status 200", found)))
            }
        }
    }

    /// The refusal, or a finding: a stream was opened where none should be. Hangs up in that case.
    pub fn refused(self) -> Result<Answer, Finding> {
        match self {
            Opened::Refused(answer) => Ok(answer),
            Opened::Stream(stream) => {
                let transcript = stream.close();
                Err(transcript.evidence(Finding::fail("a refusal before inference", "status 200 and a stream")))
            }
        }
    }
}

/// What the reading thread has so far.
#[derive(Debug, Default)]
struct Progress {
    parser: Parser,
    /// Of an engine that speaks another language than the contract.
    translator: Option<Translator>,
    /// How many of the frames are the contract's.
    translated: usize,
    bytes: u64,
    end: Option<(End, Duration)>,
}

impl Progress {
    fn take(&mut self, bytes: &[u8], at: Duration) {
        self.parser.push(bytes, at);
        self.translate();
    }

    fn finish(&mut self) {
        self.parser.finish();
        self.translate();
    }

    fn translate(&mut self) {
        let Some(translator) = &mut self.translator else { return };
        let fresh = self.parser.frames.split_off(self.translated);
        self.parser.frames.extend(fresh.iter().flat_map(|frame| translator.read(frame)));
        self.translated = self.parser.frames.len();
    }
}

type Shared = Arc<(Mutex<Progress>, Condvar)>;

#[derive(Debug)]
pub struct Stream {
    base: Base,
    request: Request,
    head: Head,
    sent: Instant,
    shared: Shared,
    /// Dropped with the stream: the server then sees the connection go.
    socket: Option<TcpStream>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    pub fn open(base: &Base, request: &Request, caps: Caps) -> Result<Opened, HttpError> {
        Stream::open_watched(base, request, caps, |_| {})
    }

    /// The same; `connected` gets a second handle on the socket before the head is awaited.
    pub fn open_watched(
        base: &Base,
        request: &Request,
        caps: Caps,
        connected: impl FnOnce(TcpStream),
    ) -> Result<Opened, HttpError> {
        let until = Instant::now() + caps.time;
        let spoken = base.spoken(request);
        let exchange = Exchange::begin_watched(base, &spoken, until, connected)?;
        let sent = Instant::now().checked_sub(exchange.elapsed()).unwrap_or_else(Instant::now);
        if exchange.head.status != 200 {
            return Answer::read(base, &spoken, exchange, until.min(Instant::now() + ANSWER_WITHIN))
                .map(Opened::Refused);
        }
        let unreachable =
            |error: std::io::Error| HttpError::Unreachable { address: base.authority(), reason: error.to_string() };
        let socket = exchange.handle().map_err(unreachable)?;
        let head = exchange.head.clone();
        let shared = Shared::default();
        lock(&shared.0).translator = base.translator(request);
        let reader = {
            let shared = shared.clone();
            let name = "stream reader".to_string();
            std::thread::Builder::new()
                .name(name)
                .spawn(move || read(exchange, caps, until, &shared))
                .map_err(unreachable)?
        };
        let (base, request) = (base.clone(), request.clone());
        Ok(Opened::Stream(Stream { base, request, head, sent, shared, socket: Some(socket), reader: Some(reader) }))
    }

    pub fn request(&self) -> &Request {
        &self.request
    }

    /// When the request was sent: the zero of all arrival times.
    pub fn sent(&self) -> Instant {
        self.sent
    }

    /// The frames so far.
    pub fn frames(&self) -> Vec<Frame> {
        lock(&self.shared.0).parser.frames.clone()
    }

    /// Whether the stream has ended, and how.
    pub fn ended(&self) -> Option<End> {
        lock(&self.shared.0).end.as_ref().map(|(end, _)| end.clone())
    }

    /// Waits until the frames so far satisfy `reached`. A finding, which names `what` was waited for, says whether the
    /// stream ended before or the deadline passed.
    pub fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        reached: impl Fn(&[Frame]) -> bool,
    ) -> Result<(), Finding> {
        let until = Instant::now() + deadline;
        let (progress, changed) = &*self.shared;
        let mut progress = lock(progress);
        loop {
            if reached(&progress.parser.frames) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            let found = match &progress.end {
                Some(_) => "the stream ended before".to_string(),
                None if left.is_zero() => format!("nothing of the kind within {deadline:.1?}"),
                None => {
                    progress = changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            };
            let transcript = self.transcript_of(&progress);
            let finding = Finding::fail(what, format!("{found}: {}", transcript.summary()));
            return Err(transcript.evidence(finding));
        }
    }

    /// Waits for the first frame of this name and gives it.
    pub fn wait_for_event(&self, event: &str, deadline: Duration) -> Result<Frame, Finding> {
        self.wait_until(&format!("the event {event:?}"), deadline, |frames| {
            frames.iter().any(|frame| frame.is(event))
        })?;
        let frame = self.frames().into_iter().find(|frame| frame.is(event));
        frame.ok_or_else(|| Finding::error("a frame that was seen", "it is gone"))
    }

    pub fn wait_for_tokens(&self, count: usize, deadline: Duration) -> Result<(), Finding> {
        let enough = |frames: &[Frame]| frames.iter().filter(|frame| frame.is("token")).count() >= count;
        self.wait_until(&format!("{count} token events"), deadline, enough)
    }

    /// Hangs up now, both directions at once, and gives what had come.
    pub fn close(mut self) -> Transcript {
        self.hang_up(End::Disconnected);
        self.into_transcript()
    }

    /// Waits for the end of the stream; hangs up when the deadline passes before.
    pub fn finish(self, deadline: Duration) -> Transcript {
        self.finish_unless_silent(deadline, deadline)
    }

    /// The same, and hangs up when no event has come for so long since the first token: what is still to come never will.
    pub fn finish_unless_silent(mut self, deadline: Duration, silence: Duration) -> Transcript {
        let until = Instant::now() + deadline;
        let (mut seen, mut last) = (0, Instant::now());
        {
            let (progress, changed) = &*self.shared;
            let mut progress = lock(progress);
            while progress.end.is_none() {
                let frames = &progress.parser.frames;
                if frames.len() > seen {
                    (seen, last) = (frames.len(), Instant::now());
                }
                let begun = frames.iter().any(|frame| frame.is("token"));
                let until = if begun { until.min(last + silence) } else { until };
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                progress = changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        self.hang_up(End::DeadlinePassed);
        self.into_transcript()
    }

    /// Ends the reading, if it has not ended; `end` is then what the transcript says.
    fn hang_up(&mut self, end: End) {
        {
            let mut progress = lock(&self.shared.0);
            if progress.end.is_none() {
                progress.end = Some((end, self.sent.elapsed()));
                progress.finish();
            }
        }
        if let Some(socket) = self.socket.take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    fn into_transcript(self) -> Transcript {
        let progress = lock(&self.shared.0);
        let transcript = self.transcript_of(&progress);
        album::keep(&transcript);
        transcript
    }

    fn transcript_of(&self, progress: &Progress) -> Transcript {
        let (end, ended_at) = progress.end.clone().unwrap_or((End::Open, self.sent.elapsed()));
        Transcript {
            base: self.base.clone(),
            request: self.request.clone(),
            status: self.head.status,
            headers: self.head.headers.clone(),
            head_at: self.head.at,
            frames: progress.parser.frames.clone(),
            comments: progress.parser.comments.clone(),
            problems: progress.parser.problems.clone(),
            end,
            ended_at,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.hang_up(End::Disconnected);
    }
}

/// How long the body of a refusal may take after its head.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reading thread: until the stream ends, a cap is reached or the other side hangs up.
fn read(mut exchange: Exchange, caps: Caps, until: Instant, shared: &Shared) {
    loop {
        let piece = exchange.next(until);
        let mut progress = lock(&shared.0);
        if progress.end.is_some() {
            return; // hung up by us meanwhile
        }
        let end = match piece {
            Ok(Some(piece)) => {
                progress.bytes += piece.bytes.len() as u64;
                progress.take(&piece.bytes, piece.at);
                let over = |what: &str| Some(End::CapReached(what.to_string()));
                match () {
                    () if progress.bytes > caps.bytes => over(&format!("{} bytes", caps.bytes)),
                    () if progress.parser.frames.len() > caps.frames => over(&format!("{} frames", caps.frames)),
                    () => None,
                }
            }
            Ok(None) => Some(End::Closed),
            Err(HttpError::Reset { bytes, .. }) => Some(End::Reset { bytes }),
            Err(HttpError::CutShort { bytes, .. }) => Some(End::CutShort { bytes }),
            Err(HttpError::TimedOut { .. } | HttpError::NeverAnswered { .. }) => {
                Some(End::CapReached(format!("{:.1?}", caps.time)))
            }
            Err(other) => Some(End::Broken(other.to_string())),
        };
        if let Some(end) = end {
            progress.finish();
            progress.end = Some((end, exchange.elapsed()));
        }
        shared.1.notify_all();
        if progress.end.is_some() {
            drop(progress);
            exchange.disconnect();
            return;
        }
    }
}
