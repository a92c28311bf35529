//! What readers of a task see: the same bytes, wherever they take it up; and the events of an upstream, however they are cut.

use std::task::{Context, Poll, Waker};

use axum::body::Bytes;
use llorch::http::event_stream::{EventReader, Received, StreamError};
use llorch::orchestrator::event_log::{Cap, EventLog, Frame, Read};
use llorch::orchestrator::stream::frame;

pub const TESTS: &[(&str, fn())] = &[
    ("orchestrator_stream/resumes_join_byte_for_byte", resumes_join_byte_for_byte),
    ("orchestrator_stream/verbose_readers_see_more_under_the_same_ids", verbose_readers_see_more_under_the_same_ids),
    ("orchestrator_stream/history_that_is_gone_is_said", history_that_is_gone_is_said),
    ("orchestrator_stream/nothing_after_the_ending", nothing_after_the_ending),
    ("orchestrator_stream/desertion_is_noticed_and_a_return_too", desertion_is_noticed_and_a_return_too),
    ("orchestrator_stream/upstream_events_cut_anywhere", upstream_events_cut_anywhere),
    ("orchestrator_stream/upstream_memory_is_bounded", upstream_memory_is_bounded),
];

const ROOM: Cap = Cap { events: 100, bytes: 1 << 20 };

fn plain(id: u64, data: &str) -> Frame {
    Frame { id, plain: Some(frame(id, "token", data)), verbose: None }
}

/// A finished stream of a few events, one of them for verbose readers only.
fn finished(cap: Cap) -> EventLog {
    let log = EventLog::new(cap);
    log.publish(plain(1, "{\"a\":1}"), false);
    log.publish(Frame { id: 2, plain: None, verbose: Some(frame(2, "metrics", "{\"human\":\"x\"}")) }, false);
    log.publish(plain(3, "{\"b\":\"ü\"}"), false);
    log.publish(plain(4, "{\"c\":[]}"), false);
    log.publish(Frame { id: 5, plain: Some(frame(5, "end", "{}")), verbose: None }, true);
    log
}

fn read(log: &EventLog, after: u64, verbose: bool, microbatch: bool) -> Poll<Read> {
    log.poll_read(after, verbose, microbatch, &Context::from_waker(Waker::noop()))
}

fn read_all(log: &EventLog, mut after: u64, verbose: bool, microbatch: bool) -> Vec<Bytes> {
    let mut all = Vec::new();
    loop {
        match read(log, after, verbose, microbatch) {
            Poll::Ready(Read::Frames(frames, next)) => {
                all.extend(frames);
                after = next;
            }
            Poll::Ready(Read::Over) => return all,
            other => panic!("{other:?}"),
        }
    }
}

fn resumes_join_byte_for_byte() {
    let log = finished(ROOM);
    for (verbose, microbatch) in [(false, false), (false, true), (true, false), (true, true)] {
        let uncut = read_all(&log, 0, verbose, microbatch);
        assert_eq!(uncut.len(), if verbose { 5 } else { 4 });
        for after in 1..=5 {
            let tail = read_all(&log, after, verbose, microbatch).concat();
            let seen = uncut.iter().take_while(|frame| {
                let text = String::from_utf8(frame.to_vec()).unwrap();
                text.lines().next().unwrap().trim_start_matches("id: ").parse::<u64>().unwrap() <= after
            });
            let head: Vec<Bytes> = seen.cloned().collect();
            assert_eq!([head.concat(), tail].concat(), uncut.concat(), "after {after}");
        }
    }
}

fn verbose_readers_see_more_under_the_same_ids() {
    let log = finished(ROOM);
    let text = |verbose| String::from_utf8(read_all(&log, 0, verbose, true).concat()).unwrap();
    assert!(!text(false).contains("human") && text(true).contains("id: 2\nevent: metrics"));
}

fn history_that_is_gone_is_said() {
    let log = finished(Cap { events: 2, bytes: 1 << 20 });
    assert_eq!(read(&log, 0, false, true), Poll::Ready(Read::Gone(5)));
    assert_eq!(read(&log, 2, false, true), Poll::Ready(Read::Gone(5)));
    assert_eq!(read_all(&log, 3, false, true).len(), 2);
    assert_eq!(read(&log, 6, false, true), Poll::Ready(Read::Gone(5)), "an id that never was");
    let short = finished(Cap { events: 100, bytes: 60 });
    assert_eq!(read(&short, 0, false, true), Poll::Ready(Read::Gone(5)));
    let remains = finished(ROOM).remains();
    assert_eq!(read(&remains, 0, false, true), Poll::Ready(Read::Gone(5)));
    assert_eq!(read(&remains, 5, false, true), Poll::Ready(Read::Over), "who has everything misses nothing");
}

fn nothing_after_the_ending() {
    let log = finished(ROOM);
    log.publish(plain(6, "{}"), false);
    assert_eq!((log.newest(), log.has_ended()), (5, true));
    let open = EventLog::new(ROOM);
    assert_eq!(read(&open, 0, false, true), Poll::Pending);
    open.publish(plain(1, "{}"), false);
    assert!(matches!(read(&open, 0, false, true), Poll::Ready(Read::Frames(_, 1))));
    assert_eq!(read(&open, 1, false, true), Poll::Pending);
}

fn desertion_is_noticed_and_a_return_too() {
    let log = EventLog::new(ROOM);
    log.join();
    log.join();
    assert_eq!(log.leave(), None, "another one reads");
    let mark = log.leave().unwrap();
    assert!(log.is_deserted_since(mark));
    log.join();
    assert!(!log.is_deserted_since(mark));
    let later = log.leave().unwrap();
    assert!(!log.is_deserted_since(mark), "the return counts, however short");
    assert!(log.is_deserted_since(later));
    log.publish(plain(1, "{}"), true);
    assert!(!log.is_deserted_since(later), "it is over");
}

const WIRE: &str = ": hello\n\nevent: started\r\ndata: {\"seed\":1}\r\n\r\nevent: token\rdata: {\"t\":\"ü\r\rdata:a\ndata: b\nid: 7\n\nevent: nothing\n\n";

fn received(pieces: &[&[u8]]) -> Vec<(String, String)> {
    let mut reader = EventReader::new(1000);
    let mut events = Vec::new();
    for piece in pieces {
        reader.feed(piece).unwrap();
        while let Some(Received { name, data, .. }) = reader.next_event() {
            events.push((name, data));
        }
    }
    events
}

fn upstream_events_cut_anywhere() {
    let bytes = WIRE.as_bytes();
    let whole = received(&[bytes]);
    let expected = [("started", "{\"seed\":1}"), ("token", "{\"t\":\"ü"), ("message", "a\nb")];
    assert_eq!(whole, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
    for first in 0..bytes.len() {
        for second in first..bytes.len() {
            assert_eq!(received(&[&bytes[..first], &bytes[first..second], &bytes[second..]]), whole);
        }
    }
}

fn upstream_memory_is_bounded() {
    let mut reader = EventReader::new(100);
    assert_eq!(reader.feed(&[b'x'; 101]), Err(StreamError::TooLarge(100)));
    let mut reader = EventReader::new(100);
    let line = b"data: 0123456789\n";
    let fed = (0..20).try_for_each(|_| reader.feed(line));
    assert_eq!(fed, Err(StreamError::TooLarge(100)), "one event of many lines");
    let mut reader = EventReader::new(100);
    assert!((0..20).all(|_| reader.feed(b"data: 0123456789\n\n").is_ok()), "many events are fine");
    assert_eq!(EventReader::new(100).feed(b"data: \xff\n"), Err(StreamError::NotUtf8));
}
