//! A hub of models on loopback, as the real `hf` command wants one: a repository's head, the listing of its tree, and its
//! files with their entity tags, whole or from a byte on.
//!
//! What can go wrong on the way is played on demand: the connection is cut in the middle of the weights, or falls silent
//! there, or the weights are others than the listing says. Every request is remembered.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The one commit of every repository here.
const COMMIT: &str = "1c0ffee1c0ffee1c0ffee1c0ffee1c0ffee1c0ff";
const LARGEST_HEAD: usize = 64 << 10;

/// What happens to the weights on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    None,
    /// The first connection that brings them ends half-way.
    Cut,
    /// The first connection that brings them falls silent half-way.
    Silent,
    /// They are not those whose digest the hub tells.
    OtherBytes,
}

/// One file of the repository.
#[derive(Clone, Debug)]
struct Served {
    name: String,
    bytes: Vec<u8>,
    /// Large files are kept apart, and their entity tag is their SHA-256.
    is_large: bool,
    /// As the hub tells it: of these bytes, unless they were exchanged.
    tag: String,
}

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// `bytes=17-`
    pub range: Option<String>,
}

pub struct Hub {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    repo: String,
    files: Vec<Served>,
    mishap: Mishap,
    /// It happens once.
    happened: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    /// Whether somebody waits in a silence.
    silent: AtomicBool,
    over: AtomicBool,
}

impl fmt::Debug for Hub {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Hub").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Hub {
    /// Serves the files of this folder as the repository; weights are large files, all else is small.
    pub fn serve(repo: &str, folder: &Path, mishap: Mishap) -> io::Result<Hub> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.push(Served::new(name, std::fs::read(&path)?, mishap));
            }
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            repo: repo.to_owned(),
            files,
            mishap,
            happened: AtomicBool::new(false),
            asked: Mutex::default(),
            silent: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::Builder::new().name("hub".into()).spawn(move || {
            for socket in listener.incoming().flatten() {
                if serving.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&serving);
                // A client that goes away, or a thread that can't be had, ends this connection and no other.
                let _ = std::thread::Builder::new().name("hub connection".into()).spawn(move || shared.answer(socket));
            }
        })?;
        Ok(Hub { port, shared })
    }

    /// For `HF_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// True once a connection has fallen silent.
    pub fn is_silent(&self) -> bool {
        self.shared.silent.load(Ordering::Relaxed)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener, so that its thread ends; where that fails, it ends with the process.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Served {
    fn new(name: String, mut bytes: Vec<u8>, mishap: Mishap) -> Served {
        let is_large = name.ends_with(".safetensors") || name.ends_with(".gguf");
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if is_large
            && mishap == Mishap::OtherBytes
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        // A small file's tag is its blob's name, of the length of a SHA-1; only that is looked at.
        let tag = if is_large { digest } else { digest[..40].to_owned() };
        Served { name, bytes, is_large, tag }
    }

    /// As a repository's head has it, asked for with `blobs=true`.
    fn sibling(&self) -> Value {
        let mut entry = json!({ "rfilename": self.name, "size": self.bytes.len(), "blobId": self.tag[..40] });
        if self.is_large {
            entry["lfs"] = json!({ "sha256": self.tag, "size": self.bytes.len(), "pointerSize": 134 });
        }
        entry
    }

    fn listed(&self) -> Value {
        let mut entry = json!({ "type": "file", "path": self.name, "size": self.bytes.len(), "oid": self.tag[..40] });
        if self.is_large {
            entry["lfs"] = json!({ "oid": self.tag, "size": self.bytes.len(), "pointerSize": 134 });
        }
        entry
    }
}

impl Shared {
    /// One request, one answer.
    fn answer(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let asked = read_head(&mut socket)?;
        lock(&self.asked).push(asked.clone());
        let (repo, path) = (&self.repo, asked.path.split('?').next().unwrap_or_default());
        if path == format!("/api/models/{repo}/revision/main") || path == format!("/api/models/{repo}") {
            let siblings: Vec<Value> = self.files.iter().map(Served::sibling).collect();
            return json_answer(&mut socket, &json!({ "id": repo, "sha": COMMIT, "siblings": siblings, "tags": [] }));
        }
        if path == format!("/api/models/{repo}/tree/{COMMIT}") {
            let listing: Vec<Value> = self.files.iter().map(Served::listed).collect();
            return json_answer(&mut socket, &Value::Array(listing));
        }
        let name = path.strip_prefix(&format!("/{repo}/resolve/{COMMIT}/"));
        match name.and_then(|name| self.files.iter().find(|file| file.name == name)) {
            Some(file) => self.send(&mut socket, &asked, file),
            None => {
                let code = if path.contains(repo.as_str()) { "EntryNotFound" } else { "RepoNotFound" };
                head(&mut socket, "404 Not Found", &[("X-Error-Code", code), ("Content-Length", "0")])
            }
        }
    }

    fn send(&self, socket: &mut TcpStream, asked: &Asked, file: &Served) -> io::Result<()> {
        let all = file.bytes.len();
        let range = asked.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let from = range.and_then(|from| from.parse::<usize>().ok()).filter(|from| *from < all);
        let rest = &file.bytes[from.unwrap_or(0)..];
        let (tag, length, size) = (format!("\"{}\"", file.tag), rest.len().to_string(), all.to_string());
        let content_range = format!("bytes {}-{}/{all}", from.unwrap_or(0), all.saturating_sub(1));
        let mut headers = vec![
            ("ETag", tag.as_str()),
            ("X-Repo-Commit", COMMIT),
            ("Accept-Ranges", "bytes"),
            ("Content-Length", &length),
            ("Content-Type", "application/octet-stream"),
        ];
        if file.is_large {
            headers.extend([("X-Linked-ETag", tag.as_str()), ("X-Linked-Size", &size)]);
        }
        if from.is_some() {
            headers.push(("Content-Range", &content_range));
        }
        head(socket, if from.is_some() { "206 Partial Content" } else { "200 OK" }, &headers)?;
        if asked.method == "HEAD" {
            return Ok(());
        }
        let strikes = file.is_large && matches!(self.mishap, Mishap::Cut | Mishap::Silent);
        if strikes && !self.happened.swap(true, Ordering::Relaxed) {
            socket.write_all(&rest[..rest.len() / 2])?;
            socket.flush()?;
            if self.mishap == Mishap::Silent {
                self.silent.store(true, Ordering::Relaxed);
                // Until the other side gives up, or is ended.
                let _ = socket.read(&mut [0]);
            }
            return Ok(());
        }
        socket.write_all(rest)
    }
}

fn read_head(socket: &mut TcpStream) -> io::Result<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = socket.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 || bytes.len() > LARGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let fields = lines.filter_map(|line| line.split_once(':'));
    let mut ranges = fields.filter(|(name, _)| name.eq_ignore_ascii_case("range"));
    let range = ranges.next().map(|(_, value)| value.trim().to_owned());
    Ok(Asked { method, path, range })
}

fn head(socket: &mut TcpStream, status: &str, headers: &[(&str, &str)]) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    socket.write_all(text.as_bytes())
}

fn json_answer(socket: &mut TcpStream, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len().to_string();
    head(socket, "200 OK", &[("Content-Type", "application/json"), ("Content-Length", &length)])?;
    socket.write_all(body.as_bytes())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
