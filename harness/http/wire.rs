//! One connection, one request, one answer, as bytes: connects, sends, reads the head, then hands the body out piece
//! by piece, each with the moment it came.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::{Base, Headers, HttpError, Request, excerpt};

const LARGEST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 256;
/// Larger requests are written on a thread of their own: a server may answer and stop reading before it has all.
const WRITTEN_INLINE: usize = 32 << 10;

/// The status line and the header fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
    /// Since the request was sent.
    pub at: Duration,
}

/// Some bytes of the body, framing removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub bytes: Vec<u8>,
    /// Since the request was sent.
    pub at: Duration,
}

/// An answer whose head is read and whose body is still to come.
#[derive(Debug)]
pub struct Exchange {
    pub head: Head,
    socket: TcpStream,
    address: String,
    sent: Instant,
    decoder: BodyDecoder,
    /// Bytes that came with the head.
    pending: Option<Piece>,
    /// All bytes read from the socket.
    received: u64,
}

impl Exchange {
    /// Connects, sends and reads the head, all before `until`.
    pub fn begin(base: &Base, request: &Request, until: Instant) -> Result<Exchange, HttpError> {
        Exchange::begin_watched(base, request, until, |_| {})
    }

    /// The same; `connected` gets a second handle on the socket before the head is awaited, so that another thread can
    /// hang up on a server that holds its head back.
    pub fn begin_watched(
        base: &Base,
        request: &Request,
        until: Instant,
        connected: impl FnOnce(TcpStream),
    ) -> Result<Exchange, HttpError> {
        let address = base.authority();
        let socket = connect(base, until)?;
        if let Ok(handle) = socket.try_clone() {
            connected(handle);
        }
        let sent = Instant::now();
        let sending = transmit(&socket, request.bytes(base), until);
        let mut reader = HeadReader { socket: &socket, address: &address, sent, until, bytes: Vec::new() };
        let (head, used) = match reader.read() {
            Ok(read) => read,
            Err(error) => return Err(explain(error, sending, &address)),
        };
        let (received, rest) = (reader.bytes.len() as u64, reader.bytes[used..].to_vec());
        let decoder = BodyDecoder::for_answer(&request.method, head.status, &head.headers)
            .map_err(|reason| HttpError::BadFraming { address: address.clone(), reason })?;
        let pending = if rest.is_empty() { None } else { Some(Piece { bytes: rest, at: head.at }) };
        Ok(Exchange { head, socket, address, sent, decoder, pending, received })
    }

    /// The next piece of the body; `None` when the body is complete. A time-out leaves the exchange usable.
    pub fn next(&mut self, until: Instant) -> Result<Option<Piece>, HttpError> {
        loop {
            if let Some(raw) = self.pending.take() {
                let mut bytes = Vec::with_capacity(raw.bytes.len());
                self.decoder
                    .push(&raw.bytes, &mut bytes)
                    .map_err(|reason| HttpError::BadFraming { address: self.address.clone(), reason })?;
                if !bytes.is_empty() {
                    return Ok(Some(Piece { bytes, at: raw.at }));
                }
            }
            if self.decoder.complete() {
                return Ok(None);
            }
            let mut buffer = [0; 16 << 10];
            match read_until(&self.socket, &mut buffer, until) {
                Ok(0) if self.decoder.ends_with_connection() => return Ok(None),
                Ok(0) => return Err(HttpError::CutShort { address: self.address.clone(), bytes: self.received }),
                Ok(count) => {
                    self.received += count as u64;
                    self.pending = Some(Piece { bytes: buffer[..count].to_vec(), at: self.sent.elapsed() });
                }
                Err(error) => return Err(broken(error, &self.address, self.received, self.sent)),
            }
        }
    }

    /// Since the request was sent.
    pub fn elapsed(&self) -> Duration {
        self.sent.elapsed()
    }

    /// A second handle on the socket, so that another thread can end a read that waits.
    pub fn handle(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    /// Ends both directions at once. (Ending only ours is what a worker takes for a disconnect.)
    pub fn disconnect(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn connect(base: &Base, until: Instant) -> Result<TcpStream, HttpError> {
    let address = base.authority();
    let unresolved = |reason: String| HttpError::Unresolved { address: address.clone(), reason };
    let candidates =
        (base.host.as_str(), base.port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
    let mut last = unresolved("no address".into());
    for candidate in candidates {
        let Some(left) = left(until) else { break };
        match TcpStream::connect_timeout(&candidate, left) {
            Ok(socket) => {
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = HttpError::Refused { address: address.clone() };
            }
            Err(error) => last = HttpError::Unreachable { address: address.clone(), reason: error.to_string() },
        }
    }
    Err(last)
}

/// Sends the request. An error is kept: the server may have answered before it had read everything.
fn transmit(socket: &TcpStream, bytes: Vec<u8>, until: Instant) -> io::Result<()> {
    let write = move |mut socket: &TcpStream, bytes: &[u8]| {
        socket.set_write_timeout(left(until))?;
        socket.write_all(bytes)
    };
    if bytes.len() <= WRITTEN_INLINE {
        return write(socket, &bytes);
    }
    let socket = socket.try_clone()?;
    std::thread::Builder::new().name("request body".into()).spawn(move || write(&socket, &bytes))?;
    Ok(())
}

/// A request that could not be sent explains an answer that never began.
fn explain(error: HttpError, sending: io::Result<()>, address: &str) -> HttpError {
    match (error, sending) {
        (HttpError::NoAnswer { .. } | HttpError::Reset { bytes: 0, .. }, Err(cause)) => {
            HttpError::Sending { address: address.into(), reason: cause.to_string() }
        }
        (error, _) => error,
    }
}

fn left(until: Instant) -> Option<Duration> {
    until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// One read, at the latest until the deadline; an interrupted read is repeated.
fn read_until(mut socket: &TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        let Some(left) = left(until) else { return Err(io::ErrorKind::TimedOut.into()) };
        socket.set_read_timeout(Some(left))?;
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            outcome => return outcome,
        }
    }
}

fn broken(error: io::Error, address: &str, bytes: u64, sent: Instant) -> HttpError {
    let address = address.to_string();
    match error.kind() {
        io::ErrorKind::TimedOut if bytes == 0 => HttpError::NeverAnswered { address, waited: sent.elapsed() },
        io::ErrorKind::TimedOut => HttpError::TimedOut { address, waited: sent.elapsed(), bytes },
        io::ErrorKind::ConnectionReset => HttpError::Reset { address, bytes },
        _ => HttpError::Unreachable { address, reason: error.to_string() },
    }
}

struct HeadReader<'a> {
    socket: &'a TcpStream,
    address: &'a str,
    sent: Instant,
    until: Instant,
    bytes: Vec<u8>,
}

impl HeadReader<'_> {
    /// The head and the count of bytes up to its end; interim answers (1xx) are passed over.
    fn read(&mut self) -> Result<(Head, usize), HttpError> {
        let mut start = 0;
        let mut buffer = [0; 16 << 10];
        loop {
            while let Some((head, length)) = self.parse(start)? {
                start += length;
                if !(100..200).contains(&head.status) || head.status == 101 {
                    return Ok((head, start));
                }
            }
            if self.bytes.len() > LARGEST_HEAD {
                let address = self.address.to_string();
                return Err(HttpError::TooLarge { address, what: "an answer's head", cap: LARGEST_HEAD });
            }
            match read_until(self.socket, &mut buffer, self.until) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(broken(error, self.address, self.bytes.len() as u64, self.sent)),
            }
        }
    }

    fn parse(&self, start: usize) -> Result<Option<(Head, usize)>, HttpError> {
        let mut fields = vec![httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&self.bytes[start..]) {
            Ok(httparse::Status::Partial) => Ok(None),
            Ok(httparse::Status::Complete(length)) => {
                let headers = response
                    .headers
                    .iter()
                    .map(|field| (field.name.to_string(), String::from_utf8_lossy(field.value).trim().to_string()))
                    .collect();
                let head = Head {
                    status: response.code.unwrap_or_default(),
                    reason: response.reason.unwrap_or_default().to_string(),
                    headers: Headers(headers),
                    at: self.sent.elapsed(),
                };
                Ok(Some((head, length)))
            }
            Err(_) if !self.bytes[start..].starts_with(b"HTTP/") => Err(self.not_http()),
            Err(error) => {
                Err(HttpError::BadFraming { address: self.address.into(), reason: format!("the head: {error}") })
            }
        }
    }

    fn closed(&self) -> HttpError {
        let address = self.address.to_string();
        match self.bytes.len() {
            0 => HttpError::NoAnswer { address },
            _ if !self.bytes.starts_with(b"HTTP/") => self.not_http(),
            bytes => HttpError::CutShort { address, bytes: bytes as u64 },
        }
    }

    fn not_http(&self) -> HttpError {
        HttpError::NotHttp { address: self.address.into(), first: excerpt(&self.bytes, 60) }
    }
}

/// Removes the framing of a body: a length, chunks, or the end of the connection. Fed with any cut of the bytes.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    framing: Framing,
}

#[derive(Clone, Debug)]
enum Framing {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

/// Where the decoder stands in `size [;extension] CRLF data CRLF … 0 CRLF [trailers] CRLF`.
#[derive(Clone, Debug)]
enum Chunk {
    Size {
        value: u64,
        digits: u32,
    },
    Extension {
        value: u64,
        length: u32,
    },
    SizeEnd {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// `empty`: nothing of this trailer line has come yet.
    Trailer {
        empty: bool,
        length: u32,
    },
    TrailerEnd {
        empty: bool,
    },
    Complete,
}

const LONGEST_CHUNK_LINE: u32 = 16 << 10;

impl BodyDecoder {
    pub fn chunked() -> BodyDecoder {
        BodyDecoder { framing: Framing::Chunked(Chunk::Size { value: 0, digits: 0 }) }
    }

    /// How an answer's head says that its body is framed.
    pub fn for_answer(method: &str, status: u16, headers: &Headers) -> Result<BodyDecoder, String> {
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return Ok(BodyDecoder { framing: Framing::Length(0) });
        }
        if let Some(coding) = headers.get("transfer-encoding") {
            if coding.trim().eq_ignore_ascii_case("chunked") {
                return Ok(BodyDecoder::chunked());
            }
            return Err(format!("the transfer encoding {coding:?} was not asked for"));
        }
        let mut lengths = headers.all("content-length");
        let Some(length) = lengths.next() else { return Ok(BodyDecoder { framing: Framing::UntilClose }) };
        if let Some(other) = lengths.find(|other| *other != length) {
            return Err(format!("two lengths, {length} and {other}"));
        }
        let all_digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        match length.parse() {
            Ok(count) if all_digits => Ok(BodyDecoder { framing: Framing::Length(count) }),
            _ => Err(format!("{length:?} is no content length")),
        }
    }

    pub fn complete(&self) -> bool {
        matches!(self.framing, Framing::Length(0) | Framing::Chunked(Chunk::Complete))
    }

    /// Whether the end of the connection is the end of the body.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.framing, Framing::UntilClose)
    }

    /// Appends the content of `input` to `out`. What follows a complete body is left alone.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        while !input.is_empty() && !self.complete() {
            let taken = match &mut self.framing {
                Framing::UntilClose => take(u64::MAX, input, out),
                Framing::Length(left) => {
                    let count = take(*left, input, out);
                    *left -= count as u64;
                    count
                }
                Framing::Chunked(Chunk::Data { left }) => {
                    let count = take(*left, input, out);
                    *left -= count as u64;
                    if *left == 0 {
                        self.framing = Framing::Chunked(Chunk::DataCr);
                    }
                    count
                }
                Framing::Chunked(chunk) => {
                    chunk.step(input[0])?;
                    1
                }
            };
            input = &input[taken..];
        }
        Ok(())
    }
}

fn take(left: u64, input: &[u8], out: &mut Vec<u8>) -> usize {
    let count = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    out.extend_from_slice(&input[..count]);
    count
}

impl Chunk {
    /// Reads one byte that is not data.
    fn step(&mut self, byte: u8) -> Result<(), String> {
        let unexpected = |wanted: &str| Err(format!("{wanted} expected, found byte 0x{byte:02x}"));
        *self = match (&*self, byte) {
            (Chunk::Size { value, digits }, byte) if byte.is_ascii_hexdigit() => {
                if *digits == 15 {
                    return Err("a chunk size of more than 15 digits".into());
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                Chunk::Size { value: value * 16 + u64::from(digit), digits: digits + 1 }
            }
            (Chunk::Size { digits: 0, .. }, _) => return unexpected("a chunk size"),
            (Chunk::Size { value, .. } | Chunk::Extension { value, .. }, b'\r') => Chunk::SizeEnd { value: *value },
            (Chunk::Size { value, .. }, b';' | b' ' | b'\t') => Chunk::Extension { value: *value, length: 0 },
            (Chunk::Size { .. }, _) => return unexpected("the end of a chunk's size"),
            (Chunk::Extension { .. }, b'\n') => return unexpected("CR before LF"),
            (Chunk::Extension { value, length }, _) if *length < LONGEST_CHUNK_LINE => {
                Chunk::Extension { value: *value, length: length + 1 }
            }
            (Chunk::Extension { .. } | Chunk::Trailer { length: LONGEST_CHUNK_LINE.., .. }, _) => {
                return Err(format!("a line of more than {LONGEST_CHUNK_LINE} bytes between chunks"));
            }
            (Chunk::SizeEnd { value: 0 }, b'\n') => Chunk::Trailer { empty: true, length: 0 },
            (Chunk::SizeEnd { value }, b'\n') => Chunk::Data { left: *value },
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataCr, _) => return unexpected("CR after a chunk's data"),
            (Chunk::DataLf, b'\n') => Chunk::Size { value: 0, digits: 0 },
            (Chunk::Trailer { empty, .. }, b'\r') => Chunk::TrailerEnd { empty: *empty },
            (Chunk::Trailer { length, .. }, _) => Chunk::Trailer { empty: false, length: length + 1 },
            (Chunk::TrailerEnd { empty: true }, b'\n') => Chunk::Complete,
            (Chunk::TrailerEnd { empty: false }, b'\n') => Chunk::Trailer { empty: true, length: 0 },
            (Chunk::SizeEnd { .. } | Chunk::DataLf | Chunk::TrailerEnd { .. }, _) => return unexpected("LF after CR"),
            (Chunk::Data { .. } | Chunk::Complete, _) => return unexpected("nothing"),
        };
        Ok(())
    }
}
