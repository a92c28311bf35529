//! Small servers for the tests: one connection, one script, on a thread.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use llorch::harness::http::{Base, Headers, Request};
use serde_json::json;

/// Serves each connection by `script`, which gets the socket with the request read (head and body).
pub fn serve(script: impl Fn(TcpStream, String) + Send + 'static) -> Base {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let base = Base::local(listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            // Whoever connects and says nothing (a look whether the port is taken, say) must not keep the others waiting.
            let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
            let request = read_request(&mut socket);
            if !request.is_empty() {
                let _ = socket.set_read_timeout(None);
                script(socket, request);
            }
        }
    });
    base
}

/// Answers every request with these bytes and closes.
pub fn answer(bytes: impl Into<Vec<u8>>) -> Base {
    let bytes = bytes.into();
    serve(move |mut socket, _| {
        let _ = socket.write_all(&bytes);
    })
}

pub fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length =
                text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0_usize) {
                return text;
            }
        }
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The head of a stream.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Correlation-Id: c-1\r\n";

pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The request that the oddities answer.
pub fn execute() -> Request {
    Request::post("/execute").json(&json!({ "job_id": "j-1", "prompt": "Hello.", "seed": 7 })).correlation_id("c-1")
}

/// The head that goes with it.
pub fn stream_headers() -> Headers {
    Headers(vec![
        ("content-type".into(), "text/event-stream; charset=utf-8".into()),
        ("x-correlation-id".into(), "c-1".into()),
    ])
}
