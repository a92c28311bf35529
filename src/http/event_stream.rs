//! Server-sent events read back, piece by piece as they arrive, within bounded memory.
//!
//! Bytes in, whole events out: a frame that spans many pieces is held, up to a cap; comments and unknown fields are
//! passed over, as the format has it.

use std::collections::VecDeque;

/// One dispatched event. A frame without an `event` field is called `message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub name: String,
    pub data: String,
    pub id: Option<String>,
}

/// What no stream of this contract contains. Each message is a whole clause about the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("it sent an event of more than {0} bytes")]
    TooLarge(usize),
    #[error("it sent bytes that are not UTF-8")]
    NotUtf8,
}

/// The reader's state between two pieces.
#[derive(Debug)]
pub struct EventReader {
    /// The most bytes that one event may have.
    cap: usize,
    /// The line so far, without its end.
    line: Vec<u8>,
    /// The last byte was a CR: a LF that follows belongs to the same line end.
    after_carriage_return: bool,
    event: Received,
    has_data: bool,
    ready: VecDeque<Received>,
}

impl EventReader {
    pub fn new(cap: usize) -> Self {
        Self {
            cap,
            line: Vec::new(),
            after_carriage_return: false,
            event: empty(),
            has_data: false,
            ready: VecDeque::new(),
        }
    }

    /// The next whole event of what was fed.
    pub fn next_event(&mut self) -> Option<Received> {
        self.ready.pop_front()
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_carriage_return) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + self.event.data.len() + piece.len() > self.cap {
                return Err(StreamError::TooLarge(self.cap));
            }
            self.line.extend_from_slice(piece);
            let Some(&ending) = after.first() else { return Ok(()) };
            self.after_carriage_return = ending == b'\r';
            rest = &after[1..];
            let line = std::mem::take(&mut self.line);
            self.end_line(std::str::from_utf8(&line).map_err(|_| StreamError::NotUtf8)?);
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    fn end_line(&mut self, line: &str) {
        if line.is_empty() {
            let event = std::mem::replace(&mut self.event, empty());
            if std::mem::take(&mut self.has_data) {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {} // a comment, whose field is empty, or a field of another version
        }
    }
}

fn empty() -> Received {
    Received { name: "message".to_owned(), data: String::new(), id: None }
}
