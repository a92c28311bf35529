//! Where the body of an answer ends, and what of its bytes is the body: by a length, in chunks, or with the connection.

use std::io::{self, ErrorKind};

use axum::http::{HeaderMap, header};

use super::post::broken;

/// The most that one chunk may have.
const CHUNK: u64 = 1 << 40;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes, then nothing.
    Length(u64),
    /// Bytes, for as long as the connection lasts.
    Close,
    /// The length of a chunk, as far as it has been read.
    Size(Option<u64>),
    /// What may stand behind a chunk's length, up to the end of the line.
    Extension(u64),
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of the line behind a chunk.
    ChunkEnd,
    /// Fields behind the last chunk, up to an empty line: whether this one is empty so far.
    Trailer(bool),
    Over,
}

impl Framing {
    pub fn of(headers: &HeaderMap) -> io::Result<Framing> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(coding) = text(header::TRANSFER_ENCODING) {
            let chunked = coding.trim().eq_ignore_ascii_case("chunked");
            return if chunked { Ok(Framing::Size(None)) } else { Err(broken("a transfer coding that is not known")) };
        }
        match text(header::CONTENT_LENGTH) {
            None => Ok(Framing::Close),
            Some(length) => match length.trim().parse() {
                Ok(0) => Ok(Framing::Over),
                Ok(length) => Ok(Framing::Length(length)),
                Err(_) => Err(broken("a length that is no number")),
            },
        }
    }

    pub fn is_over(self) -> bool {
        self == Framing::Over
    }

    /// The connection has ended.
    pub fn end(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Framing::Over) {
            Framing::Close | Framing::Over => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Takes the next bytes of the connection, and puts what of them is body behind `body`.
    pub fn take(&mut self, mut bytes: &[u8], body: &mut Vec<u8>) -> io::Result<()> {
        while let Some((&byte, after)) = bytes.split_first() {
            match *self {
                Framing::Over => return Ok(()),
                Framing::Close => {
                    body.extend_from_slice(bytes);
                    return Ok(());
                }
                Framing::Length(left) | Framing::Chunk(left) => {
                    let length = left.min(bytes.len() as u64);
                    let (piece, rest) = bytes.split_at(length as usize);
                    body.extend_from_slice(piece);
                    bytes = rest;
                    *self = match (*self, left - length) {
                        (Framing::Length(_), 0) => Framing::Over,
                        (Framing::Length(_), left) => Framing::Length(left),
                        (_, 0) => Framing::ChunkEnd,
                        (_, left) => Framing::Chunk(left),
                    };
                    continue;
                }
                Framing::Size(size) => *self = size_line(size, byte)?,
                Framing::Extension(size) if byte == b'\n' => *self = chunk(size),
                Framing::Extension(_) => {}
                Framing::ChunkEnd => match byte {
                    b'\r' => {}
                    b'\n' => *self = Framing::Size(None),
                    _ => return Err(broken("a chunk that is longer than it says")),
                },
                Framing::Trailer(empty) => match byte {
                    b'\r' => {}
                    b'\n' if empty => *self = Framing::Over,
                    byte => *self = Framing::Trailer(byte == b'\n'),
                },
            }
            bytes = after;
        }
        Ok(())
    }
}

/// One byte of the line that says how long a chunk is.
fn size_line(size: Option<u64>, byte: u8) -> io::Result<Framing> {
    let digit = char::from(byte).to_digit(16).map(u64::from);
    match (size, digit, byte) {
        (size, Some(digit), _) => match size.unwrap_or(0) * 16 + digit {
            size if size <= CHUNK => Ok(Framing::Size(Some(size))),
            _ => Err(broken("a chunk without an end")),
        },
        (Some(size), None, b'\n') => Ok(chunk(size)),
        (Some(size), None, b'\r' | b';' | b' ' | b'\t') => Ok(Framing::Extension(size)),
        _ => Err(broken("a chunk whose length is no number")),
    }
}

fn chunk(size: u64) -> Framing {
    if size == 0 { Framing::Trailer(true) } else { Framing::Chunk(size) }
}
