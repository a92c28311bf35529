//! One POST whose answer is read as it arrives, on a connection of its own.
//!
//! A stream keeps its connection for as long as it lasts, and a relay keeps thousands. A general client holds a task, a
//! channel and two buffers for each, which is more than all else that a relayed stream needs; this holds what has arrived
//! and was not handed on, which is nothing most of the time, and whoever waits for it reads it.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connections::notice_the_lost;
use super::correlation;
use super::framing::Framing;

/// Nobody's head is as long.
const HEAD_BYTES: usize = 64 * 1024;
const HEAD_FIELDS: usize = 64;
/// What is read at a time.
const PIECE: usize = 8 * 1024;
/// A machine that was cut off says no goodbye.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// Why there is no answer. Each message is a whole clause.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nobody is there: nothing was asked for.
    #[error("no connection to {authority}: {reason}")]
    Connect { authority: String, reason: io::Error },
    /// Somebody was there, and went away without an answer.
    #[error("no answer: {0}")]
    Broken(io::Error),
}

/// What the daemons' requests to each other carry: a value that no header can hold is left out, and missed where it arrives.
pub fn headers(correlation: Option<&str>, token: Option<&str>) -> HeaderMap {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let fields = [
        (header::ACCEPT, Some("text/event-stream, application/json")),
        (correlation::HEADER, correlation),
        (header::AUTHORIZATION, bearer.as_deref()),
    ];
    let sound = |(name, value): (_, Option<&str>)| Some((name, HeaderValue::from_str(value?).ok()?));
    fields.into_iter().filter_map(sound).collect()
}

/// Sends JSON to an `http:` URL. Resolves with the head of the answer.
pub async fn post(url: &Url, headers: &HeaderMap, body: &[u8], patience: Duration) -> Result<Answer, PostError> {
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let connect = async {
        let address = (host.trim_matches(['[', ']']), url.port_or_known_default().unwrap_or(80));
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        notice_the_lost(&socket, LOST_AFTER)?;
        Ok(socket)
    };
    let connected = timeout(patience, connect).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    let mut request = format!(
        "POST {} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        url.path(),
        body.len()
    )
    .into_bytes();
    let mut socket = connected.map_err(|reason| PostError::Connect { authority, reason })?;
    for (name, value) in headers {
        request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    request.extend([b"\r\n", body].concat());
    // One that is refused for its head may find its sender still writing: the answer counts.
    let sent = socket.write_all(&request).await;
    match Answer::read(socket).await {
        Ok(answer) => Ok(answer),
        Err(reason) => Err(PostError::Broken(sent.err().unwrap_or(reason))),
    }
}

/// An answer whose head is here.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    socket: TcpStream,
    framing: Framing,
    /// Of the body: arrived, and not handed on.
    ready: Vec<u8>,
}

impl Answer {
    async fn read(mut socket: TcpStream) -> io::Result<Answer> {
        let mut bytes = Vec::with_capacity(1024);
        let (status, headers, length) = loop {
            if let Some(head) = head(&bytes)? {
                if !head.0.is_informational() {
                    break head;
                }
                bytes.drain(..head.2); // the answer itself comes after it
                continue;
            }
            if bytes.len() > HEAD_BYTES {
                return Err(broken("a head without an end"));
            }
            if socket.read_buf(&mut bytes).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let mut framing = Framing::of(&headers)?;
        let mut ready = Vec::new();
        framing.take(&bytes[length..], &mut ready)?;
        Ok(Answer { status, headers, socket, framing, ready })
    }

    /// The next of the body, as soon as there is any; `None` after the last.
    pub fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            if !self.ready.is_empty() {
                return Poll::Ready(Ok(Some(std::mem::take(&mut self.ready))));
            }
            if self.framing.is_over() {
                return Poll::Ready(Ok(None));
            }
            ready!(self.socket.poll_read_ready(context))?;
            let mut piece = [0; PIECE];
            match self.socket.try_read(&mut piece) {
                Ok(0) => self.framing.end()?,
                Ok(length) => self.framing.take(&piece[..length], &mut self.ready)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// As `poll_chunk`.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        std::future::poll_fn(|context| self.poll_chunk(context)).await
    }

    /// All of a body that is no stream.
    pub async fn rest(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend(chunk);
            if bytes.len() > most {
                return Err(broken("a body without an end"));
            }
        }
        Ok(bytes)
    }
}

pub fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// The status, the fields and the length of a head, once all of it is there.
fn head(bytes: &[u8]) -> io::Result<Option<(StatusCode, HeaderMap, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(|error| broken(&format!("no HTTP: {error}")))?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(|| broken("no status"))?;
    let mut headers = HeaderMap::new();
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    Ok(Some((status, headers, length)))
}
