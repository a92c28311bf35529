//! The answer to `/execute` on the wire: frames become lines, lines become bytes, bytes become HTTP chunks. Everything
//! that is wrong or odd about the *form* of the stream happens here; what the frames say is `execute`'s.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::gzip::Gzip;
use super::http_server::{Request, head, write_head};
use super::mistakes::Slip;
use super::oddities::Quirk;
use super::options::Script;

pub struct EventStream<'a> {
    socket: &'a TcpStream,
    script: Script,
    /// Chunked encoding; without it the stream ends with the connection.
    chunked: bool,
    /// The connection serves another request after the stream.
    keeps_alive: bool,
    /// Frames that wait for the burst at the end.
    burst: Vec<u8>,
    gzip: Option<Gzip>,
    frames: u64,
}

impl<'a> EventStream<'a> {
    /// Writes the response head.
    pub fn open(
        socket: &'a TcpStream,
        script: Script,
        request: &Request,
        correlation: Option<&str>,
    ) -> io::Result<Self> {
        let chunked = request.modern && !script.shows(Quirk::EndsWithConnection);
        let content_type = match (script.plays(Slip::WrongContentType), script.shows(Quirk::ContentTypeParameter)) {
            (true, _) => "text/plain",
            (_, true) => "Text/Event-Stream; charset=UTF-8",
            _ => "text/event-stream",
        };
        let mut headers = vec![("Content-Type", content_type.to_string()), ("Cache-Control", "no-store".to_string())];
        headers.extend(correlation.map(|id| ("X-Correlation-Id", id.to_string())));
        let keeps_alive = chunked && request.keeps_alive() && !script.plays(Slip::UnfinishedChunking);
        if chunked {
            headers.push(("Transfer-Encoding", "chunked".to_string()));
        }
        if !keeps_alive {
            headers.push(("Connection", "close".to_string()));
        }
        let gzip = script.plays(Slip::Gzip).then(Gzip::default);
        headers.extend(gzip.as_ref().map(|_| ("Content-Encoding", "gzip".to_string())));
        if script.shows(Quirk::ChunkTrailers) {
            headers.push(("Trailer", "X-Tail".to_string()));
        }
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        write_head(socket, &head(200, &headers, script), script)?;
        let mut stream = Self { socket, script, chunked, keeps_alive, burst: Vec::new(), gzip, frames: 0 };
        if let Some(beginning) = stream.gzip.as_ref().map(|_| Gzip::beginning()) {
            stream.write_chunk(&beginning)?;
        }
        if script.shows(Quirk::LeadingBom) {
            stream.send("\u{feff}".as_bytes())?;
        }
        Ok(stream)
    }

    pub fn frame(&mut self, event: &str, data: Value) -> io::Result<()> {
        let script = self.script;
        let mut bytes = Vec::new();
        if event != "started" && script.shows(Quirk::UnknownEvents) {
            bytes.extend(self.block(&["event: ping".into(), "data: {\"pong\":true}".into()]));
        }
        if script.shows(Quirk::EventWithoutData) {
            bytes.extend(self.block(&["event: token".into()]));
        }
        if script.shows(Quirk::Comments) {
            bytes.extend(self.block(&[": event: end".into(), ":data: {}".into(), ":".into()]));
        }
        let second_token = event == "token" && data["i"] == json!(1);
        let mut frame = self.block(&self.lines(event, data));
        if second_token && script.plays(Slip::InvalidUtf8) {
            let text = frame.windows(5).position(|window| window == b"\"t\":\"").unwrap_or(0);
            frame.insert(text + 5, 0xff);
        }
        if script.plays(Slip::NoFinalBlankLine) && ["end", "error"].contains(&event) {
            frame.pop();
        }
        bytes.extend(frame);
        if script.shows(Quirk::ManyBlankLines) {
            bytes.extend(b"\n\n\n");
        }
        self.frames += 1;
        if second_token && script.plays(Slip::ResetMidEvent) {
            bytes.truncate(bytes.len() / 2);
            self.send(&bytes)?;
            return reset(self.socket);
        }
        match script.plays(Slip::OneBurst) {
            true => self.burst.extend(bytes),
            false => self.send(&bytes)?,
        }
        Ok(())
    }

    pub fn comment(&mut self, text: &str) -> io::Result<()> {
        self.send(format!(": {text}\n\n").as_bytes())
    }

    /// A frame that has nothing but a data line.
    pub fn bare_data(&mut self, text: &str) -> io::Result<()> {
        self.send(format!("data: {text}\n\n").as_bytes())
    }

    /// Ends the stream. True: the connection can serve another request.
    pub fn finish(mut self) -> io::Result<bool> {
        let burst = std::mem::take(&mut self.burst);
        self.send(&burst)?;
        if let Some(gzip) = self.gzip.take() {
            self.write_chunk(&gzip.end())?;
        }
        if !self.chunked || self.script.plays(Slip::UnfinishedChunking) {
            return Ok(self.keeps_alive);
        }
        let trailer = if self.script.shows(Quirk::ChunkTrailers) { "X-Tail: done\r\n" } else { "" };
        self.socket.write_all(format!("0\r\n{trailer}\r\n").as_bytes())?;
        Ok(self.keeps_alive)
    }

    /// The lines of a frame, without their ends.
    fn lines(&self, event: &str, mut data: Value) -> Vec<String> {
        let script = self.script;
        let mut lines = vec![format!("event: {event}")];
        if script.plays(Slip::DataWithoutEvent) || script.plays(Slip::TypeTagOnly) {
            lines.clear();
        }
        if script.plays(Slip::TypeTagOnly) {
            data["type"] = json!(event);
        }
        if script.shows(Quirk::UnknownFields) {
            data["x_extra"] = json!({"nested": [1, null, "two"]});
            lines.push("flavour: vanilla".into());
            lines.push("bareword".into());
        }
        if script.shows(Quirk::LongLine) && event == "started" {
            data["padding"] = json!("x".repeat(64 << 10));
        }
        if script.shows(Quirk::OtherKeyOrder)
            && let Value::Object(members) = &mut data
        {
            *members = std::mem::take(members).into_iter().rev().collect();
        }
        if script.shows(Quirk::IdAndRetry) {
            lines.push(format!("id: {}", self.frames));
            lines.push("retry: 3000".into());
        }
        if script.shows(Quirk::Comments) {
            lines.push(": data: {\"t\":\"no token\",\"i\":0}".into());
        }
        if script.plays(Slip::DataNestedAsString) {
            data = Value::String(data.to_string());
        }
        let text = match () {
            () if script.plays(Slip::DataOnManyLines) => format!("{data:#}"),
            () if script.shows(Quirk::SpacedJson) => format!("{data:#}").replace('\n', " "),
            () if script.shows(Quirk::EscapedUnicode) => escaped(&data.to_string()),
            () => data.to_string(),
        };
        lines.extend(text.lines().map(|line| format!("data: {line}")));
        if script.shows(Quirk::DataFirst) {
            lines.reverse();
        }
        if script.shows(Quirk::NoBlankAfterColon) {
            lines = lines.iter().map(|line| line.replacen(": ", ":", 1)).collect();
        }
        lines
    }

    /// Lines as bytes, with a blank one after them.
    fn block(&self, lines: &[String]) -> Vec<u8> {
        let end = match () {
            () if self.script.shows(Quirk::CrLf) => "\r\n",
            () if self.script.shows(Quirk::LoneCr) => "\r",
            () => "\n",
        };
        let mut text: String = lines.iter().map(|line| format!("{line}{end}")).collect();
        text += end;
        text.into_bytes()
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let packed = self.gzip.as_mut().map(|gzip| gzip.block(bytes));
        let bytes = packed.as_deref().unwrap_or(bytes);
        let mut rest = bytes;
        let mut count = 0;
        while !rest.is_empty() {
            count += 1;
            let size = match self.script.oddity {
                Some(Quirk::OneByteAtATime) => 1,
                Some(Quirk::CutAnywhere) => 1 + (count * 7 + rest.len()) % 11,
                Some(Quirk::SeveralWrites) => bytes.len().div_ceil(3),
                _ => rest.len(),
            };
            let (piece, after) = rest.split_at(size.min(rest.len()));
            self.write_chunk(piece)?;
            rest = after;
            if self.script.shows(Quirk::SeveralWrites) {
                std::thread::sleep(Duration::from_millis(1)); // so that the pieces travel apart
            }
        }
        Ok(())
    }

    fn write_chunk(&mut self, piece: &[u8]) -> io::Result<()> {
        if !self.chunked {
            return self.socket.write_all(piece);
        }
        let mut chunk = match self.script.shows(Quirk::ChunkExtensions) {
            true => format!("{:06X};name=\"value\"\r\n", piece.len()).into_bytes(),
            false => format!("{:x}\r\n", piece.len()).into_bytes(),
        };
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        self.socket.write_all(&chunk)
    }
}

/// Everything beyond ASCII as `\uXXXX`, in surrogate pairs where it needs two.
fn escaped(json: &str) -> String {
    let mut text = String::new();
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => text.push(byte.into()),
            _ => text += &format!("\\u{unit:04x}"),
        }
    }
    text
}

/// Ends the connection so that the client sees a reset instead of an end.
fn reset(socket: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
    Err(io::ErrorKind::ConnectionReset.into())
}
