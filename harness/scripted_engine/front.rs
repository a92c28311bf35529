//! The routes, and where the mistakes are made.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::words::{self, Answer, Ending};
use super::{Options, Slip};
use crate::harness::api::Api;
use crate::harness::cheats::behind::Behind;
use crate::harness::ladder::reference::Reference;
use crate::harness::scripted::http_server::{Connection, Request, Response, disconnected};
use crate::harness::scripted::options::Script;
use crate::harness::selection::ModelFormat;
use crate::harness::sse::Frame;
use crate::harness::stream::Stream;
use crate::harness::tiny_model;
use crate::harness::transcript::is_terminal;

const CANNED: &str = "silent machines hum\ncounting forty-two in the dark\nmorning light returns";
/// Between two looks at whether the client is still there.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(600);

struct Front {
    slip: Option<Slip>,
    behind: Behind,
    reference: Option<Reference>,
    model: String,
    api_key: Option<String>,
    context: u64,
    working: AtomicUsize,
}

pub fn run(options: Options) -> io::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let path = match options.slip {
        Some(Slip::OtherModel) => tiny_model::write(folder.path(), ModelFormat::Gguf)?,
        _ => options.model.clone(),
    };
    let behind = Behind::start(&path, "scripted-engine", None)?;
    let health: Value = serde_json::from_slice(&behind.get("/health")?.body)?;
    let front = Arc::new(Front {
        slip: options.slip,
        behind,
        reference: Reference::open(&path).ok(),
        model: options.alias.unwrap_or_else(|| options.model.display().to_string()),
        api_key: options.api_key,
        context: health["context_length"].as_u64().unwrap_or(256),
        working: AtomicUsize::new(0),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
    println!("scripted-engine: listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (front, socket) = (Arc::clone(&front), socket?);
        std::thread::spawn(move || {
            let Ok(mut connection) = Connection::new(socket, Script::default(), false) else { return };
            while let Ok(Some(request)) = connection.read_request() {
                if !matches!(front.answer(&request, &mut connection), Ok(true)) {
                    return;
                }
            }
        });
    }
    Ok(ExitCode::SUCCESS)
}

impl Front {
    fn makes(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }

    /// True: the connection serves another request.
    fn answer(&self, request: &Request, connection: &mut Connection) -> io::Result<bool> {
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let keyed =
            self.api_key.as_ref().is_none_or(|key| request.header("authorization") == Some(&format!("Bearer {key}")));
        let (method, path) = (request.method.as_str(), request.path.as_str());
        let response = match (method, path) {
            ("GET", "/health") => Response::json(200, &json!({ "status": "ok" })),
            _ if !keyed => Response::json(401, &words::error(401, "Invalid API Key")),
            ("GET", "/props") => Response::json(200, &self.properties()),
            ("GET", "/v1/models") => Response::json(200, &self.models()),
            ("GET", "/slots") => {
                let works = self.working.load(Ordering::SeqCst) > 0;
                Response::json(200, &json!([{ "id": 0, "n_ctx": self.context, "is_processing": works }]))
            }
            ("POST", "/tokenize") => {
                let text = body.unwrap_or_default()["content"].as_str().unwrap_or_default().to_owned();
                let tokens = self.reference.as_ref().map(|reference| reference.encode(&text)).unwrap_or_default();
                Response::json(200, &json!({ "tokens": tokens }))
            }
            ("POST", "/completion") => return self.complete(Api::Llamacpp, false, request, connection, body),
            ("POST", "/v1/completions") => return self.complete(Api::Openai, false, request, connection, body),
            ("POST", "/v1/chat/completions") => return self.complete(Api::Openai, true, request, connection, body),
            _ => Response::json(404, &words::error(404, "File Not Found")),
        };
        let keeps_alive = request.keeps_alive();
        connection.respond(response, keeps_alive)?;
        Ok(keeps_alive)
    }

    fn properties(&self) -> Value {
        json!({
            "default_generation_settings": { "n_ctx": self.context }, "total_slots": 1, "model_alias": self.model,
            "model_path": self.model, "build_info": "scripted",
        })
    }

    fn models(&self) -> Value {
        let vocabulary = self.reference.as_ref().map_or(1000, |reference| reference.file.configuration.vocab_size());
        let meta = json!({ "n_vocab": vocabulary, "n_ctx": self.context });
        json!({ "object": "list", "data": [{ "id": self.model, "object": "model", "meta": meta }] })
    }

    fn refuse(&self, request: &Request, connection: &mut Connection, message: &str) -> io::Result<bool> {
        let said = if self.makes(Slip::ErrorWithoutMessage) { json!({}) } else { words::error(400, message) };
        let keeps_alive = request.keeps_alive();
        connection.respond(Response::json(400, &said), keeps_alive)?;
        Ok(keeps_alive)
    }

    fn complete(
        &self,
        api: Api,
        chat: bool,
        request: &Request,
        connection: &mut Connection,
        body: Option<Value>,
    ) -> io::Result<bool> {
        let body = match body.filter(Value::is_object) {
            Some(body) => body,
            None if self.makes(Slip::TakesAnything) => json!({ "prompt": "Hello.", "stream": true }),
            None => return self.refuse(request, connection, "the body is no JSON object"),
        };
        let mut job = words::job(api, &body);
        match self.slip {
            Some(Slip::SeedIgnored) => job["seed"] = uuid::Uuid::new_v4().as_u64_pair().0.into(),
            Some(Slip::TemperatureIgnored) => job["temperature"] = 0.0.into(),
            Some(Slip::StopIgnored) => drop(job.as_object_mut().and_then(|job| job.shift_remove("stop"))),
            Some(Slip::WholeDiffers) if body["stream"] != true => job["prompt"] = "Another".into(),
            Some(Slip::ContextIgnored) => {
                let cut: String = job["prompt"].as_str().unwrap_or_default().chars().take(64).collect();
                job["prompt"] = cut.into();
            }
            _ => {}
        }
        let mut answered = self.behind.execute(job.to_string().as_bytes())?;
        if self.makes(Slip::TakesAnything) && answered.is_err() {
            let anything = json!({ "job_id": job["job_id"], "prompt": "Hello.", "max_tokens": 4 });
            answered = self.behind.execute(anything.to_string().as_bytes())?;
        }
        let stream = match answered {
            Ok(stream) => stream,
            Err(refusal) => {
                let message = refusal.json().map(|body| body["errors"].to_string()).unwrap_or_default();
                return self.refuse(request, connection, &message);
            }
        };
        let prompt = job["prompt"].as_str().unwrap_or_default();
        let counted = self.reference.as_ref().map_or(0, |reference| reference.encode(prompt).len() as u64);
        let answer = Answer {
            api,
            chat,
            id: format!("cmpl-{}", uuid::Uuid::new_v4().simple()),
            model: self.model.clone(),
            prompt_tokens: counted - u64::from(self.makes(Slip::PromptWrong)),
            created: jiff::Timestamp::now().as_second(),
            asked: body.clone(),
        };
        self.working.fetch_add(1, Ordering::SeqCst);
        let told = if body["stream"] == true {
            self.stream(&answer, &stream, connection)
        } else {
            self.whole(&answer, &stream, connection)
        };
        if self.makes(Slip::Deaf) || (self.makes(Slip::DeafWhole) && body["stream"] != true) {
            let _ = stream.wait_until("its end", PATIENCE, |frames| frames.iter().any(is_terminal));
        }
        drop(stream); // its job ends with it
        self.working.fetch_sub(1, Ordering::SeqCst);
        told
    }

    /// The events of the worker behind, each as it comes, until its end or until the client has gone.
    fn each(
        &self,
        stream: &Stream,
        socket: &TcpStream,
        mut take: impl FnMut(&Frame) -> io::Result<()>,
    ) -> io::Result<Option<Frame>> {
        let mut seen = 0;
        loop {
            let _ = stream.wait_until("another event", LOOK, |frames| frames.len() > seen);
            let is_over = stream.ended().is_some(); // asked first: what came before the end is then all there
            for frame in stream.frames().into_iter().skip(seen) {
                seen += 1;
                if frame.is("token") {
                    take(&frame)?;
                } else if is_terminal(&frame) {
                    return Ok(Some(frame));
                }
            }
            if is_over || disconnected(socket) {
                return Ok(None);
            }
        }
    }

    fn canned(&self, answer: &Answer) -> Option<String> {
        let prompt = answer.asked["prompt"].as_str().unwrap_or_default();
        match self.slip {
            Some(Slip::Canned) => Some(CANNED.to_owned()),
            Some(Slip::Echo) => Some(CANNED.replace("forty-two", prompt.split('"').nth(1).unwrap_or("haiku"))),
            _ => None,
        }
    }

    fn stream(&self, answer: &Answer, stream: &Stream, connection: &mut Connection) -> io::Result<bool> {
        let mut socket = &connection.socket;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes())?;
        let named = if self.makes(Slip::NamedEvents) { "event: token\n" } else { "" };
        let mut held = Vec::new();
        let mut say = |data: &str, held: &mut Vec<u8>| {
            let event = format!("{named}data: {data}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            if self.makes(Slip::Burst) {
                held.extend(chunk.into_bytes());
                return Ok(());
            }
            socket.write_all(chunk.as_bytes())
        };
        let began = Instant::now();
        let mut made = 0;
        let mut tell = |text: &str, ids: &Value, held: &mut Vec<u8>| {
            made += ids.as_array().map_or(1, Vec::len) as u64;
            say(&answer.text(text, ids, made).to_string(), held)
        };
        let mut end = None;
        if let Some(text) = self.canned(answer) {
            let limit = limit(&answer.asked);
            for (at, word) in text.split_inclusive([' ', '\n']).take(limit).enumerate() {
                tell(word, &json!([at]), &mut held)?;
            }
        } else {
            end = self.each(stream, &connection.socket, |frame| {
                let data = frame.json().unwrap_or_default();
                let ids = if data["ids"].is_array() { data["ids"].clone() } else { json!([data["id"]]) };
                tell(data["t"].as_str().unwrap_or_default(), &ids, &mut held)
            })?;
            if end.is_none() {
                return Ok(false); // the client has gone
            }
        }
        let told = end.and_then(|frame| frame.json().ok()).unwrap_or_default();
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        let mut ending = self.ending(answer, &told, made, milliseconds);
        ending.made += u64::from(self.makes(Slip::MadeWrong));
        let mut last = answer.end(&ending, "", &json!([]));
        match (self.slip, answer.api) {
            (Some(Slip::AnotherId), Api::Openai) => last["id"] = "cmpl-another".into(),
            (Some(Slip::AnotherId), _) => last["generation_settings"]["seed"] = 5.into(),
            (Some(Slip::NoReason), Api::Openai) => last["choices"][0]["finish_reason"] = Value::Null,
            (Some(Slip::NoReason), _) => last["stop"] = false.into(),
            _ => {}
        }
        if self.makes(Slip::EmptyEvent) {
            say("{\"content\": ", &mut held)?;
        }
        if self.makes(Slip::CutShort) {
            return Ok(false);
        }
        say(&last.to_string(), &mut held)?;
        if self.makes(Slip::TextAfterEnd) {
            say(&answer.text("more", &json!([1]), ending.made).to_string(), &mut held)?;
        }
        if (answer.api == Api::Openai) != self.makes(Slip::NoDone) {
            say("[DONE]", &mut held)?;
        }
        held.extend(b"0\r\n\r\n");
        (&connection.socket).write_all(&held)?;
        Ok(true)
    }

    fn whole(&self, answer: &Answer, stream: &Stream, connection: &mut Connection) -> io::Result<bool> {
        let began = Instant::now();
        let (mut text, mut ids) = (String::new(), Vec::new());
        let mut end = None;
        if let Some(canned) = self.canned(answer) {
            text = canned.split_inclusive([' ', '\n']).take(limit(&answer.asked)).collect();
            ids = (0..text.split_inclusive([' ', '\n']).count()).map(Value::from).collect();
        } else {
            end = self.each(stream, &connection.socket, |frame| {
                let data = frame.json().unwrap_or_default();
                text.push_str(data["t"].as_str().unwrap_or_default());
                match &data["ids"] {
                    Value::Array(several) => ids.extend(several.clone()),
                    _ => ids.push(data["id"].clone()),
                }
                Ok(())
            })?;
            if end.is_none() {
                return Ok(false);
            }
        }
        let told = end.and_then(|frame| frame.json().ok()).unwrap_or_default();
        let ending = self.ending(answer, &told, ids.len() as u64, began.elapsed().as_secs_f64() * 1e3);
        connection.respond(Response::json(200, &answer.end(&ending, &text, &ids.into())), true)?;
        Ok(true)
    }

    /// What the worker behind told, or what a text that nobody computed amounts to.
    fn ending<'a>(&self, answer: &Answer, told: &'a Value, made: u64, milliseconds: f64) -> Ending<'a> {
        let reason = match told["stop_reason"].as_str() {
            Some("MAX_TOKENS") => "limit",
            Some("STOP_SEQUENCE") => "word",
            None if made as usize == limit(&answer.asked) => "limit",
            _ => "eos",
        };
        let word = told["stop_sequence_matched"].as_str().unwrap_or_default();
        let milliseconds = told["decode_time_ms"].as_f64().unwrap_or(milliseconds);
        Ending { reason, word, made: told["tokens_out"].as_u64().unwrap_or(made), milliseconds }
    }
}

/// How many tokens a request asks for.
fn limit(asked: &Value) -> usize {
    let told = [&asked["n_predict"], &asked["max_tokens"]].into_iter().find_map(Value::as_u64);
    told.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}
