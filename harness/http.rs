//! A raw HTTP/1.1 client on blocking sockets: what a worker does on the wire is seen as bytes, with the time they came.
//!
//! `Request` → `wire::Exchange` (one connection, one request, the body piece by piece) → `Answer`, or an `HttpError`
//! that names what happened. An ordinary client hides what is judged here: it decodes, retries, follows and pools.
//! No proxy is ever used, no redirect is followed, no connection is used twice.

pub mod wire;

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::Api;
use super::transcript::Transcript;
use super::{Finding, Verdict};
use wire::{Exchange, Head};

/// The largest answer that is read whole; streams have caps of their own.
pub const LARGEST_ANSWER: usize = 16 << 20;

/// What happened instead of an answer. Each message is a whole clause about the address that was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HttpError {
    #[error("{url} is no base URL: {reason}")]
    BadUrl { url: String, reason: String },
    #[error("{address} can't be resolved: {reason}")]
    Unresolved { address: String, reason: String },
    #[error("{address} refused the connection: nothing listens there")]
    Refused { address: String },
    #[error("{address} can't be reached: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{address} accepted the connection and never answered (waited {waited:.1?})")]
    NeverAnswered { address: String, waited: Duration },
    #[error("{address} closed the connection without an answer")]
    NoAnswer { address: String },
    #[error("{address} reset the connection after {bytes} bytes of the answer")]
    Reset { address: String, bytes: u64 },
    #[error("{address} closed the connection after {bytes} bytes, in the middle of the answer")]
    CutShort { address: String, bytes: u64 },
    #[error("{address} does not speak HTTP: its answer begins {first}")]
    NotHttp { address: String, first: String },
    #[error("{address} broke the framing of its answer: {reason}")]
    BadFraming { address: String, reason: String },
    #[error("{address} sent more than the {cap} bytes that are read of {what}")]
    TooLarge { address: String, what: &'static str, cap: usize },
    #[error("{address} did not finish its answer within {waited:.1?} ({bytes} bytes came)")]
    TimedOut { address: String, waited: Duration, bytes: u64 },
    #[error("{address} did not take the request: {reason}")]
    Sending { address: String, reason: String },
}

impl From<HttpError> for Finding {
    fn from(error: HttpError) -> Finding {
        let verdict = if matches!(error, HttpError::BadUrl { .. }) { Verdict::Error } else { Verdict::Fail };
        Finding::new(verdict, "an HTTP answer", error.to_string())
    }
}

/// Where a worker is: `http://host:port[/prefix]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub host: String,
    pub port: u16,
    /// Empty, or `/prefix` without a slash at its end.
    pub prefix: String,
    /// In which words it is spoken to.
    pub api: Api,
}

impl Base {
    pub fn local(port: u16) -> Base {
        Base { host: "127.0.0.1".into(), port, prefix: String::new(), api: Api::Native }
    }

    pub fn parse(url: &str) -> Result<Base, HttpError> {
        let bad = |reason: &str| HttpError::BadUrl { url: url.into(), reason: reason.into() };
        let rest = match url.trim().split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(bad("https is not spoken here, a worker is asked over plain http"));
            }
            Some((scheme, _)) => return Err(bad(&format!("the scheme {scheme:?} is not http"))),
            None => return Err(bad("it does not begin with http://")),
        };
        if rest.contains(['?', '#', '@']) || rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("only http://host:port[/prefix] is read"));
        }
        let (authority, prefix) = match rest.find('/') {
            Some(slash) => (&rest[..slash], rest[slash..].trim_end_matches('/')),
            None => (rest, ""),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or_else(|| bad("the bracket is not closed"))?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        let port = match port {
            None => 80,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(bad(&format!("{port:?} is no port"))),
            },
        };
        Ok(Base { host: host.into(), port, prefix: prefix.into(), api: Api::Native })
    }

    /// `host:port`, as a `Host` header and an error message say it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Base {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "http://{}{}", self.authority(), self.prefix)
    }
}

/// Header fields in the order they stand; names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// One request, as it will stand on the wire. `Host`, `Content-Length` and `Connection: close` are added when absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Headers,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Request {
        Request { method: method.into(), path: path.into(), headers: Headers::default(), body: None }
    }

    pub fn get(path: &str) -> Request {
        Request::new("GET", path)
    }

    pub fn post(path: &str) -> Request {
        Request::new("POST", path)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.0.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Request {
        self.body("application/json", body.to_string())
    }

    /// Any bytes under any content type: wrong JSON, half a character, too much.
    #[must_use]
    pub fn body(mut self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Request {
        self.body = Some(bytes.into());
        self.header("Content-Type", content_type)
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Request {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn correlation_id(self, id: &str) -> Request {
        self.header("X-Correlation-Id", id)
    }

    /// The body as JSON, where it is JSON.
    pub fn body_json(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }

    /// A command line that repeats this request. Tokens are left out, very long bodies are cut with a note.
    pub fn curl(&self, base: &Base) -> String {
        let mut words = vec!["curl".to_string(), "-sSN".into(), "-X".into(), quoted(&self.method)];
        words.push(quoted(&base.url(&self.path)));
        for (name, value) in &self.headers.0 {
            let value = if secret(name) { "Bearer [REDACTED]" } else { value };
            words.extend(["-H".into(), quoted(&format!("{name}: {value}"))]);
        }
        if let Some(body) = &self.body {
            let shown = &body[..body.len().min(2048)];
            words.extend(["--data-binary".into(), quoted(&String::from_utf8_lossy(shown))]);
            if shown.len() < body.len() {
                words.push(format!("# the body is cut here, it has {} bytes", body.len()));
            }
        }
        words.join(" ")
    }

    /// The bytes on the wire: the head, then the body.
    pub fn bytes(&self, base: &Base) -> Vec<u8> {
        let mut head = format!("{} {}{} HTTP/1.1\r\n", self.method, base.prefix, self.path);
        let mut line = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if self.headers.get("host").is_none() {
            line("Host", &base.authority());
        }
        for (name, value) in &self.headers.0 {
            line(name, value);
        }
        if self.headers.get("connection").is_none() {
            line("Connection", "close");
        }
        let framed = self.headers.get("content-length").or(self.headers.get("transfer-encoding")).is_some();
        match &self.body {
            Some(body) if !framed => line("Content-Length", &body.len().to_string()),
            None if !framed && self.method == "POST" => line("Content-Length", "0"),
            _ => {}
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

fn secret(header: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie"].iter().any(|name| header.eq_ignore_ascii_case(name))
}

fn quoted(word: &str) -> String {
    let printable: String = word.chars().map(|c| if c == '\0' { '\u{2400}' } else { c }).collect();
    shlex::try_quote(&printable).map(|quoted| quoted.into_owned()).unwrap_or(printable)
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// Since the request was sent: until the head was complete, and until the last byte.
    pub head_at: Duration,
    pub took: Duration,
    /// When each piece of the body came, and how many bytes it brought.
    pub arrivals: Vec<(Duration, usize)>,
    /// The line that repeats the request, for evidence.
    pub curl: String,
}

impl Answer {
    /// The rest of an answer whose head is read.
    pub(super) fn read(
        base: &Base,
        request: &Request,
        mut exchange: Exchange,
        until: Instant,
    ) -> Result<Answer, HttpError> {
        let mut body = Vec::new();
        let mut arrivals = Vec::new();
        while let Some(piece) = exchange.next(until)? {
            arrivals.push((piece.at, piece.bytes.len()));
            body.extend_from_slice(&piece.bytes);
            if body.len() > LARGEST_ANSWER {
                return Err(HttpError::TooLarge { address: base.authority(), what: "an answer", cap: LARGEST_ANSWER });
            }
        }
        let took = exchange.elapsed();
        let Head { status, reason, headers, at } = exchange.head;
        Ok(Answer { status, reason, headers, body, head_at: at, took, arrivals, curl: request.curl(base) })
    }

    /// The head of a stream, as an answer: for cases that ask only for the status or a header.
    pub fn of_stream(transcript: &Transcript, base: &Base) -> Answer {
        Answer {
            status: transcript.status,
            reason: String::new(),
            headers: transcript.headers.clone(),
            body: Vec::new(),
            head_at: transcript.head_at,
            took: transcript.ended_at,
            arrivals: Vec::new(),
            curl: transcript.request.curl(base),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Lower-case, without parameters: `application/json`.
    pub fn content_type(&self) -> String {
        media_type(&self.headers)
    }

    pub fn json(&self) -> Result<Value, Finding> {
        serde_json::from_slice(&self.body)
            .map_err(|error| self.evidence(Finding::fail("a JSON body", format!("{error} in {}", self.excerpt()))))
    }

    /// The status, or a finding that shows the answer that came instead.
    pub fn expect_status(&self, status: u16) -> Result<&Answer, Finding> {
        if self.status == status {
            return Ok(self);
        }
        let found = format!("status {} {}: {}", self.status, self.reason, self.excerpt());
        Err(self.evidence(Finding::fail(format!("status {status}"), found)))
    }

    /// Attaches the request and the answer to a finding about them.
    pub fn evidence(&self, finding: Finding) -> Finding {
        let mut text = format!("HTTP/1.1 {} {}\n", self.status, self.reason);
        for (name, value) in &self.headers.0 {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text.push_str(&self.excerpt());
        finding.with("request", &self.curl).with("answer", text)
    }

    fn excerpt(&self) -> String {
        excerpt(&self.body, 600)
    }
}

/// Lower-case media type of a head, without parameters.
pub fn media_type(headers: &Headers) -> String {
    let value = headers.get("content-type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The beginning of some bytes as one line that can be shown: control characters escaped, cut with a count.
pub fn excerpt(bytes: &[u8], longest: usize) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(longest)]);
    let mut line: String =
        shown.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
    if bytes.is_empty() {
        line.push_str("(nothing)");
    } else if bytes.len() > longest {
        line.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    line
}

/// Sends one request on a fresh connection and reads the whole answer.
pub fn send(base: &Base, request: &Request, deadline: Duration) -> Result<Answer, HttpError> {
    let until = Instant::now() + deadline;
    Answer::read(base, request, Exchange::begin(base, request, until)?, until)
}
