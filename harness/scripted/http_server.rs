//! HTTP/1.1 on `std::net`, both sides of it: requests read and answers written here, and the one small client that the
//! callback and the self-check need. A thread serves one connection; nothing is shared with the reference worker.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::oddities::Quirk;
use super::options::Script;

const HEAD_LIMIT: usize = 64 << 10;
/// The contract's limit for a body.
const BODY_LIMIT: usize = 1 << 20;
/// How much of a body over the limit is read and thrown away, so that the client can read the refusal.
const DISCARD_LIMIT: usize = 64 << 20;

#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// What stands behind the `?`, or nothing.
    pub query: String,
    /// HTTP/1.1: chunks are understood and the connection stays open.
    pub modern: bool,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body went over the limit and is not here.
    pub oversized: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn keeps_alive(&self) -> bool {
        self.modern && !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type".into(), content_type.into())], body: body.into() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A response head: also used for streams, which bring their own framing headers.
pub fn head(status: u16, headers: &[(String, String)], script: Script) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        // Whatever a value came from, it does not end its line.
        let value: String = value.chars().filter(|character| !character.is_control()).collect();
        text += &match script.shows(Quirk::LowerCaseHeaders) {
            true => format!("{}:{value}\r\n", name.to_lowercase()),
            false => format!("{name}: {value}\r\n"),
        };
    }
    text += "\r\n";
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// One client's connection, with what was read beyond the last request.
pub struct Connection {
    pub socket: TcpStream,
    pending: Vec<u8>,
    script: Script,
    /// Read bodies of any length: a mistake of its own.
    unlimited: bool,
}

impl Connection {
    pub fn new(socket: TcpStream, script: Script, unlimited: bool) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        socket.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { socket, pending: Vec::new(), script, unlimited })
    }

    /// The next request; `None` when the client is done; `InvalidData` for what is no HTTP.
    pub fn read_request(&mut self) -> io::Result<Option<Request>> {
        let end = loop {
            if let Some(end) = find(&self.pending, b"\r\n\r\n") {
                break end;
            }
            if self.pending.len() > HEAD_LIMIT {
                return Err(malformed("head too long"));
            }
            if !self.fill()? {
                return if self.pending.is_empty() { Ok(None) } else { Err(malformed("head cut short")) };
            }
        };
        let head = String::from_utf8_lossy(&self.pending[..end]).into_owned();
        self.pending.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, version] = words[..] else { return Err(malformed("request line")) };
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("header line"))?;
            headers.push((name.to_string(), value.trim_matches([' ', '\t']).to_string()));
        }
        let mut request = Request {
            method: method.to_string(),
            path: target.split('?').next().unwrap_or_default().to_string(),
            query: target.split_once('?').map(|(_, query)| query.to_string()).unwrap_or_default(),
            modern: version == "HTTP/1.1",
            headers,
            body: Vec::new(),
            oversized: false,
        };
        self.read_body(&mut request)?;
        Ok(Some(request))
    }

    fn read_body(&mut self, request: &mut Request) -> io::Result<()> {
        let chunked = request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = match request.header("content-length") {
            Some(text) => text.parse::<usize>().map_err(|_| malformed("content-length"))?,
            None => 0,
        };
        let expects = request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if (chunked || length > 0) && (expects || self.script.shows(Quirk::InterimResponse)) {
            self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if !chunked {
            return self.take(length, request);
        }
        loop {
            let line = self.take_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed("chunk size"))?;
            if size == 0 {
                while !self.take_line()?.is_empty() {}
                return Ok(());
            }
            self.take(size, request)?;
            self.take_line()?;
        }
    }

    /// Moves `length` bytes into the request's body, or past it once that has grown over the limit.
    fn take(&mut self, length: usize, request: &mut Request) -> io::Result<()> {
        if length > DISCARD_LIMIT {
            return Err(malformed("body too long"));
        }
        let mut missing = length;
        while missing > 0 {
            if self.pending.is_empty() && !self.fill()? {
                return Err(malformed("body cut short"));
            }
            let count = missing.min(self.pending.len());
            let part = self.pending.drain(..count);
            missing -= count;
            if !self.unlimited && request.body.len() + count > BODY_LIMIT {
                request.oversized = true;
            }
            match request.oversized {
                true => drop(part),
                false => request.body.extend(part),
            }
        }
        Ok(())
    }

    fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.pending, b"\r\n") {
                let line = String::from_utf8_lossy(&self.pending[..end]).into_owned();
                self.pending.drain(..end + 2);
                return Ok(line);
            }
            if self.pending.len() > HEAD_LIMIT || !self.fill()? {
                return Err(malformed("chunk line"));
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let count = self.socket.read(&mut buffer)?;
        self.pending.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    pub fn respond(&mut self, mut response: Response, keep_alive: bool) -> io::Result<()> {
        response.headers.push(("Content-Length".into(), response.body.len().to_string()));
        if !keep_alive {
            response.headers.push(("Connection".into(), "close".into()));
        }
        let mut bytes = head(response.status, &response.headers, self.script);
        write_head(&self.socket, &bytes, self.script)?;
        bytes.clear();
        self.socket.write_all(&response.body)
    }
}

/// Writes a response head, in pieces where the oddity asks for that.
pub fn write_head(mut socket: &TcpStream, bytes: &[u8], script: Script) -> io::Result<()> {
    let size = if script.shows(Quirk::HeadInPieces) { 7 } else { bytes.len() };
    for piece in bytes.chunks(size.max(1)) {
        socket.write_all(piece)?;
        if script.shows(Quirk::HeadInPieces) {
            std::thread::sleep(Duration::from_millis(1)); // so that the pieces travel apart
        }
    }
    Ok(())
}

/// Has the client closed its side? Looks without waiting and takes nothing from the connection.
pub fn disconnected(socket: &TcpStream) -> bool {
    if socket.set_nonblocking(true).is_err() {
        return true;
    }
    let gone = match socket.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    socket.set_nonblocking(false).is_err() || gone
}

/// Sends one request and reads the status of its answer, all of it before the deadline.
pub fn ask(
    authority: &str,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: &str,
    patience: Duration,
) -> io::Result<u16> {
    let deadline = Instant::now() + patience;
    let left = || Some(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    let address = authority.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut socket = TcpStream::connect_timeout(&address, patience)?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if method == "POST" {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text += &format!("\r\n{body}");
    socket.set_write_timeout(left())?;
    socket.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while find(&answer, b"\r\n").is_none() && Instant::now() < deadline && answer.len() < HEAD_LIMIT {
        socket.set_read_timeout(left())?;
        match socket.read(&mut buffer)? {
            0 => break,
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    let line = String::from_utf8_lossy(&answer).into_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| malformed("no status line"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}
