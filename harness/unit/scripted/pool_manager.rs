//! A pool manager that hears ready callbacks, and the probes that need one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regex::Regex;

use super::play::{Play, Script, wait};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// Listens; each callback gets the status, or nothing at all where it is 0.
    fn listen(&self, status: u16) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ready", listener.local_addr().unwrap());
        let heard = self.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let heard = heard.clone();
                std::thread::spawn(move || heard.hear(socket, status));
            }
        });
        url
    }

    fn hear(&self, mut socket: TcpStream, status: u16) {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (mut raw, mut buffer) = (String::new(), [0; 4096]);
        let whole = |raw: &str| raw.ends_with('}') || (raw.starts_with("GET") && raw.contains("\r\n\r\n"));
        while !whole(&raw) {
            match socket.read(&mut buffer) {
                Ok(count) if count > 0 => raw += &String::from_utf8_lossy(&buffer[..count]),
                _ => break,
            }
        }
        let uri = Regex::new(r"http://([0-9.]+):(\d+)").unwrap();
        let open = uri.captures(&raw).map(|found| match (&found[2] == "0", found[2].parse::<u16>()) {
            (false, Ok(port)) => format!("{} open {}", &found[1], TcpStream::connect(("127.0.0.1", port)).is_ok()),
            _ => format!("{} port 0", &found[1]),
        });
        let raw = Regex::new(r":\d{4,5}").unwrap().replace_all(&raw, ":PORT").into_owned();
        self.0.lock().unwrap().push(format!("{raw} {open:?}"));
        match status {
            0 => {
                let _ = socket.read(&mut buffer); // until the worker gives up
            }
            _ => {
                let _ = write!(socket, "HTTP/1.1 {status} Status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn ready_or_gone(play: &mut Play, within: Duration) -> String {
    let settled = wait(within, || match () {
        () if play.log().contains("\"event\":\"ready\"") => Some("ready".to_string()),
        () => (!play.is_running()).then(|| play.exit(within)),
    });
    settled.unwrap_or("neither".into())
}

pub fn callback(script: &Script) -> String {
    let heard = Heard::default();
    let url = heard.listen(200);
    let mut play = script.spawn(&["--callback-url", &url], &[("LLORCH_SPAWN_TOKEN", "spawned")]);
    let ending = ready_or_gone(&mut play, Duration::from_secs(5));
    format!("{ending} {:?}", heard.0.lock().unwrap())
}

pub fn no_content(script: &Script) -> String {
    let heard = Heard::default();
    let url = heard.listen(204);
    let ending = ready_or_gone(&mut script.spawn(&["--callback-url", &url], &[]), Duration::from_secs(5));
    format!("{ending} {}", heard.count())
}

pub fn refused_callback(script: &Script) -> String {
    let heard = Heard::default();
    let url = heard.listen(500);
    let ending = ready_or_gone(&mut script.spawn(&["--callback-url", &url], &[]), Duration::from_secs(3));
    format!("{ending} {}", heard.count())
}

pub fn silent_pool_manager(script: &Script) -> String {
    let heard = Heard::default();
    let url = heard.listen(0);
    let _play = script.spawn(&["--callback-url", &url], &[]);
    wait(Duration::from_secs(4), || (heard.count() > 1).then_some(())).is_some().to_string()
}
