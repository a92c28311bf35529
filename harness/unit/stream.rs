//! The stream reader over real sockets: oddities, ends of every kind, waiting and hanging up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::oddities::{TEXT, oddities};
use llorch::harness::http::Base;
use llorch::harness::stream::{Caps, Opened, Stream};
use llorch::harness::transcript::End;

use super::serve::{STREAM_HEAD, answer, chunk, execute, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("stream/oddities_over_sockets", oddities_over_sockets),
    ("stream/refused", refused),
    ("stream/ends", ends),
    ("stream/caps", caps),
    ("stream/deadline", deadline),
    ("stream/close_is_seen_at_once", close_is_seen_at_once),
    ("stream/drop_hangs_up", drop_hangs_up),
    ("stream/wait_says_why_it_failed", wait_says_why_it_failed),
    ("stream/arrival_times", arrival_times),
];

const SOON: Duration = Duration::from_secs(10);

fn open(base: &Base, caps: Caps) -> Stream {
    Stream::open(base, &execute(), caps).unwrap().stream().unwrap()
}

fn chunked_head(socket: &mut TcpStream) {
    let _ = socket.write_all(format!("{STREAM_HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
}

fn oddities_over_sockets() {
    for oddity in oddities() {
        let base = serve(move |mut socket, _| {
            let _ = socket.set_nodelay(true);
            if oddity.ends_with_connection {
                let _ = socket.write_all(format!("{STREAM_HEAD}\r\n").as_bytes());
            } else {
                chunked_head(&mut socket);
            }
            for piece in oddity.writes("j-1", 7) {
                let _ = socket.write_all(&if oddity.ends_with_connection { piece } else { chunk(&piece) });
            }
            if !oddity.ends_with_connection {
                let _ = socket.write_all(&chunk(b""));
            }
        });
        let transcript = open(&base, Caps::default()).finish(SOON);
        assert_eq!(transcript.end, End::Closed, "{}", oddity.name);
        assert_eq!(transcript.text(), TEXT, "{}", oddity.name);
        assert_eq!(transcript.judge_all(), Ok(()), "{}", oddity.name);
    }
}

fn refused() {
    let base = answer(*b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}");
    let Opened::Refused(refusal) = Stream::open(&base, &execute(), Caps::default()).unwrap() else {
        panic!("a stream")
    };
    assert_eq!((refusal.status, refusal.header("retry-after"), refusal.text().as_str()), (503, Some("1"), "{}"));
    let finding = Stream::open(&base, &execute(), Caps::default()).unwrap().stream().unwrap_err();
    assert!(finding.found.contains("503"), "{finding:?}");
    let streaming = answer(format!("{STREAM_HEAD}\r\nevent: started\ndata: {{}}\n\n"));
    assert!(Stream::open(&streaming, &execute(), Caps::default()).unwrap().refused().is_err());
}

fn ends() {
    let head = format!("{STREAM_HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let frame = b"event: started\ndata: {}\n\n";
    type IsIt = fn(&End) -> bool;
    let table: [(Vec<u8>, IsIt); 4] = [
        ([head.as_bytes(), &chunk(frame), &chunk(b"")].concat(), |end| *end == End::Closed),
        ([head.as_bytes(), &chunk(frame)].concat(), |end| matches!(end, End::CutShort { .. })),
        ([head.as_bytes(), b"zz\r\n"].concat(), |end| matches!(end, End::Broken(_))),
        ([format!("{STREAM_HEAD}\r\n").as_bytes(), frame].concat(), |end| *end == End::Closed),
    ];
    for (bytes, expected) in table {
        let transcript = open(&answer(bytes.clone()), Caps::default()).finish(SOON);
        assert!(expected(&transcript.end), "{} of {}", transcript.end, String::from_utf8_lossy(&bytes));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = Base::local(listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.peek(&mut [0]);
        chunked_head(&mut socket);
        let _ = socket.write_all(&chunk(b"event: started\n"));
        // Closed with the request unread: the kernel resets the connection.
    });
    // The reset may even swallow the head.
    if let Ok(opened) = Stream::open(&base, &execute(), Caps::default()) {
        let transcript = opened.stream().unwrap().finish(SOON);
        assert!(matches!(transcript.end, End::Reset { .. }), "{}", transcript.end);
        assert!(transcript.judge("clean-end").is_err());
    }
}

fn endless() -> Base {
    serve(|mut socket, _| {
        chunked_head(&mut socket);
        while socket.write_all(&chunk(b"event: token\ndata: {\"t\":\"x\",\"i\":0}\n\n")).is_ok() {}
    })
}

fn caps() {
    let bytes = open(&endless(), Caps { bytes: 4096, ..Caps::default() }).finish(SOON);
    assert_eq!(bytes.end, End::CapReached("4096 bytes".into()));
    let frames = open(&endless(), Caps { frames: 10, ..Caps::default() }).finish(SOON);
    assert_eq!(frames.end, End::CapReached("10 frames".into()));
    let silent = serve(|mut socket, _| {
        chunked_head(&mut socket);
        let _ = socket.read(&mut [0]);
    });
    let time = open(&silent, Caps::within(Duration::from_millis(200))).finish(SOON);
    assert_eq!(time.end, End::CapReached("200.0ms".into()));
}

fn deadline() {
    let began = Instant::now();
    let transcript = open(&silent_after_start().0, Caps::default()).finish(Duration::from_millis(200));
    assert_eq!(transcript.end, End::DeadlinePassed);
    assert_eq!(transcript.frames.len(), 1);
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Sends `started` and then waits for the client to leave; the channel tells when it did.
fn silent_after_start() -> (Base, mpsc::Receiver<Instant>) {
    let (left, when) = mpsc::channel();
    let base = serve(move |mut socket, _| {
        chunked_head(&mut socket);
        let _ = socket.write_all(&chunk(b"event: started\ndata: {}\n\n"));
        let _ = socket.read(&mut [0]);
        let _ = left.send(Instant::now());
    });
    (base, when)
}

fn close_is_seen_at_once() {
    let (base, when) = silent_after_start();
    let stream = open(&base, Caps::default());
    stream.wait_for_event("started", SOON).unwrap();
    let closed = Instant::now();
    let transcript = stream.close();
    assert_eq!(transcript.end, End::Disconnected);
    assert!(transcript.problems.is_empty());
    let seen = when.recv_timeout(SOON).unwrap();
    assert!(seen.saturating_duration_since(closed) < Duration::from_secs(2));
}

fn drop_hangs_up() {
    let (base, when) = silent_after_start();
    drop(open(&base, Caps::default()));
    when.recv_timeout(SOON).unwrap();
}

fn wait_says_why_it_failed() {
    let (base, _when) = silent_after_start();
    let stream = open(&base, Caps::default());
    stream.wait_for_event("started", SOON).unwrap();
    let finding = stream.wait_for_tokens(2, Duration::from_millis(100)).unwrap_err();
    assert!(finding.expected.contains("2 token events") && finding.found.contains("within 100"), "{finding:?}");
    let ended = open(&answer(format!("{STREAM_HEAD}\r\n")), Caps::default());
    let finding = ended.wait_for_tokens(1, SOON).unwrap_err();
    assert!(finding.found.contains("ended before"), "{finding:?}");
}

/// The server sends each token when it is told that the one before was seen.
fn arrival_times() {
    let (tell, told) = mpsc::channel();
    let base = serve(move |mut socket, _| {
        chunked_head(&mut socket);
        while told.recv_timeout(SOON).is_ok() {
            let _ = socket.write_all(&chunk(b"event: token\ndata: {\"t\":\"x\",\"i\":0}\n\n"));
        }
        let _ = socket.write_all(&chunk(b""));
    });
    let stream = open(&base, Caps::default());
    let mut told_at = Vec::new();
    for count in 1..=3 {
        told_at.push(stream.sent().elapsed());
        tell.send(()).unwrap();
        stream.wait_for_tokens(count, SOON).unwrap();
    }
    drop(tell);
    let transcript = stream.finish(SOON);
    let arrived: Vec<Duration> = transcript.frames.iter().map(|frame| frame.at).collect();
    for index in 0..3 {
        assert!(told_at[index] <= arrived[index], "{told_at:?} {arrived:?}");
        assert!(index == 0 || arrived[index - 1] <= told_at[index], "{told_at:?} {arrived:?}");
    }
}
