//! The client that the daemons read streams with: every framing, cut anywhere; and every way in which no answer comes.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use llorch::harness::http::Base;
use llorch::harness::target::ClosedPort;
use llorch::http::framing::Framing;
use llorch::http::post::{Answer, PostError, post};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::serve::{answer, chunk};

pub const TESTS: &[(&str, fn())] = &[
    ("post/framed_in_every_way", framed_in_every_way),
    ("post/chunks_cut_anywhere", chunks_cut_anywhere),
    ("post/broken_framings", broken_framings),
    ("post/cut_off", cut_off),
    ("post/nobody_there", nobody_there),
];

const SOON: Duration = Duration::from_secs(10);

fn posted(base: &Base, body: &[u8]) -> Result<(StatusCode, std::io::Result<Vec<u8>>), PostError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = base.url("/execute").parse().unwrap();
    runtime.block_on(async {
        let mut answer: Answer = post(&url, &HeaderMap::new(), body, SOON).await?;
        Ok((answer.status, answer.rest(1 << 20).await))
    })
}

fn framed_in_every_way() {
    let head = "HTTP/1.1 200 OK\r\nX: y\r\n";
    for wire in [
        format!("{head}Content-Length: 5\r\n\r\nhello and what is not of it"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n003\r\nllo\r\n0\r\nTrailer: z\r\n\r\n"),
        format!("{head}\r\nhello"),
        format!("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n{head}Content-Length: 5\r\n\r\nhello"),
    ] {
        let (status, body) = posted(&answer(wire.clone()), b"{}").unwrap();
        assert_eq!((status, body.unwrap()), (StatusCode::OK, b"hello".to_vec()), "{wire}");
    }
    let (status, body) = posted(&answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), b"{}").unwrap();
    assert_eq!((status, body.unwrap()), (StatusCode::NOT_FOUND, Vec::new()));
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
        let (mut framing, mut out, mut begin) = (Framing::Size(None), Vec::new(), 0);
        for cut in cuts {
            framing.take(&wire[begin..cut], &mut out).unwrap();
            begin = cut;
        }
        prop_assert!(framing.is_over());
        prop_assert_eq!(out, bodies.concat());
        Ok(())
    });
    outcome.unwrap();
}

fn broken_framings() {
    for wire in ["x\r\n", "\r\n", "1\r\nxy\r\n", "ffffffffffffffff\r\n", "-1\r\n"] {
        assert!(Framing::Size(None).take(wire.as_bytes(), &mut Vec::new()).is_err(), "{wire:?}");
    }
    for head in ["Content-Length: five", "Transfer-Encoding: gzip"] {
        let served = answer(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
        assert!(matches!(posted(&served, b"{}"), Err(PostError::Broken(_))), "{head}");
    }
    assert!(matches!(posted(&answer("SSH-2.0-OpenSSH_9.6\r\n"), b"{}"), Err(PostError::Broken(_))));
}

/// A body that ends before it is over is not taken for a whole one.
fn cut_off() {
    for framing in ["Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let (_, body) = posted(&answer(format!("HTTP/1.1 200 OK\r\n{framing}")), b"{}").unwrap();
        assert_eq!(body.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof, "{framing}");
    }
    assert!(matches!(posted(&answer("HTTP/1.1 200 OK\r\nContent-"), b"{}"), Err(PostError::Broken(_))));
}

/// Told from a server that goes away: here nothing was asked for, and the task may go elsewhere.
fn nobody_there() {
    let closed = ClosedPort::hold().unwrap();
    assert!(matches!(posted(&Base::local(closed.port().unwrap()), b"{}"), Err(PostError::Connect { .. })));
}
