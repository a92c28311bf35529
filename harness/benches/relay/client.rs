//! The client: thousands of streams on one thread, each event's age noted as it is read.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use llorch::harness::process::Process;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::figures::{Round, Usage};
use super::system::{self, MODEL};

/// Beyond the time that a stream lasts.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a stream is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// From the engine, or what leads to it.
    Direct(u16),
    /// As a task of an orchestrator.
    Tasks(u16),
}

/// What one stream showed.
#[derive(Debug, Default)]
pub struct Seen {
    /// From the request to the first event.
    pub first: Duration,
    /// When each event was read, and how old it was, in nanoseconds.
    pub events: Vec<(u64, u64)>,
    pub ended: bool,
}

/// Opens the streams one after the other over `ramp`, watches all of them for `watch`, and reads each to its end.
pub async fn watch(
    way: Way,
    streams: usize,
    ramp: Duration,
    watch: Duration,
    processes: &[(&'static str, Process)],
) -> io::Result<Round> {
    let idle = Usage::of(processes)?;
    let events = (ramp + watch).as_secs() + 4;
    let began = Instant::now();
    let open = |number: usize| {
        tokio::spawn(async move {
            sleep_until(began + ramp.mul_f64(number as f64 / streams as f64)).await;
            let mut seen = Seen::default();
            let reading = timeout(Duration::from_secs(events) + PATIENCE, read(way, events, &mut seen)).await;
            let problem = match reading {
                Ok(Ok(())) => seen.problem(events),
                Ok(Err(problem)) => Some(problem.to_string()),
                Err(_) => Some(format!("no end; {} events", seen.events.len())),
            };
            (seen, problem)
        })
    };
    let open: Vec<_> = (0..streams).map(open).collect();
    // All are there, and the last of them has settled.
    sleep(ramp + Duration::from_secs(2)).await;
    let (from, before) = (system::now(), Usage::of(processes)?);
    sleep(watch).await;
    let (to, after) = (system::now(), Usage::of(processes)?);
    let mut round = Round::new(streams, before.memory_since(&idle), after.since(&before));
    for (number, stream) in open.into_iter().enumerate() {
        let (seen, problem) = stream.await.map_err(io::Error::other)?;
        round.lost.extend(problem.map(|problem| format!("stream {number}: {problem}")));
        round.add(&seen, from..to);
    }
    Ok(round)
}

async fn read(way: Way, events: u64, seen: &mut Seen) -> io::Result<()> {
    let asked = Instant::now();
    let (Way::Direct(port) | Way::Tasks(port)) = way;
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    socket.set_nodelay(true)?;
    let mut bytes = Vec::new();
    match way {
        Way::Direct(_) => post(&mut socket, "/completion", &json!({"n_predict": events})).await?,
        Way::Tasks(_) => {
            let id = Uuid::new_v4();
            let task = json!({
                "task_id": id, "session_id": Uuid::new_v4(), "workload": "completion", "model_ref": MODEL,
                "engine": "llamacpp", "ctx": 4096, "priority": "interactive", "prompt": "tick", "max_tokens": events,
                "deadline_ms": 600_000,
            });
            post(&mut socket, "/v2/tasks", &task).await?;
            match system::message(&mut socket, &mut bytes).await? {
                Some((head, _)) if head.starts_with("HTTP/1.1 202") => {}
                other => return Err(io::Error::other(format!("the task was not admitted: {other:?}"))),
            }
            let ask = format!("GET /v2/tasks/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
            socket.write_all(ask.as_bytes()).await?;
        }
    }
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::other(format!("cut off after {} events", seen.events.len())));
        }
        let now = system::now();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            seen.line(&String::from_utf8_lossy(&bytes[..end]), now, asked)?;
            bytes.drain(..=end);
        }
        if seen.ended {
            return Ok(());
        }
    }
}

async fn post(socket: &mut TcpStream, path: &str, body: &serde_json::Value) -> io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await
}

impl Seen {
    /// One line of a stream. Whatever the format around it, an event's text is `@NUMBER:TIME;`.
    fn line(&mut self, line: &str, now: u64, asked: Instant) -> io::Result<()> {
        if line.starts_with("event: error") {
            return Err(io::Error::other("an error event"));
        }
        self.ended |= line.starts_with("event: end") || line.contains("\"stop\":true");
        let Some((number, time)) = line.split_once('@').and_then(|(_, rest)| rest.split_once(';')?.0.split_once(':'))
        else {
            return Ok(());
        };
        if number.parse() != Ok(self.events.len()) {
            return Err(io::Error::other(format!("event {number} came where {} was due", self.events.len())));
        }
        if self.events.is_empty() {
            self.first = asked.elapsed();
        }
        let sent: u64 = time.parse().map_err(io::Error::other)?;
        self.events.push((now, now - sent));
        Ok(())
    }

    fn problem(&self, events: u64) -> Option<String> {
        (self.events.len() as u64 != events).then(|| format!("{} of {events} events", self.events.len()))
    }
}
