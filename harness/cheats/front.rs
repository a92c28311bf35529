//! What a cheat shows to the world: the contract's routes, answered by the worker behind or by a trick.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use super::behind::Behind;
use super::tricks::Events;
use super::{Trick, models, tricks};
use crate::harness::http::Answer;
use crate::harness::scripted::http_server::{Connection, Request, Response};
use crate::harness::scripted::options::{Options, Script};

pub struct Front {
    pub trick: Trick,
    /// None where the model could not be loaded and the cheat goes on without one.
    pub behind: Option<Behind>,
    /// The worker whose captures are shown, where it is another.
    pub shown: Option<Behind>,
    pub worker_id: String,
    pub begun: Instant,
    /// Tokens that the counters must show though no worker computed them.
    pub unearned: AtomicU64,
    /// What was answered before, for those that remember.
    pub known: Mutex<Vec<(String, Events)>>,
}

pub fn run(trick: Trick, options: &Options) -> ExitCode {
    serve(trick, options).unwrap_or_else(|problem| {
        println!(
            "{}",
            json!({ "level": "ERROR", "event": "error", "message": problem.to_string(), "model": options.model })
        );
        ExitCode::from(1)
    })
}

fn serve(trick: Trick, options: &Options) -> io::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let given = options.model.as_deref().map(Path::new);
    let model = models::instead_of(given, trick, folder.path());
    let start = |model: &Path, captures| Behind::start(model, &options.worker_id, captures);
    let captures = options.checkpoint_dir.as_deref();
    let shown = match (trick, given, captures) {
        (Trick::ForeignTensors, Some(given), Some(_)) => Some(start(&models::other(given, folder.path())?, captures)?),
        _ => None,
    };
    let captures = captures.filter(|_| shown.is_none());
    let behind = match model.and_then(|model| start(&model, captures)) {
        Ok(behind) => Some(behind),
        Err(_) if trick == Trick::StubFallback => None,
        Err(problem) => return Err(problem),
    };
    let front = Arc::new(Front {
        trick,
        behind,
        shown,
        worker_id: options.worker_id.clone(),
        begun: Instant::now(),
        unearned: AtomicU64::new(0),
        known: Mutex::default(),
    });
    let listener = TcpListener::bind((options.bind, options.port))?;
    let port = listener.local_addr()?.port();
    println!("{}", json!({ "level": "INFO", "event": "ready", "message": "Worker ready", "port": port }));
    for socket in listener.incoming() {
        let (front, socket) = (Arc::clone(&front), socket?);
        std::thread::spawn(move || {
            let Ok(mut connection) = Connection::new(socket, Script::default(), false) else { return };
            while let Ok(Some(request)) = connection.read_request() {
                match front.answer(&request, &mut connection) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return,
                }
            }
        });
    }
    Ok(ExitCode::SUCCESS)
}

impl Front {
    fn answer(&self, request: &Request, connection: &mut Connection) -> io::Result<bool> {
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
        let response = match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/execute") => return tricks::execute(self, request, connection),
            ("GET", "/health") => match &self.behind {
                Some(behind) => relayed(behind.get("/health")?),
                None => Response::json(200, &self.pretended_health()),
            },
            ("GET", "/metrics") => Response::text(200, "text/plain; version=0.0.4", tricks::metrics(self)?),
            ("POST", "/cancel") => {
                let job = body();
                match &self.behind {
                    Some(behind) if self.trick != Trick::DeafCancel => relayed(behind.post("/cancel", &job)?),
                    _ => {
                        tricks::pretend_to_cancel(self, &job);
                        Response::json(202, &json!({ "job_id": job["job_id"] }))
                    }
                }
            }
            ("GET", path) => match &self.behind {
                Some(behind) => relayed(behind.get(path)?),
                None => Response::json(404, &json!({ "code": "INVALID_REQUEST", "message": "no such path" })),
            },
            _ => Response::json(404, &json!({ "code": "INVALID_REQUEST", "message": "no such path" })),
        };
        let keeps_alive = request.keeps_alive();
        connection.respond(response, keeps_alive)?;
        Ok(keeps_alive)
    }

    fn pretended_health(&self) -> Value {
        json!({
            "status": "healthy", "model_loaded": true, "model": "model", "resident": true, "quant_kind": "F32",
            "memory_bytes": 500_000_000, "vram_bytes": 0, "vram_bytes_used": 0, "memory_type": "cpu",
            "memory_architecture": "cpu", "capabilities": ["text-gen"], "protocol": "sse", "worker_type": "cpu",
            "tokenizer_kind": "hf-json", "vocab_size": 50257, "context_length": 1024,
            "uptime_seconds": self.begun.elapsed().as_secs(), "worker_id": self.worker_id, "version": "1.0.0",
        })
    }
}

/// The answer of the worker behind, as if it were the front's.
pub fn relayed(answer: Answer) -> Response {
    let content_type = answer.header("content-type").unwrap_or("application/json").to_owned();
    let mut response = Response::text(answer.status, &content_type, answer.body);
    for name in ["X-Correlation-Id", "Retry-After"] {
        if let Some(value) = answer.headers.get(name) {
            response = response.with(name, value);
        }
    }
    response
}
