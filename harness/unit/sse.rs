//! The SSE reader: every legal oddity, every problem, and independence of how the bytes are cut.

use std::time::Duration;

use super::oddities::{TEXT, oddities};
use llorch::harness::sse::{Parser, ProblemKind, Severity};
use llorch::harness::transcript::Transcript;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::serve::{execute, stream_headers};

pub const TESTS: &[(&str, fn())] = &[
    ("sse/oddities_are_legal", oddities_are_legal),
    ("sse/lone_cr", lone_cr),
    ("sse/crlf_cut_between", crlf_cut_between),
    ("sse/fields", fields),
    ("sse/multi_line_data", multi_line_data),
    ("sse/empty_data", empty_data),
    ("sse/byte_order_mark_once", byte_order_mark_once),
    ("sse/every_problem", every_problem),
    ("sse/problem_offsets", problem_offsets),
    ("sse/arrival_is_the_last_byte", arrival_is_the_last_byte),
    ("sse/raw_bytes_of_frames", raw_bytes_of_frames),
    ("sse/cuts_do_not_matter", cuts_do_not_matter),
    ("sse/garbage_does_not_panic", garbage_does_not_panic),
];

fn oddities_are_legal() {
    for oddity in oddities() {
        let transcript = Transcript::replay(execute(), stream_headers(), &oddity.body("j-1", 7));
        assert_eq!(transcript.text(), TEXT, "{}", oddity.name);
        assert_eq!(transcript.judge_all(), Ok(()), "{}", oddity.name);
        let joined: Vec<u8> = oddity.writes("j-1", 7).concat();
        assert_eq!(joined, oddity.body("j-1", 7), "{}: the pieces are the body", oddity.name);
    }
}

fn lone_cr() {
    let parser = Parser::read(b"event: a\rdata: 1\r\revent: b\rdata: 2\r\r");
    let told: Vec<_> = parser.frames.iter().map(|frame| (frame.name(), frame.data.as_str())).collect();
    assert_eq!(told, [("a", "1"), ("b", "2")]);
    assert!(parser.problems.is_empty());
}

fn crlf_cut_between() {
    let mut parser = Parser::new();
    for piece in [b"event: a\r".as_slice(), b"\ndata: 1\r", b"\n\r", b"\n", b"data: 2\r\nevent: b\r\n\r", b"\n"] {
        parser.push(piece, Duration::ZERO);
    }
    parser.finish();
    assert_eq!(parser.frames.len(), 2);
    assert_eq!(parser.frames[1].name(), "b");
    assert!(parser.problems.is_empty(), "{:?}", parser.problems);
}

fn fields() {
    let parser = Parser::read(b"id: 4\nretry: 250\nodd: x\nbare\nevent:  two blanks\ndata:x\n\n");
    let frame = &parser.frames[0];
    assert_eq!((frame.id.as_deref(), frame.retry), (Some("4"), Some(250)));
    assert_eq!(frame.event.as_deref(), Some(" two blanks"), "one blank is removed, no more");
    assert_eq!(frame.unknown, [("odd".into(), "x".into()), ("bare".to_string(), String::new())]);
}

fn multi_line_data() {
    let parser = Parser::read(b"event: e\ndata: a\ndata\ndata: b\n\n");
    assert_eq!(parser.frames[0].data, "a\n\nb");
    assert_eq!(parser.frames[0].data_lines, 3);
}

fn empty_data() {
    let parser = Parser::read(b"event: e\ndata\n\nevent: f\n\nevent: g\ndata: 1\n\n");
    let names: Vec<_> = parser.frames.iter().map(|frame| frame.name()).collect();
    assert_eq!(names, ["e", "g"], "an empty data line is data; an event line alone is not");
}

fn byte_order_mark_once() {
    let parser = Parser::read("\u{feff}\u{feff}event: a\ndata: 1\n\n".as_bytes());
    assert_eq!(parser.frames[0].event, None, "only the first mark is skipped");
    assert_eq!(parser.frames[0].unknown[0].0, "\u{feff}event");
}

fn every_problem() {
    let table: &[(&[u8], ProblemKind, Severity)] = &[
        (b"event: e\ndata: \xFF\n\n", ProblemKind::InvalidUtf8, Severity::Must),
        (b"event: e\ndata: \xC3\n\n", ProblemKind::InvalidUtf8, Severity::Must),
        (b"data: 1\n\n", ProblemKind::NoEvent, Severity::Must),
        (b"event: e\n\n", ProblemKind::NoData, Severity::Should),
        (b"event: e\ndata: 1\n", ProblemKind::Incomplete, Severity::Must),
        (b"event: e\ndata: 1", ProblemKind::Incomplete, Severity::Must),
        (b"event: e\ndata: 1\n\nev", ProblemKind::Incomplete, Severity::Must),
        (b"id: a\0b\nevent: e\ndata: 1\n\n", ProblemKind::NulInId, Severity::Should),
        (b"retry: 1s\nevent: e\ndata: 1\n\n", ProblemKind::RetryNotANumber, Severity::Should),
        (b"event: d\nevent: e\ndata: 1\n\n", ProblemKind::RepeatedEvent, Severity::Should),
    ];
    for (bytes, kind, severity) in table {
        let parser = Parser::read(bytes);
        let found: Vec<_> = parser.problems.iter().map(|problem| (problem.kind, problem.severity())).collect();
        assert_eq!(found, [(*kind, *severity)], "{}", String::from_utf8_lossy(bytes));
    }
    let mut parser = Parser::with_longest_line(20);
    parser.push(b"event: e\ndata: 0123456789012345\ndata: 1\n\n", Duration::ZERO);
    parser.finish();
    assert_eq!(parser.problems.len(), 1);
    assert_eq!(parser.problems[0].kind, ProblemKind::LineTooLong);
    assert_eq!(parser.frames[0].data, "01234567890123\n1", "what follows a line that is too long is read as before");
    // What is cut off in a comment loses nothing.
    assert!(Parser::read(b"event: e\ndata: 1\n\n: keep").problems.is_empty());
}

fn problem_offsets() {
    let bytes = b"\xEF\xBB\xBF: ok\n\nevent: e\ndata: ab\xFFcd\n\ndata: 1\n\n";
    let parser = Parser::read(bytes);
    assert_eq!(parser.problems[0].offset, bytes.iter().position(|byte| *byte == 0xFF).unwrap() as u64);
    assert_eq!(parser.problems[1].offset, bytes.len() as u64 - 9);
    let first_line = Parser::read(b"\xEF\xBB\xBFdata: \xFF\n\n");
    assert_eq!(first_line.problems[0].offset, 9);
}

fn arrival_is_the_last_byte() {
    let mut parser = Parser::new();
    parser.push(b"event: e\ndata: 1\n", Duration::from_millis(5));
    parser.push(b"\n", Duration::from_millis(9));
    assert_eq!(parser.frames[0].at, Duration::from_millis(9));
}

fn raw_bytes_of_frames() {
    for bytes in [
        b"event: a\r\ndata: 1\r\n\r\nevent: b\r\ndata: 2\r\n\r\n".as_slice(),
        b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n",
    ] {
        let parser = Parser::read(bytes);
        let raw: Vec<u8> = parser.frames.iter().flat_map(|frame| frame.raw.clone()).collect();
        assert_eq!(raw, bytes);
        assert_eq!(parser.frames[1].offset as usize, bytes.len() / 2);
    }
}

/// Streams made of what matters: fields, line ends, characters of several bytes, wrong bytes.
fn stream_bytes() -> impl Strategy<Value = Vec<u8>> {
    let atoms: Vec<&'static [u8]> = vec![
        b"event: e",
        b"data: {}",
        b"data:x",
        b"data",
        b":",
        b"id: 1",
        b"id: \0",
        b"retry: 5",
        b"retry: x",
        b"odd: y",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"\xEF\xBB\xBF",
        "ü🙂".as_bytes(),
        b"\xFF",
        b"\xF0\x9F",
        b" ",
        b"data: 1\n\n",
    ];
    proptest::collection::vec(proptest::sample::select(atoms), 0..40).prop_map(|atoms| atoms.concat())
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() })
}

fn cuts_do_not_matter() {
    let cut_streams = stream_bytes().prop_flat_map(|bytes| {
        let cuts = proptest::collection::vec(0..=bytes.len(), 0..8);
        (Just(bytes), cuts)
    });
    let outcome = runner().run(&cut_streams, |(bytes, mut cuts)| {
        let whole = Parser::read(&bytes);
        cuts.sort_unstable();
        let mut pieces = Parser::new();
        let mut begin = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[begin..cut], Duration::ZERO);
            begin = cut;
        }
        pieces.finish();
        prop_assert_eq!(&whole.frames, &pieces.frames);
        prop_assert_eq!(&whole.comments, &pieces.comments);
        prop_assert_eq!(&whole.problems, &pieces.problems);
        Ok(())
    });
    outcome.unwrap();
}

fn garbage_does_not_panic() {
    let outcome = runner().run(&proptest::collection::vec(any::<u8>(), 0..300), |bytes| {
        let parser = Parser::read(&bytes);
        prop_assert_eq!(parser.position(), bytes.len() as u64);
        Ok(())
    });
    outcome.unwrap();
}
