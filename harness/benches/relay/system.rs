//! The programs of a run, and what two of them must agree on: the clock, and where one message ends.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use llorch::harness::http::{Base, Request, send};
use llorch::harness::process::{Command, Process};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);
pub const MODEL: &str = "clockwork";

/// The engine, and two hops that lead to it.
pub struct System {
    _engine: Process,
    pub engine_port: u16,
    pub hops: Vec<(&'static str, Process)>,
    pub hop_port: u16,
}

impl System {
    pub fn start(slots: usize) -> Result<System, Box<dyn std::error::Error>> {
        raise_file_limit()?;
        let own = std::env::current_exe()?;
        let role = |words: [String; 2]| -> Result<(Process, u16), Box<dyn std::error::Error>> {
            let process = Process::spawn(Command::new(&own).arguments(words))?;
            let line =
                process.wait_for_line("a port", PATIENCE, |line| line.text.starts_with("port ")).map_err(problem)?;
            let port = line.text["port ".len()..].parse()?;
            Ok((process, port))
        };
        let (engine, engine_port) = role(["engine".into(), slots.to_string()])?;
        let (second, second_port) = role(["hop".into(), engine_port.to_string()])?;
        let (first, hop_port) = role(["hop".into(), second_port.to_string()])?;
        Ok(System { _engine: engine, engine_port, hops: vec![("first hop", first), ("second hop", second)], hop_port })
    }
}

/// An orchestrator with one node, whose engine this is.
pub struct Daemons {
    pub port: u16,
    pub processes: Vec<(&'static str, Process)>,
    _folder: tempfile::TempDir,
}

impl Daemons {
    pub fn start(programs: &Path, engine: u16) -> Result<Daemons, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let handoff = json!({
            "pool_id": "pool-0", "replica_id": "r0", "engine": "llamacpp", "url": format!("http://127.0.0.1:{engine}"),
            "model": {"id": MODEL},
        });
        fs::create_dir(path("engines"))?;
        fs::write(path("engines/pool-0-r0.json"), handoff.to_string())?;
        let orchestrator = Command::new(programs.join("orchestratord"))
            .variable("ORCHD_ADDR", "127.0.0.1:0")
            .variable("ORCHD_ADMISSION_CAPACITY", "-1")
            .variable("ORCHD_STATE_DIR", &path("state"));
        let (orchestrator, port) = started(orchestrator)?;
        let manager = Command::new(programs.join("pool-managerd"))
            .variable("POOL_MANAGERD_ADDR", "127.0.0.1:0")
            .variable("POOL_MANAGERD_RUNTIME_DIR", &path("engines"))
            .variable("LLORCH_POOL_DIR", &path(""))
            .variable("ORCHESTRATORD_URL", &format!("http://127.0.0.1:{port}"));
        let (manager, _) = started(manager)?;
        let until = Instant::now() + PATIENCE;
        let health = Request::get("/v2/pools/pool-0/health");
        loop {
            let answer = send(&Base::local(port), &health, PATIENCE);
            if answer.is_ok_and(|answer| answer.json().is_ok_and(|pool| pool["ready"] == true)) {
                break;
            }
            if Instant::now() > until {
                return Err(format!("the pool is not ready:\n{}", manager.log_tail(20)).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Daemons {
            port,
            processes: vec![("orchestratord", orchestrator), ("pool-managerd", manager)],
            _folder: folder,
        })
    }
}

fn started(command: Command) -> Result<(Process, u16), Box<dyn std::error::Error>> {
    let process = Process::spawn(command)?;
    let is_ready = |line: &str| line.contains("\"event\":\"ready\"");
    let line = process.wait_for_line("ready", PATIENCE, |line| is_ready(&line.text)).map_err(problem)?;
    let line: Value = serde_json::from_str(&line.text)?;
    let port = line["port"].as_u64().and_then(|port| u16::try_from(port).ok()).ok_or("no port")?;
    Ok((process, port))
}

fn problem(finding: llorch::harness::Finding) -> String {
    format!("{finding:?}")
}

/// Nanoseconds of a clock that all processes share.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

pub fn listen(address: Ipv4Addr) -> io::Result<TcpListener> {
    raise_file_limit()?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(address), 0))?;
    socket.listen(4096)
}

/// A stream takes a socket on either side.
fn raise_file_limit() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// The next head and body on a connection; `None` at its end. Bodies have a length: those without are streams.
pub async fn message(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
            let whole = end + 4 + head.lines().find_map(length).unwrap_or(0_usize);
            if bytes.len() >= whole {
                let body = bytes[end + 4..whole].to_vec();
                bytes.drain(..whole);
                return Ok(Some((head, body)));
            }
        }
        if socket.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}
