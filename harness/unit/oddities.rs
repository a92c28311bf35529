//! Streams that are legal and unusual: a strict reader must not stumble over any of them. Each is the same job, written
//! another way, and a reader must get the same text from all.

use serde_json::json;

/// One unusual way to write a stream.
#[derive(Clone, Copy, Debug)]
pub struct Oddity {
    pub name: &'static str,
    write: fn(&[Event]) -> Vec<u8>,
    cut: Cut,
    /// The body has neither a length nor chunks: it ends with the connection.
    pub ends_with_connection: bool,
}

/// How the bytes are handed to the socket.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    EveryByte,
    /// After the first byte of each character that has several.
    InsideCharacters,
    /// In the middle of each line.
    InsideLines,
}

/// An event's name and its data.
type Event = (&'static str, String);

/// What every oddity says.
pub const TEXT: &str = "Grüße,\n世界 🙂";

impl Oddity {
    /// The body, in the pieces in which it is to be written.
    pub fn writes(&self, job_id: &str, seed: u64) -> Vec<Vec<u8>> {
        let body = (self.write)(&job(job_id, seed));
        let ends_piece = |at: usize| match self.cut {
            Cut::Nowhere => false,
            Cut::EveryByte => true,
            // A leading byte of several, with the rest still to come.
            Cut::InsideCharacters => body[at] >= 0xC0,
            Cut::InsideLines => body[at] == b':' || body[at] == b'"',
        };
        let mut pieces = Vec::new();
        let mut begin = 0;
        for at in 0..body.len() {
            if ends_piece(at) || at + 1 == body.len() {
                pieces.push(body[begin..=at].to_vec());
                begin = at + 1;
            }
        }
        pieces
    }

    pub fn body(&self, job_id: &str, seed: u64) -> Vec<u8> {
        (self.write)(&job(job_id, seed))
    }
}

/// All of them, the ordinary stream first.
pub fn oddities() -> Vec<Oddity> {
    let plain = Oddity { name: "ordinary", write: ordinary, cut: Cut::Nowhere, ends_with_connection: false };
    let written = |name, write| Oddity { name, write, ..plain };
    let cut = |name, cut| Oddity { name, cut, ..plain };
    vec![
        plain,
        written("crlf", |events| with_line_ends(events, "\r\n")),
        written("lone-cr", |events| with_line_ends(events, "\r")),
        written("mixed-line-ends", mixed_line_ends),
        written("byte-order-mark", |events| [b"\xEF\xBB\xBF".as_slice(), &ordinary(events)].concat()),
        written("data-before-event", |events| frames(events, |name, data| format!("data: {data}\nevent: {name}\n\n"))),
        written("no-blank-after-colon", |events| frames(events, |name, data| format!("event:{name}\ndata:{data}\n\n"))),
        written("comments", comments),
        written("blank-lines", |events| frames(events, |name, data| format!("\n\nevent: {name}\ndata: {data}\n\n\n"))),
        written("ids-and-retry", |events| {
            frames(events, |name, data| format!("id: 7\nretry: 1000\nevent: {name}\ndata: {data}\n\n"))
        }),
        written("unknown-fields", |events| {
            frames(events, |name, data| format!("trace: 1\nevent: {name}\nflag\ndata: {data}\n\n"))
        }),
        written("unknown-events", unknown_events),
        written("unknown-json-fields", |events| {
            frames(events, |name, data| format!("event: {name}\ndata: {{\"x_extra\":[1,{{}}],{}\n\n", &data[1..]))
        }),
        written("json-escapes", |events| {
            frames(events, |name, data| format!("event: {name}\ndata: {}\n\n", ascii(data)))
        }),
        written("json-blanks", |events| {
            frames(events, |name, data| format!("event: {name}\ndata:   {}\n\n", data.replace("\":", "\" :\t")))
        }),
        written("line-of-64-kib", |events| {
            // The longest line is made of a field that nobody needs.
            let filler = "x".repeat(64 << 10);
            frames(events, |name, data| match name {
                "token" => format!("event: {name}\ndata: {{\"padding\":\"{filler}\",{}\n\n", &data[1..]),
                _ => format!("event: {name}\ndata: {data}\n\n"),
            })
        }),
        cut("byte-by-byte", Cut::EveryByte),
        cut("cut-inside-characters", Cut::InsideCharacters),
        cut("several-writes-per-frame", Cut::InsideLines),
        Oddity { name: "ends-with-connection", ends_with_connection: true, ..plain },
    ]
}

fn job(job_id: &str, seed: u64) -> Vec<Event> {
    let started = json!({ "job_id": job_id, "model": "odd", "started_at": "2026-01-02T03:04:05.678Z", "seed": seed });
    let mut events = vec![("started", started.to_string())];
    for (i, t) in ["Gr", "üße", ",\n", "世界", " 🙂"].iter().enumerate() {
        events.push(("token", json!({ "t": t, "i": i }).to_string()));
    }
    let metrics = json!({
        "tokens_per_sec": 12.5, "tokens_out": 5, "memory_bytes": 1024, "vram_bytes": 0, "decode_time_ms": 400,
    });
    events.insert(4, ("metrics", metrics.to_string()));
    let end = json!({
        "tokens_out": 6, "decode_time_ms": 480, "stop_reason": "EOS", "stop_sequence_matched": null, "seed": seed,
    });
    events.push(("end", end.to_string()));
    events
}

fn frames(events: &[Event], write: impl Fn(&str, &str) -> String) -> Vec<u8> {
    events.iter().map(|(name, data)| write(name, data)).collect::<String>().into_bytes()
}

fn ordinary(events: &[Event]) -> Vec<u8> {
    with_line_ends(events, "\n")
}

fn with_line_ends(events: &[Event], end: &str) -> Vec<u8> {
    frames(events, |name, data| format!("event: {name}{end}data: {data}{end}{end}"))
}

fn mixed_line_ends(events: &[Event]) -> Vec<u8> {
    frames(events, |name, data| format!("event: {name}\rdata: {data}\r\n\n"))
}

fn comments(events: &[Event]) -> Vec<u8> {
    let inside = frames(events, |name, data| format!(": keep-alive\nevent: {name}\n:\ndata: {data}\n\n:\n\n"));
    [b":\n\n: waiting for the job before\n\n".as_slice(), &inside].concat()
}

fn unknown_events(events: &[Event]) -> Vec<u8> {
    frames(events, |name, data| match name {
        "token" => format!("event: trace\ndata: not JSON at all\n\nevent: {name}\ndata: {data}\n\n"),
        _ => format!("event: {name}\ndata: {data}\n\n"),
    })
}

/// The same JSON, everything beyond ASCII as `\uXXXX`.
fn ascii(json: &str) -> String {
    let mut out = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
