//! Server-sent events, byte by byte, by the WHATWG rules, whatever way the bytes are cut. What a lenient client would
//! swallow is recorded as a `Problem` with its byte offset.
//!
//! `Parser::push` takes bytes and the moment they came; whole frames, comments and problems collect in the parser;
//! `Parser::finish` says that no more will come. Bytes → lines (LF, CRLF or a lone CR) → fields → frames.

use std::time::Duration;

/// Longer lines are cut: a stream without line ends must not fill the memory. (A worker may send lines of 64 KiB.)
pub const LONGEST_LINE: usize = 1 << 20;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The `event:` line; `None` where there was none, which the contract forbids and the format allows.
    pub event: Option<String>,
    /// The `data:` lines, joined by LF.
    pub data: String,
    pub data_lines: usize,
    pub id: Option<String>,
    pub retry: Option<u64>,
    /// Fields that the format does not know. They are legal, and ignored.
    pub unknown: Vec<(String, String)>,
    /// When the byte that completed the frame came, since the request was sent.
    pub at: Duration,
    /// Where its first byte stands in the stream.
    pub offset: u64,
    pub raw: Vec<u8>,
}

impl Frame {
    /// The event's name; the format's default where there is no `event:` line.
    pub fn name(&self) -> &str {
        self.event.as_deref().unwrap_or("message")
    }

    pub fn is(&self, event: &str) -> bool {
        self.event.as_deref() == Some(event)
    }

    pub fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}

/// A line that begins with a colon: keeps a connection alive, says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    pub text: String,
    pub at: Duration,
    pub offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The contract or the format is broken: a client loses or misreads something.
    Must,
    /// Clients cope, and it was hardly meant.
    Should,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    InvalidUtf8,
    /// A frame with data and no `event:` line.
    NoEvent,
    /// An event line that no data follows: the format drops it.
    NoData,
    /// The stream ended inside a frame, which the format then drops.
    Incomplete,
    LineTooLong,
    /// An id with a NUL is ignored by the format.
    NulInId,
    RetryNotANumber,
    /// One frame has several `event:` lines: the last one counts.
    RepeatedEvent,
}

impl ProblemKind {
    pub fn severity(self) -> Severity {
        match self {
            Self::InvalidUtf8 | Self::NoEvent | Self::Incomplete | Self::LineTooLong => Severity::Must,
            Self::NoData | Self::NulInId | Self::RetryNotANumber | Self::RepeatedEvent => Severity::Should,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// Where in the stream it stands.
    pub offset: u64,
    pub detail: String,
}

impl Problem {
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

/// Reads a stream that is handed over in pieces.
#[derive(Debug)]
pub struct Parser {
    pub frames: Vec<Frame>,
    pub comments: Vec<Comment>,
    pub problems: Vec<Problem>,
    longest_line: usize,
    /// Bytes taken so far.
    position: u64,
    /// The line that is being read, without its end.
    line: Vec<u8>,
    line_offset: u64,
    line_cut: bool,
    /// The last byte was a CR that ended a line: an LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet: a byte order mark may stand at its beginning.
    first_line: bool,
    frame: Pending,
}

/// The frame that is being read.
#[derive(Debug, Default)]
struct Pending {
    event: Option<String>,
    data: Option<String>,
    data_lines: usize,
    id: Option<String>,
    retry: Option<u64>,
    unknown: Vec<(String, String)>,
    offset: u64,
    raw: Vec<u8>,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

impl Parser {
    pub fn new() -> Parser {
        Parser::with_longest_line(LONGEST_LINE)
    }

    pub fn with_longest_line(longest_line: usize) -> Parser {
        Parser {
            frames: Vec::new(),
            comments: Vec::new(),
            problems: Vec::new(),
            longest_line,
            position: 0,
            line: Vec::new(),
            line_offset: 0,
            line_cut: false,
            after_cr: false,
            first_line: true,
            frame: Pending::default(),
        }
    }

    /// Reads a whole stream at once, as if all of it had come at time zero.
    pub fn read(bytes: &[u8]) -> Parser {
        let mut parser = Parser::new();
        parser.push(bytes, Duration::ZERO);
        parser.finish();
        parser
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn push(&mut self, bytes: &[u8], at: Duration) {
        for byte in bytes {
            self.byte(*byte, at);
        }
    }

    /// No more bytes will come. What no blank line has ended is dropped, as the format says, and reported.
    pub fn finish(&mut self) {
        let line = std::mem::take(&mut self.line);
        let rest = std::mem::take(&mut self.frame);
        let begun = !line.is_empty() && !line.starts_with(b":");
        if begun || rest.data.is_some() || rest.event.is_some() {
            let shown = super::http::excerpt(&rest.raw, 200);
            self.problem(ProblemKind::Incomplete, rest.offset, format!("no blank line ends this frame: {shown}"));
        }
    }

    fn byte(&mut self, byte: u8, at: Duration) {
        let second_half = std::mem::take(&mut self.after_cr) && byte == b'\n';
        let offset = self.position;
        self.position += 1;
        if second_half {
            // The line has ended with the CR already; the LF is kept with the bytes of the frame that it ends.
            match self.frames.last_mut() {
                Some(last) if self.frame.raw.is_empty() && last.offset + last.raw.len() as u64 == offset => {
                    last.raw.push(byte);
                }
                _ if !self.frame.raw.is_empty() => self.frame.raw.push(byte),
                _ => {}
            }
            return;
        }
        if self.frame.raw.is_empty() {
            self.frame.offset = offset;
        }
        // A frame's bytes are kept as evidence; lines that are cut are cut there too.
        if !self.line_cut || matches!(byte, b'\r' | b'\n') {
            self.frame.raw.push(byte);
        }
        match byte {
            b'\r' | b'\n' => {
                self.after_cr = byte == b'\r';
                self.end_line(at);
            }
            _ if self.line.len() < self.longest_line => {
                if self.line.is_empty() {
                    self.line_offset = offset;
                }
                self.line.push(byte);
            }
            _ => self.line_cut = true,
        }
    }

    fn end_line(&mut self, at: Duration) {
        let mut line = std::mem::take(&mut self.line);
        let mut offset = self.line_offset;
        if std::mem::take(&mut self.line_cut) {
            let detail = format!("a line of more than {} bytes; the rest of it is not read", self.longest_line);
            self.problem(ProblemKind::LineTooLong, offset, detail);
        }
        if std::mem::take(&mut self.first_line) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
            offset += 3;
        }
        if line.is_empty() {
            return self.dispatch(at);
        }
        if let Err(error) = std::str::from_utf8(&line) {
            let wrong = error.valid_up_to();
            let shown = super::http::excerpt(&line[wrong.saturating_sub(40)..], 60);
            let detail = format!("byte 0x{:02x} is not UTF-8, in …{shown}", line[wrong]);
            self.problem(ProblemKind::InvalidUtf8, offset + wrong as u64, detail);
        }
        let line = String::from_utf8_lossy(&line);
        match line.split_once(':') {
            Some(("", comment)) => {
                let text = comment.strip_prefix(' ').unwrap_or(comment).to_string();
                self.comments.push(Comment { text, at, offset });
            }
            Some((name, value)) => self.field(name, value.strip_prefix(' ').unwrap_or(value), offset),
            None => self.field(&line, "", offset),
        }
    }

    fn field(&mut self, name: &str, value: &str, offset: u64) {
        match name {
            "event" => {
                if let Some(earlier) = self.frame.event.replace(value.into()) {
                    let detail = format!("event {earlier:?} and event {value:?} in one frame");
                    self.problem(ProblemKind::RepeatedEvent, offset, detail);
                }
            }
            "data" => {
                self.frame.data_lines += 1;
                match &mut self.frame.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    none => *none = Some(value.into()),
                }
            }
            "id" if value.contains('\0') => {
                self.problem(ProblemKind::NulInId, offset, "an id with a NUL is ignored".into());
            }
            "id" => self.frame.id = Some(value.into()),
            "retry" => match value.parse() {
                Ok(milliseconds) if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                    self.frame.retry = Some(milliseconds);
                }
                _ => self.problem(ProblemKind::RetryNotANumber, offset, format!("retry {value:?} is no number")),
            },
            _ => self.frame.unknown.push((name.into(), value.into())),
        }
    }

    /// A blank line: the frame is complete, if it has data.
    fn dispatch(&mut self, at: Duration) {
        let done = std::mem::take(&mut self.frame);
        let Some(data) = done.data else {
            if let Some(event) = done.event {
                let detail = format!("event {event:?} has no data line: clients drop it");
                self.problem(ProblemKind::NoData, done.offset, detail);
            }
            return;
        };
        if done.event.is_none() {
            let shown = super::http::excerpt(data.as_bytes(), 80);
            self.problem(ProblemKind::NoEvent, done.offset, format!("a frame without an event line: {shown}"));
        }
        self.frames.push(Frame {
            event: done.event,
            data,
            data_lines: done.data_lines,
            id: done.id,
            retry: done.retry,
            unknown: done.unknown,
            at,
            offset: done.offset,
            raw: done.raw,
        });
    }

    fn problem(&mut self, kind: ProblemKind, offset: u64, detail: String) {
        self.problems.push(Problem { kind, offset, detail });
    }
}
