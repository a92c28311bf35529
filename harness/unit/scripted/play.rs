//! A scripted worker as a process, and raw requests to it. What comes back is text with everything volatile taken out,
//! so that two plays can be compared.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use regex::Regex;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What to play: the flags that choose it, none for the honest worker.
#[derive(Clone, Debug)]
pub struct Script(pub Vec<String>);

pub struct Play {
    child: Child,
    /// 0 until it is known.
    pub port: u16,
    log: Arc<Mutex<String>>,
}

impl Script {
    pub fn spawn(&self, flags: &[&str], variables: &[(&str, &str)]) -> Play {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llorch"));
        command.args(["scripted-worker", "--worker-id", "probe", "--port", "0", "--delay-ms", "1"]);
        command.args(flags).args(&self.0).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Play { child, port: 0, log }
    }

    /// Spawns it and waits until it listens.
    pub fn start(&self, flags: &[&str]) -> Play {
        self.start_with(flags, &[])
    }

    pub fn start_with(&self, flags: &[&str], variables: &[(&str, &str)]) -> Play {
        let mut play = self.spawn(flags, variables);
        let said = Regex::new(r#"port"?[:=]([1-9]\d*)"#).unwrap();
        let port = wait(PATIENCE, || said.captures(&play.log.lock().unwrap()).and_then(|found| found[1].parse().ok()));
        play.port = port.unwrap_or_else(|| panic!("{self:?} did not start: {}", play.log()));
        play
    }
}

/// Asks until there is something, up to the deadline.
pub fn wait<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

impl Play {
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// How it ended within the time, or that it did not.
    pub fn exit(&mut self, within: Duration) -> String {
        let status = wait(within, || self.child.try_wait().unwrap());
        status.map_or("still running".into(), |status| status.to_string())
    }

    pub fn log(&self) -> String {
        steady(&self.log.lock().unwrap())
    }

    pub fn log_says(&self, text: &str) -> bool {
        wait(PATIENCE, || self.log.lock().unwrap().contains(text).then_some(())).is_some()
    }

    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Open {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        let _ = socket.write_all(text.as_bytes()); // a refusal may come before all is written
        Open { socket, raw: Vec::new(), end: None }
    }

    pub fn get(&self, path: &str) -> String {
        self.request("GET", path, "", "").all()
    }

    pub fn post(&self, path: &str, body: &str) -> Open {
        self.request("POST", path, "Content-Type: application/json\r\n", body)
    }

    /// Starts a job; `more` are further members of the request.
    pub fn job(&self, id: &str, more: &str) -> Open {
        self.post("/execute", &format!("{{\"job_id\":\"{id}\",\"prompt\":\"by the river\"{more}}}"))
    }

    /// The text of a job from its token events.
    pub fn text(&self, more: &str) -> String {
        text_of(&self.job("text", more).all())
    }

    pub fn cancel(&self, id: &str) -> String {
        status_of(&self.post("/cancel", &format!("{{\"job_id\":\"{id}\"}}")).all())
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer that may still be coming.
pub struct Open {
    socket: TcpStream,
    raw: Vec<u8>,
    /// How the connection ended.
    end: Option<&'static str>,
}

impl Open {
    fn read_more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if self.end.is_some() || left.is_zero() {
            return false;
        }
        self.socket.set_read_timeout(Some(left)).unwrap();
        let mut buffer = [0; 65536];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.end = Some("closed"),
            Ok(count) => self.raw.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(_) => self.end = Some("reset"),
        }
        true
    }

    pub fn so_far(&self) -> String {
        steady(&String::from_utf8_lossy(&self.raw).replace("\u{fffd}", "<not UTF-8>"))
    }

    /// Reads until the text is there; false when it does not come.
    pub fn until(&mut self, text: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !String::from_utf8_lossy(&self.raw).contains(text) {
            if !self.read_more(deadline) || self.end.is_some() {
                return String::from_utf8_lossy(&self.raw).contains(text);
            }
        }
        true
    }

    pub fn within(&mut self, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        while self.end.is_none() && self.read_more(deadline) {}
        format!("{}[{}]", self.so_far(), self.end.unwrap_or("open"))
    }

    pub fn all(mut self) -> String {
        self.within(Duration::from_secs(3))
    }

    /// All of it as it came, the volatile parts too.
    pub fn unsteady(mut self) -> String {
        self.within(Duration::from_secs(3));
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// The names of its events in their order, runs drawn together, and how it ended.
    pub fn outline(mut self) -> String {
        let all = self.within(Duration::from_secs(3));
        let mut names: Vec<&str> = all.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        names.retain(|name| *name != "metrics");
        names.dedup();
        let status = status_of(&all);
        let error = all.lines().find(|line| line.contains("\"retriable\"") || line.contains("\"code\""));
        format!("{status} {names:?} {} {}", error.unwrap_or("no error"), self.end.unwrap_or("open"))
    }
}

pub fn status_of(raw: &str) -> String {
    raw.split(' ').nth(1).unwrap_or("no answer").to_string()
}

pub fn text_of(raw: &str) -> String {
    let token = Regex::new(r#"\{"t":("(?:[^"\\]|\\.)*")"#).unwrap();
    token.captures_iter(raw).map(|found| serde_json::from_str::<String>(&found[1]).unwrap()).collect()
}

/// Times, sizes and fresh ids replaced by what they are.
fn steady(text: &str) -> String {
    let patterns = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
        (r#"("(?:tokens_per_sec|decode_time_ms|duration_ms|uptime_seconds)":)\d+(\.\d+)?(e-?\d+)?"#, "${1}N"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r#""port":\d+"#, "PORT"),
        (r"Content-Length: \d+", "Content-Length: N"),
        (r"(?m)^(worker_(?:uptime|first|inter|inference)\S*) \S+$", "$1 N"),
        (r"\r\n[0-9a-f]+\r\n", "\r\nCHUNK\r\n"),
    ];
    patterns.iter().fold(text.to_string(), |text, (pattern, name)| {
        Regex::new(pattern).unwrap().replace_all(&text, *name).into_owned()
    })
}
