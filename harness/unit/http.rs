//! The raw HTTP client and the stream reader: every way in which an answer can come, or not come.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use llorch::harness::http::wire::{BodyDecoder, Exchange};
use llorch::harness::http::{self, Base, HttpError, Request, send};
use llorch::harness::target::ClosedPort;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::serve::{answer, chunk, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("http/base_urls", base_urls),
    ("http/request_bytes", request_bytes),
    ("http/curl_line", curl_line),
    ("http/lengths", lengths),
    ("http/interim_answers", interim_answers),
    ("http/errors_name_what_happened", errors_name_what_happened),
    ("http/never_answered", never_answered),
    ("http/timed_out_in_the_body", timed_out_in_the_body),
    ("http/reset", reset),
    ("http/too_large", too_large),
    ("http/answered_before_it_was_read", answered_before_it_was_read),
    ("http/chunk_arrivals", chunk_arrivals),
    ("http/chunks_cut_anywhere", chunks_cut_anywhere),
    ("http/wrong_chunks", wrong_chunks),
    ("http/excerpts", excerpts),
];

const SOON: Duration = Duration::from_secs(10);

fn get(base: &Base) -> Result<http::Answer, HttpError> {
    send(base, &Request::get("/health"), SOON)
}

fn base_urls() {
    let base = Base::parse("http://127.0.0.1:8080/v1/").unwrap();
    assert_eq!((base.host.as_str(), base.port, base.prefix.as_str()), ("127.0.0.1", 8080, "/v1"));
    assert_eq!(base.url("/health"), "http://127.0.0.1:8080/v1/health");
    assert_eq!(Base::parse("http://localhost").unwrap().port, 80);
    assert_eq!(Base::parse("HTTP://[::1]:9/").unwrap().authority(), "[::1]:9");
    for wrong in [
        "",
        "127.0.0.1:80",
        "https://a:1",
        "ftp://a",
        "http://",
        "http://a:0",
        "http://a:99999",
        "http://a b",
        "http://a?x",
        "http://u@a",
        "http://[::1",
        "http://a:x",
    ] {
        assert!(matches!(Base::parse(wrong), Err(HttpError::BadUrl { .. })), "{wrong}");
    }
    assert!(Base::parse("https://a:1").unwrap_err().to_string().contains("https is not spoken here"));
}

fn request_bytes() {
    let base = Base::parse("http://127.0.0.1:8080/p").unwrap();
    let request = Request::post("/execute").json(&json!({ "a": 1 }));
    let text = String::from_utf8(request.bytes(&base)).unwrap();
    assert!(text.starts_with("POST /p/execute HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"), "{text}");
    assert!(text.contains("\r\nContent-Length: 7\r\n") && text.contains("\r\nConnection: close\r\n"));
    assert!(text.ends_with("\r\n\r\n{\"a\":1}"));
    let bare = String::from_utf8(Request::post("/shutdown").bytes(&base)).unwrap();
    assert!(bare.contains("\r\nContent-Length: 0\r\n"));
    assert!(!String::from_utf8(Request::get("/x").bytes(&base)).unwrap().contains("Content-Length"));
}

fn curl_line() {
    let request = Request::post("/execute").json(&json!({ "prompt": "it's" })).bearer("very-secret");
    let line = request.curl(&Base::local(80));
    assert!(!line.contains("very-secret"), "{line}");
    assert!(line.contains("Bearer [REDACTED]") && line.contains("http://127.0.0.1:80/execute"), "{line}");
    let words = shlex::split(&line).unwrap();
    assert_eq!(words.last().unwrap(), r#"{"prompt":"it's"}"#);
}

fn lengths() {
    let table: &[(&[u8], &str)] = &[
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA", "ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nTrailer: 1\r\n\r\n", "ok"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", "ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ""),
    ];
    for (bytes, body) in table {
        let found = get(&answer(*bytes)).unwrap_or_else(|error| panic!("{error} {}", String::from_utf8_lossy(bytes)));
        assert_eq!(found.text(), *body);
    }
}

fn interim_answers() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\n1";
    assert_eq!(get(&answer(*bytes)).unwrap().status, 202);
}

fn errors_name_what_happened() {
    let closed = ClosedPort::hold().unwrap();
    let refused = get(&Base::local(closed.port().unwrap())).unwrap_err();
    assert!(matches!(refused, HttpError::Refused { .. }), "{refused}");
    type IsIt = fn(&HttpError) -> bool;
    let table: &[(&[u8], IsIt)] = &[
        (b"", |error| matches!(error, HttpError::NoAnswer { .. })),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            |error| matches!(error, HttpError::NotHttp { first, .. } if first.contains("SSH-2.0")),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-", |error| matches!(error, HttpError::CutShort { bytes: 25, .. })),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", |error| matches!(error, HttpError::CutShort { .. })),
        (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n", |error| matches!(error, HttpError::BadFraming { .. })),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", |error| {
            matches!(error, HttpError::BadFraming { .. })
        }),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", |error| matches!(error, HttpError::BadFraming { .. })),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", |error| {
            matches!(error, HttpError::CutShort { .. })
        }),
        (b"HTTP/1.1 abc\r\n\r\n", |error| matches!(error, HttpError::BadFraming { .. })),
    ];
    for (bytes, expected) in table {
        let error = get(&answer(*bytes)).unwrap_err();
        assert!(expected(&error), "{error:?} of {}", String::from_utf8_lossy(bytes));
    }
}

fn never_answered() {
    let base = serve(|mut socket, _| {
        let _ = socket.read(&mut [0]); // until the client leaves
    });
    let began = Instant::now();
    let error = send(&base, &Request::get("/"), Duration::from_millis(150)).unwrap_err();
    assert!(matches!(error, HttpError::NeverAnswered { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

fn timed_out_in_the_body() {
    let base = serve(|mut socket, _| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok");
        let _ = socket.read(&mut [0]);
    });
    let error = send(&base, &Request::get("/"), Duration::from_millis(150)).unwrap_err();
    assert!(matches!(error, HttpError::TimedOut { bytes: 40, .. }), "{error:?}");
}

fn reset() {
    // A server that closes with the request unread resets the connection.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = Base::local(listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // Something has come and is not read.
        let _ = socket.peek(&mut [0]);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    });
    let error = get(&base).unwrap_err();
    assert!(matches!(error, HttpError::Reset { .. }), "{error:?}");
}

fn too_large() {
    let base = serve(|mut socket, _| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n");
        while socket.write_all(b"X-Filler: 0123456789012345678901234567890123456789\r\n").is_ok() {}
    });
    let error = get(&base).unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { .. } | HttpError::BadFraming { .. }), "{error:?}");
    let base = serve(|mut socket, _| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while socket.write_all(&[b'x'; 65536]).is_ok() {}
    });
    assert!(matches!(get(&base), Err(HttpError::TooLarge { what: "an answer", .. })));
}

fn answered_before_it_was_read() {
    // The server refuses after the head, reads nothing more, and keeps the connection open.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = Base::local(listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 64]);
        let _ = socket.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        std::thread::park_timeout(Duration::from_secs(20));
    });
    let request = Request::post("/execute").body("application/json", vec![b'x'; 32 << 20]);
    assert_eq!(send(&base, &request, SOON).unwrap().status, 413);
}

/// The server sends the second chunk when it is told that the first was read.
fn chunk_arrivals() {
    let (tell, told) = mpsc::channel();
    let base = serve(move |mut socket, _| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let _ = socket.write_all(&chunk(b"one"));
        let _ = told.recv_timeout(SOON);
        let _ = socket.write_all(&[chunk(b"two"), chunk(b"")].concat());
    });
    let until = Instant::now() + SOON;
    let mut exchange = Exchange::begin(&base, &Request::get("/"), until).unwrap();
    let first = exchange.next(until).unwrap().unwrap();
    let between = exchange.elapsed();
    tell.send(()).unwrap();
    let second = exchange.next(until).unwrap().unwrap();
    assert_eq!((first.bytes.as_slice(), second.bytes.as_slice()), (b"one".as_slice(), b"two".as_slice()));
    assert!(first.at <= between && between <= second.at);
    assert_eq!(exchange.next(until), Ok(None));
}

fn chunks_cut_anywhere() {
    let bodies = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6);
    let cases = (bodies, proptest::collection::vec(any::<proptest::sample::Index>(), 0..10));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&cases, |(bodies, cuts)| {
        let mut wire: Vec<u8> = bodies.iter().flat_map(|body| chunk(body)).collect();
        wire.extend_from_slice(b"0\r\n\r\n");
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).chain([wire.len()]).collect();
        cuts.sort_unstable();
        let (mut decoder, mut out, mut begin) = (BodyDecoder::chunked(), Vec::new(), 0);
        for cut in cuts {
            prop_assert_eq!(decoder.push(&wire[begin..cut], &mut out), Ok(()));
            begin = cut;
        }
        prop_assert!(decoder.complete());
        prop_assert_eq!(out, bodies.concat());
        Ok(())
    });
    outcome.unwrap();
}

fn wrong_chunks() {
    let wrong: &[&[u8]] = &[
        b"x\r\n",
        b"\r\n",
        b"1\nx\r\n",
        b"1\r\nxy\r\n",
        b"1\r\nx\n",
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"1\r\rx",
        b"0x2\r\nok\r\n",
    ];
    for bytes in wrong {
        let (mut decoder, mut out) = (BodyDecoder::chunked(), Vec::new());
        assert!(decoder.push(bytes, &mut out).is_err(), "{}", String::from_utf8_lossy(bytes));
    }
}

fn excerpts() {
    assert_eq!(http::excerpt(b"", 5), "(nothing)");
    assert_eq!(http::excerpt(b"a\nb\0", 5), "a\\nb\\u{0}");
    assert_eq!(http::excerpt(b"abcdef", 3), "abc… (6 bytes)");
}
