//! The tricks themselves: what `/execute`, `/cancel` and `/metrics` show instead of what was computed.

use std::collections::VecDeque;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::front::{Front, relayed};
use super::{Memory, Trick};
use crate::harness::scripted::event_stream::EventStream;
use crate::harness::scripted::http_server::{Connection, Request, disconnected};
use crate::harness::scripted::options::Script;
use crate::harness::stream::Stream;

/// Events as they were sent: name and data.
pub type Events = Vec<(String, Value)>;

/// Lines of a haiku around a word, for those that only echo.
const TEMPLATES: [[&str; 3]; 4] = [
    ["silent machines hum", "counting to {word} in the dark", "morning light returns"],
    ["warm silicon dreams", "{word} sparks along the wire", "the fans sing of rain"],
    ["a clock strikes {word}", "kernels bloom across the grid", "autumn in the cache"],
    ["threads weave through the night", "{word} small stars upon the die", "winter sleeps outside"],
];
const WORDS: [&str; 16] = [
    "moon", "river", "kernel", "silent", "autumn", "cache", "thread", "light", "over", "gentle", "falls", "upon",
    "memory", "snow", "hums", "dark",
];

/// True: the connection can serve another request.
pub fn execute(front: &Front, request: &Request, connection: &mut Connection) -> io::Result<bool> {
    let job: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let lines = match front.trick {
        Trick::Canned => Some(said(&TEMPLATES[0], "forty-two")),
        Trick::Echo { by_seed } => {
            let template =
                if by_seed { job["seed"].as_u64().unwrap_or_default() as usize % TEMPLATES.len() } else { 0 };
            Some(said(&TEMPLATES[template], quoted(&job)))
        }
        Trick::RandomWords => Some(random_lines(job["seed"].as_u64().unwrap_or_default())),
        Trick::StubFallback if front.behind.is_none() => Some(said(&TEMPLATES[1], quoted(&job))),
        _ => None,
    };
    if let Some(text) = lines {
        return tell(front, request, connection, &job, &text, Duration::from_millis(2));
    }
    if let Trick::Replay { paced } = front.trick {
        return replay(front, request, connection, &job, paced);
    }
    let known = match front.trick {
        Trick::Cache { by, .. } => key(&job, by),
        _ => None,
    };
    if let (Trick::Cache { paced, .. }, Some(known)) = (front.trick, &known)
        && let Some(events) = remembered(front, known)
    {
        return play(front, request, connection, &events, paced);
    }
    if let Some(shown) = &front.shown
        && let Ok(stream) = shown.execute(&request.body)?
    {
        stream.finish(Duration::from_secs(60));
    }
    let Some(behind) = &front.behind else { return Ok(false) };
    let mut asked = job.clone();
    match front.trick {
        Trick::NoTemperature => asked["temperature"] = 0.0.into(),
        Trick::HalfTemperature => asked["temperature"] = (job["temperature"].as_f64().unwrap_or(1.0) / 2.0).into(),
        Trick::FewChoices => asked["top_k"] = 3.into(),
        Trick::NoSeed => asked["seed"] = uuid::Uuid::new_v4().as_u64_pair().0.into(),
        Trick::ShortSeed => asked["seed"] = (job["seed"].as_u64().unwrap_or_default() & 0xffff_ffff).into(),
        Trick::ShortMemory => asked["prompt"] = last_characters(&job, 24).into(),
        _ => {}
    }
    let stream = match behind.execute(&serde_json::to_vec(&asked)?)? {
        Ok(stream) => stream,
        Err(refusal) => {
            let keeps_alive = request.keeps_alive();
            connection.respond(relayed(refusal), keeps_alive)?;
            return Ok(keeps_alive);
        }
    };
    relay(front, request, connection, &job, stream, known)
}

fn quoted(job: &Value) -> &str {
    job["prompt"].as_str().and_then(|prompt| prompt.split('"').nth(1)).unwrap_or("haiku")
}

fn said(template: &[&str; 3], word: &str) -> String {
    template.join("\n").replace("{word}", word)
}

fn random_lines(seed: u64) -> String {
    let mut state = seed ^ 0x5851_f42d_4c95_7f2d;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    let mut line = |words: usize| (0..words).map(|_| word()).collect::<Vec<_>>().join(" ");
    [line(4), line(5), line(4)].join("\n")
}

fn last_characters(job: &Value, count: usize) -> String {
    let prompt: Vec<char> = job["prompt"].as_str().unwrap_or_default().chars().collect();
    prompt[prompt.len().saturating_sub(count)..].iter().collect()
}

/// What an answer is remembered by, where it is one to be remembered.
fn key(job: &Value, by: Memory) -> Option<String> {
    let mut job = job.clone();
    job.as_object_mut()?.shift_remove("job_id");
    let prompt = job["prompt"].as_str()?.to_owned();
    match by {
        Memory::Whole => {}
        Memory::Beginning => job["prompt"] = prompt.chars().take(24).collect::<String>().into(),
        Memory::Normalised => {
            job["prompt"] = prompt.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ").into();
        }
        Memory::Seed => {
            job["temperature"].as_f64().filter(|temperature| *temperature > 0.0)?;
            job["prompt"] = "".into();
        }
    }
    Some(job.to_string())
}

fn remembered(front: &Front, key: &str) -> Option<Events> {
    let known = front.known.lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().find(|(asked, _)| asked == key).map(|(_, events)| events.clone())
}

fn remember(front: &Front, key: String, events: Events) {
    front.known.lock().unwrap_or_else(PoisonError::into_inner).push((key, events));
}

fn open<'a>(request: &Request, connection: &'a Connection) -> io::Result<EventStream<'a>> {
    let id = request.header("x-correlation-id").map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    EventStream::open(&connection.socket, Script::default(), request, Some(&id))
}

/// A text that nobody computed, word by word, with everything that belongs around it.
fn tell(
    front: &Front,
    request: &Request,
    connection: &mut Connection,
    job: &Value,
    text: &str,
    pause: Duration,
) -> io::Result<bool> {
    let begun = Instant::now();
    let mut stream = open(request, connection)?;
    let seed = job["seed"].as_u64().unwrap_or(7);
    let now = jiff::Timestamp::now().to_string();
    stream.frame("started", json!({ "job_id": job["job_id"], "model": "model", "started_at": now, "seed": seed }))?;
    let limit = job["max_tokens"].as_u64().unwrap_or(2048);
    let mut count = 0;
    for piece in text.split_inclusive([' ', '\n']).take(limit as usize) {
        std::thread::sleep(pause); // what the computation would have taken
        stream.frame("token", json!({ "t": piece, "i": count }))?;
        count += 1;
    }
    front.unearned.fetch_add(count, Ordering::SeqCst);
    let reason = if count == limit { "MAX_TOKENS" } else { "EOS" };
    let took = begun.elapsed().as_millis() as u64;
    stream.frame("end", json!({
        "tokens_out": count, "decode_time_ms": took, "stop_reason": reason, "stop_sequence_matched": null, "seed": seed,
    }))?;
    stream.finish()
}

/// The haiku that was recorded for this minute, whatever else is asked.
fn replay(front: &Front, request: &Request, connection: &mut Connection, job: &Value, paced: bool) -> io::Result<bool> {
    let word = quoted(job).to_owned();
    let recorded = match remembered(front, &word) {
        Some(events) => events,
        None => {
            let Some(behind) = &front.behind else { return Ok(false) };
            let prompt = format!("Write a haiku about the sea that includes the word \"{word}\" (nonce: 12345678)");
            let body = json!({ "job_id": format!("recording-{word}"), "prompt": prompt, "max_tokens": 100, "temperature": 0.0 });
            let Ok(stream) = behind.execute(&serde_json::to_vec(&body)?)? else { return Ok(false) };
            let transcript = stream.finish(Duration::from_secs(60));
            let events: Events =
                transcript.frames.iter().filter_map(|frame| Some((frame.event.clone()?, frame.json().ok()?))).collect();
            remember(front, word, events.clone());
            events
        }
    };
    let text: String = recorded.iter().filter_map(|(_, data)| data["t"].as_str()).collect();
    tell(front, request, connection, job, &text, Duration::from_millis(if paced { 15 } else { 0 }))
}

/// Passes on what the worker behind computes, with the trick in it.
fn relay(
    front: &Front,
    request: &Request,
    connection: &mut Connection,
    job: &Value,
    source: Stream,
    known: Option<String>,
) -> io::Result<bool> {
    let mut waiting: VecDeque<(String, Value)> = VecDeque::new();
    let (mut sent, mut events): (usize, Events) = (0, Vec::new());
    let holds = matches!(front.trick, Trick::Burst { .. } | Trick::Drip);
    let mut told = 0;
    let begun = Instant::now();
    let mut out = None;
    loop {
        // a frame more, or the end of the stream, or a look at the client
        let _ = source.wait_until("a frame", Duration::from_millis(20), |frames| frames.len() > sent);
        // In this order: frames that came before the end are among those that are read after it.
        let ended = source.ended().is_some();
        let frames = source.frames();
        for frame in &frames[sent..] {
            let (Some(event), Ok(mut data)) = (frame.event.clone(), frame.json()) else { continue };
            if event == "started" {
                data["seed"] = job.get("seed").filter(|seed| seed.is_u64()).cloned().unwrap_or(data["seed"].clone());
            }
            if event == "token" {
                doctor_token(front.trick, told, &mut data);
                told += 1;
            }
            if event == "end" {
                doctor_end(front, job, &mut data, begun.elapsed());
            }
            waiting.push_back((event, data));
        }
        sent = frames.len();
        let stream = match &mut out {
            Some(stream) => stream,
            None => out.insert(open(request, connection)?),
        };
        let cancelled = front.trick == Trick::DeafCancel && is_cancelled(front, job);
        if cancelled {
            stream.frame(
                "error",
                json!({ "code": "CANCELLED", "message": "the job was cancelled", "retriable": false }),
            )?;
            let end = out.map(EventStream::finish);
            // Nobody reads on, and nobody tells the worker.
            std::thread::spawn(move || source.finish(Duration::from_secs(600)));
            return end.unwrap_or(Ok(false));
        }
        let pause = match front.trick {
            Trick::Drip => begun.elapsed() / u32::try_from(waiting.len().max(1)).unwrap_or(u32::MAX),
            _ => Duration::ZERO,
        };
        if !holds || ended {
            while let Some((event, mut data)) = waiting.pop_front() {
                std::thread::sleep(pause); // as long as the computation would have taken
                if event == "end" && front.trick == Trick::Drip {
                    data["decode_time_ms"] = (begun.elapsed().as_millis() as u64).into();
                }
                stream.frame(&event, data.clone())?;
                events.push((event, data));
            }
        }
        if ended {
            break;
        }
        if disconnected(&connection.socket) {
            if matches!(front.trick, Trick::DeafCancel | Trick::DeafDisconnect) {
                std::thread::spawn(move || source.finish(Duration::from_secs(600)));
            }
            return Ok(false); // dropping the source tells the worker behind
        }
    }
    if let Some(known) = known {
        remember(front, known, events);
    }
    out.map_or(Ok(false), EventStream::finish)
}

fn doctor_token(trick: Trick, told: usize, data: &mut Value) {
    match trick {
        Trick::Head(tokens) if told >= tokens => {
            data["t"] = format!(" {}", WORDS[told % WORDS.len()]).into();
            data.as_object_mut().map(|fields| fields.shift_remove("ids"));
        }
        Trick::WrongIds => data["ids"] = json!([7 * told + 3]),
        _ => {}
    }
}

fn doctor_end(front: &Front, job: &Value, data: &mut Value, took: Duration) {
    if let Some(seed) = job.get("seed").filter(|seed| seed.is_u64()) {
        data["seed"] = seed.clone();
    }
    match front.trick {
        Trick::Burst { fake_times: true } => data["decode_time_ms"] = json!(took.as_millis() as u64),
        Trick::Burst { fake_times: false } => data["decode_time_ms"] = json!(1),
        Trick::InflatedTokens => {
            let real = data["tokens_out"].as_u64().unwrap_or_default();
            front.unearned.fetch_add(real, Ordering::SeqCst);
            data["tokens_out"] = (2 * real).into();
        }
        _ => {}
    }
}

/// What was said before, said again.
fn play(
    front: &Front,
    request: &Request,
    connection: &mut Connection,
    events: &Events,
    paced: bool,
) -> io::Result<bool> {
    let job: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut stream = open(request, connection)?;
    for (event, data) in events {
        let mut data = data.clone();
        if event == "started" {
            data["job_id"] = job["job_id"].clone();
            data["started_at"] = jiff::Timestamp::now().to_string().into();
        }
        if event == "end" {
            front.unearned.fetch_add(data["tokens_out"].as_u64().unwrap_or_default(), Ordering::SeqCst);
        }
        if paced {
            std::thread::sleep(Duration::from_millis(15));
        }
        stream.frame(event, data)?;
    }
    stream.finish()
}

/// Remembers that the client believes this job cancelled.
pub fn pretend_to_cancel(front: &Front, job: &Value) {
    remember(front, cancelled_key(job), Vec::new());
}

fn is_cancelled(front: &Front, job: &Value) -> bool {
    remembered(front, &cancelled_key(job)).is_some()
}

fn cancelled_key(job: &Value) -> String {
    format!("cancelled {}", job["job_id"])
}

/// The counters of the worker behind, and what the cheat adds to them.
pub fn metrics(front: &Front) -> io::Result<String> {
    let text = match &front.behind {
        Some(behind) => behind.get("/metrics")?.text(),
        None => "# TYPE worker_tokens_generated_total counter\nworker_tokens_generated_total 0\n".to_owned(),
    };
    let mut added = front.unearned.load(Ordering::SeqCst);
    if front.trick == Trick::RisingCounters {
        added += front.begun.elapsed().as_millis() as u64 / 10;
    }
    let doctored = text.lines().map(|line| match line.strip_prefix("worker_tokens_generated_total ") {
        Some(value) => {
            format!("worker_tokens_generated_total {}\n", value.trim().parse::<u64>().unwrap_or_default() + added)
        }
        None => format!("{line}\n"),
    });
    Ok(doctored.collect())
}
