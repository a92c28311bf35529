//! An engine in `llama-server`'s form, as small as it can be: what its handoff file says of it is what a node must find.
//!
//! It says its own name as its text, so that whoever reads a stream knows which engine answered.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::http::Base;
use crate::harness::scripted::http_server::{Connection, Response};
use crate::harness::scripted::options::Script;

/// The context that it says its model has.
const CONTEXT: u64 = 64;

#[derive(Debug)]
pub struct Engine {
    pub base: Base,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    /// Answers nobody any more.
    gone: AtomicBool,
    /// Whether the last job that it was given asked for prefix reuse: 0 no job yet, 1 no, 2 yes.
    reuse: AtomicU64,
}

impl Engine {
    pub fn start(name: &str) -> io::Result<Engine> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let base = Base::local(listener.local_addr()?.port());
        let inner = Arc::new(Inner { name: name.into(), gone: AtomicBool::new(false), reuse: AtomicU64::new(0) });
        let served = inner.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let inner = served.clone();
                if inner.gone.load(Ordering::SeqCst) {
                    return; // the listener goes with this thread: nothing listens there any more
                }
                std::thread::spawn(move || drop(serve(socket, &inner)));
            }
        });
        Ok(Engine { base, inner })
    }

    /// What the handoff file of this engine says.
    pub fn handoff(&self, pool: &str) -> Value {
        json!({
            "pool_id": pool, "replica_id": "e0", "engine": "llamacpp", "engine_version": "b1",
            "provisioning_mode": "external", "url": self.base.to_string(), "model": {"id": "engine-model", "path": null},
            "device_mask": "0,1", "slots_total": 1, "slots_free": 1,
        })
    }

    /// What the last job asked for: prefix reuse, or none.
    pub fn last_reuse(&self) -> Option<bool> {
        match self.inner.reuse.load(Ordering::SeqCst) {
            0 => None,
            said => Some(said == 2),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.inner.gone.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((self.base.host.as_str(), self.base.port));
    }
}

fn serve(socket: TcpStream, inner: &Inner) -> io::Result<()> {
    let mut connection = Connection::new(socket, Script::default(), false)?;
    while let Some(request) = connection.read_request()? {
        if inner.gone.load(Ordering::SeqCst) {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if request.path == "/completion" {
            return complete(&connection.socket, &body, inner);
        }
        let answer = match request.path.as_str() {
            "/health" => json!({"status": "ok"}),
            "/props" => json!({
                "default_generation_settings": {"n_ctx": CONTEXT}, "total_slots": 1, "model_path": "/m.gguf",
                "model_alias": "engine-model", "build_info": inner.name,
            }),
            "/v1/models" => json!({"data": [{"meta": {"n_vocab": 100}}]}),
            "/slots" => json!([{"id": 0, "is_processing": false}]),
            "/tokenize" => {
                let length = body["content"].as_str().unwrap_or_default().len().min(CONTEXT as usize / 2);
                json!({"tokens": (0..length).collect::<Vec<_>>()})
            }
            _ => json!({}),
        };
        connection.respond(Response::json(200, &answer), request.keeps_alive())?;
    }
    Ok(())
}

fn complete(mut socket: &TcpStream, body: &Value, inner: &Inner) -> io::Result<()> {
    inner.reuse.store(1 + u64::from(body["cache_prompt"] == true), Ordering::SeqCst);
    socket.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    )?;
    let mut say = |data: Value| {
        let text = format!("data: {data}\n\n");
        write!(socket, "{:x}\r\n{text}\r\n", text.len())
    };
    let tokens = body["n_predict"].as_u64().unwrap_or(1).min(8);
    for token in 0..tokens {
        say(json!({"content": format!("{} ", inner.name), "tokens": [token], "stop": false}))?;
    }
    say(json!({
        "content": "", "tokens": [], "stop": true, "stop_type": "limit", "stopping_word": "",
        "tokens_predicted": tokens, "tokens_evaluated": 3, "timings": {"predicted_ms": 1.5},
    }))?;
    socket.write_all(b"0\r\n\r\n")
}
