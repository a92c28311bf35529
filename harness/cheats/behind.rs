//! The honest worker behind a cheat: a child process in the cheat's own group, so that its processor time is seen and its
//! end comes with the cheat's.

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::http::{Answer, Base, Request, send};
use crate::harness::process::die_with_the_parent;
use crate::harness::stream::{Caps, Stream};

pub struct Behind {
    pub base: Base,
    child: Child,
}

impl Behind {
    /// Starts it on this model and waits until it is ready. It captures what it computes, where a folder for that is named.
    pub fn start(model: &Path, worker_id: &str, captures: Option<&str>) -> io::Result<Behind> {
        let mut command = Command::new(std::env::current_exe()?);
        // However the front ends: it may be somebody's who knows nothing of groups.
        die_with_the_parent(&mut command);
        let mut child = command
            .args(["llorch-cpud", "--port", "0", "--worker-id", worker_id, "--model"])
            .arg(model)
            .args(captures.into_iter().flat_map(|folder| ["--checkpoint-dir", folder]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
        let mut port = None;
        let mut lines = lines.map_while(Result::ok);
        for line in lines.by_ref() {
            let told: Value = serde_json::from_str(&line).unwrap_or_default();
            if told["event"] == "ready" {
                port = told["port"].as_u64().and_then(|port| u16::try_from(port).ok());
                break;
            }
        }
        // Its log is read on, or the pipe would fill.
        std::thread::spawn(move || lines.for_each(drop));
        match port {
            Some(port) => Ok(Behind { base: Base::local(port), child }),
            None => {
                let status = child.wait()?;
                Err(io::Error::other(format!("{} was not loaded ({status})", model.display())))
            }
        }
    }

    pub fn get(&self, path: &str) -> io::Result<Answer> {
        send(&self.base, &Request::get(path), Duration::from_secs(10)).map_err(io::Error::other)
    }

    pub fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        send(&self.base, &Request::post(path).json(body), Duration::from_secs(10)).map_err(io::Error::other)
    }

    /// The stream of a job, or the refusal.
    pub fn execute(&self, body: &[u8]) -> io::Result<Result<Stream, Answer>> {
        let request = Request::post("/execute").body("application/json", body);
        let opened =
            Stream::open(&self.base, &request, Caps::within(Duration::from_secs(600))).map_err(io::Error::other)?;
        Ok(match opened {
            crate::harness::stream::Opened::Stream(stream) => Ok(stream),
            crate::harness::stream::Opened::Refused(answer) => Err(answer),
        })
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
