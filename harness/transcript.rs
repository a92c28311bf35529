//! Everything that one stream showed, and its judgement by the contract.
//!
//! `stream` fills the transcript in; `rules` is the table of what must hold. A case calls one rule by name
//! (`transcript.judge("terminal-once")`) or all that hold for a whole stream (`transcript.judge_all()`).

pub mod album;
pub mod arrivals;
pub mod rules;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::Finding;
use super::http::{Base, Headers, Request, excerpt};
use super::sse::{Comment, Frame, Parser, Problem};
pub use rules::{RULES, Rule, Scope};

/// How a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It has not: this is a look at a stream that goes on.
    Open,
    /// As HTTP says that a body ends.
    Closed,
    /// The connection was closed before the body was complete.
    CutShort {
        bytes: u64,
    },
    Reset {
        bytes: u64,
    },
    /// The framing of the body is wrong.
    Broken(String),
    /// More than the harness reads of one stream; says which cap.
    CapReached(String),
    /// `finish` waited no longer.
    DeadlinePassed,
    /// By the harness.
    Disconnected,
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Open => out.write_str("still open"),
            End::Closed => out.write_str("closed"),
            End::CutShort { bytes } => {
                write!(out, "connection closed after {bytes} bytes, before the body was complete")
            }
            End::Reset { bytes } => write!(out, "connection reset after {bytes} bytes"),
            End::Broken(how) => write!(out, "broken off: {how}"),
            End::CapReached(cap) => write!(out, "not read further than {cap}"),
            End::DeadlinePassed => out.write_str("still open when the deadline passed"),
            End::Disconnected => out.write_str("disconnected by the harness"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Transcript {
    pub base: Base,
    pub request: Request,
    pub status: u16,
    pub headers: Headers,
    /// All times are since the request was sent.
    pub head_at: Duration,
    pub frames: Vec<Frame>,
    pub comments: Vec<Comment>,
    pub problems: Vec<Problem>,
    pub end: End,
    pub ended_at: Duration,
}

impl Transcript {
    /// A stream as if it had come over the wire in one piece: for streams that are kept in files, and for tests.
    pub fn replay(request: Request, headers: Headers, bytes: &[u8]) -> Transcript {
        let parser = Parser::read(bytes);
        Transcript {
            base: Base::local(0),
            request,
            status: 200,
            headers,
            head_at: Duration::ZERO,
            frames: parser.frames,
            comments: parser.comments,
            problems: parser.problems,
            end: End::Closed,
            ended_at: Duration::ZERO,
        }
    }

    pub fn events<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Frame> {
        self.frames.iter().filter(move |frame| frame.is(name))
    }

    pub fn tokens(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(|frame| frame.is("token"))
    }

    /// The first `end` or `error`.
    pub fn terminal(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| is_terminal(frame))
    }

    /// The text: all `t` joined.
    pub fn text(&self) -> String {
        self.tokens().filter_map(|frame| field(frame, "t")?.as_str().map(str::to_string)).collect()
    }

    /// The ids of the tokens, where the worker reports them (`id` or `ids` in token events) for every token.
    pub fn token_ids(&self) -> Option<Vec<u64>> {
        let mut ids = Vec::new();
        for frame in self.tokens() {
            let data = frame.json().ok()?;
            match (data.get("ids"), data.get("id")) {
                (Some(Value::Array(several)), _) => {
                    ids.extend(several.iter().map(Value::as_u64).collect::<Option<Vec<_>>>()?)
                }
                (_, Some(one)) => ids.push(one.as_u64()?),
                _ => return None,
            }
        }
        Some(ids)
    }

    /// A field of the first frame of this name: `transcript.field("end", "tokens_out")`.
    pub fn field(&self, event: &str, name: &str) -> Option<Value> {
        field(self.events(event).next()?, name)
    }

    /// A field that a case needs; a finding where the frame or the field is missing.
    pub fn need(&self, event: &str, name: &str) -> Result<Value, Finding> {
        self.field(event, name).ok_or_else(|| {
            let found = match self.events(event).next() {
                Some(frame) => format!("{event} with {}", excerpt(frame.data.as_bytes(), 200)),
                None => format!("no {event} event ({})", self.summary()),
            };
            self.evidence(Finding::fail(format!("{event}.{name}"), found))
        })
    }

    pub fn tokens_out(&self) -> Option<u64> {
        self.field("end", "tokens_out")?.as_u64()
    }

    pub fn stop_reason(&self) -> Option<String> {
        Some(self.field("end", "stop_reason")?.as_str()?.to_string())
    }

    /// The code of the `error` event, if the stream ended with one.
    pub fn error_code(&self) -> Option<String> {
        Some(self.field("error", "code")?.as_str()?.to_string())
    }

    pub fn seed(&self) -> Option<u64> {
        self.field("started", "seed")?.as_u64()
    }

    /// When the first token came, since the request was sent.
    pub fn first_token_at(&self) -> Option<Duration> {
        self.tokens().next().map(|frame| frame.at)
    }

    /// Holds when the stream came to a good end: exactly `end`, nothing else; a case that needs the text calls it first.
    pub fn completed(&self) -> Result<&Transcript, Finding> {
        match self.terminal() {
            Some(frame) if frame.is("end") && self.end == End::Closed => Ok(self),
            _ => Err(self.evidence(Finding::fail("a stream that runs to its end event", self.summary()))),
        }
    }

    /// One line: what came and how it ended.
    pub fn summary(&self) -> String {
        let mut names: Vec<(String, usize)> = Vec::new();
        for frame in &self.frames {
            match names.last_mut() {
                Some((name, count)) if name == frame.name() => *count += 1,
                _ => names.push((frame.name().to_string(), 1)),
            }
        }
        let told =
            |(name, count): &(String, usize)| if *count == 1 { name.clone() } else { format!("{count} × {name}") };
        let mut words: Vec<String> = names.iter().take(12).map(told).collect();
        if names.len() > 12 {
            words.push("…".into());
        }
        if words.is_empty() {
            words.push("no event".into());
        }
        let code = self.error_code().map(|code| format!(" {code}")).unwrap_or_default();
        format!("{}{code}, {} after {:.1?}", words.join(", "), self.end, self.ended_at)
    }

    /// Attaches the request, the frames and the end of the stream to a finding about it.
    pub fn evidence(&self, finding: Finding) -> Finding {
        self.evidence_around(finding, None)
    }

    /// The same, with the frames around one of them.
    pub(crate) fn evidence_around(&self, finding: Finding, index: Option<usize>) -> Finding {
        let shown = match index {
            Some(index) => index.saturating_sub(3)..(index + 4).min(self.frames.len()),
            None if self.frames.len() <= 12 => 0..self.frames.len(),
            None => 0..0,
        };
        let mut lines =
            vec![format!("status {}, content type {:?}", self.status, self.headers.get("content-type").unwrap_or(""))];
        let line = |at: usize| {
            let frame = &self.frames[at];
            let mark = if index == Some(at) { ">" } else { " " };
            let event = frame.event.as_deref().unwrap_or("(no event line)");
            format!("{mark} [{at}] +{:.3?} {event}: {}", frame.at, excerpt(frame.data.as_bytes(), 240))
        };
        if shown.is_empty() && !self.frames.is_empty() {
            lines.extend((0..6).map(line));
            lines.push(format!("  … {} frames", self.frames.len() - 12));
            lines.extend((self.frames.len() - 6..self.frames.len()).map(line));
        } else {
            lines.extend(shown.map(line));
        }
        for problem in self.problems.iter().take(5) {
            lines.push(format!("problem at byte {}: {}", problem.offset, problem.detail));
        }
        lines.push(format!("end: {} after {:.1?}, {} frames", self.end, self.ended_at, self.frames.len()));
        finding.with("request", self.base.spoken(&self.request).curl(&self.base)).with("frames", lines.join("\n"))
    }
}

/// One field of a frame's data.
pub(crate) fn field(frame: &Frame, name: &str) -> Option<Value> {
    frame.json().ok()?.get(name).cloned()
}

pub(crate) fn is_terminal(frame: &Frame) -> bool {
    frame.is("end") || frame.is("error")
}
