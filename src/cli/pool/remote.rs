//! `--host H`: the same command on another machine, over the system's `ssh`.
//!
//! A login shell over there reads one line. Every word of it is quoted here, so that an id is an id whatever it holds.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{FAILED, Failure, TIMED_OUT};

/// For a command of which nobody knows that it takes long: longer than a worker may take to start, or to drain.
const ENOUGH: Duration = Duration::from_secs(120);
/// How often a running `ssh` is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What `ssh` exits with when it failed itself; none of our own commands ends so.
const SSH_FAILED: i32 = 255;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Run this on another machine, over ssh: a host, USER@HOST, or a name of your ssh configuration
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<String>,
    /// With --host: give up after this long; 0 never [default: 120, and never for downloads, verify and logs -f]
    #[arg(long, global = true, value_name = "SECONDS")]
    timeout_sec: Option<u64>,
    /// With --host: give up connecting after this long
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    connect_timeout_sec: u16,
    /// With --host: another configuration for ssh
    #[arg(long, global = true, value_name = "FILE", env = "LLORCH_SSH_CONFIG")]
    ssh_config: Option<PathBuf>,
    /// With --host: what this tool is called there
    #[arg(long, global = true, value_name = "PROGRAM", default_value = "llorch-pool")]
    remote_program: OsString,
}

/// Our own flags about the other machine; all of them take a value.
const OURS: [&str; 5] = ["--host", "--timeout-sec", "--connect-timeout-sec", "--ssh-config", "--remote-program"];

impl Flags {
    /// Runs the words over there, and ends as they end there.
    pub(super) fn run(&self, raw: &[OsString], may_take_long: bool) -> Result<(), Failure> {
        let host = self.host.as_deref().unwrap_or_default();
        if !is_host(host) {
            let rule = "a host, USER@HOST or a name of the ssh configuration, which does not begin with a dash";
            return Err(Failure::Usage(format!("--host {host:?} is refused: {rule}")));
        }
        let deadline = match self.timeout_sec {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => (!may_take_long).then_some(ENOUGH),
        };
        let line = command_line(&self.remote_program, &without_ours(raw));
        let mut ssh = Command::new("ssh");
        if let Some(file) = &self.ssh_config {
            ssh.arg("-F").arg(file);
        }
        // Never a question that nobody answers; a connection that died without a word is noticed.
        for option in ["BatchMode=yes", "ServerAliveInterval=15", "ServerAliveCountMax=4"] {
            ssh.args(["-o", option]);
        }
        ssh.args(["-o", &format!("ConnectTimeout={}", self.connect_timeout_sec)]);
        ssh.args(["-T", "--", host]).arg(&line).stdin(Stdio::null());
        let mut child = ssh.spawn().map_err(|problem| match problem.kind() {
            io::ErrorKind::NotFound => {
                Failure::of("`ssh` is not installed, and --host needs it (the package openssh-client)")
            }
            _ => Failure::of(format!("`ssh` can't be started: {problem}")),
        })?;
        let until = deadline.map(|patience| Instant::now() + patience);
        loop {
            if let Some(status) = child.try_wait().map_err(Failure::of)? {
                return conclude(host, status.code());
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                // It may have ended this very moment; then there is nothing to kill.
                let _ = child.kill();
                child.wait().map_err(Failure::of)?;
                let seconds = deadline.unwrap_or_default().as_secs();
                eprintln!(
                    "llorch-pool: {host} did not finish within {seconds} s; what runs there may go on (--timeout-sec)"
                );
                return Err(Failure::Exit(TIMED_OUT));
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn conclude(host: &str, code: Option<i32>) -> Result<(), Failure> {
    match code {
        Some(0) => Ok(()),
        Some(SSH_FAILED) => {
            eprintln!("llorch-pool: {host} was not reached over ssh; try: ssh {host} true");
            Err(Failure::Exit(SSH_FAILED as u8))
        }
        Some(127) => {
            eprintln!("llorch-pool: {host} has no such program on its PATH; name it with --remote-program");
            Err(Failure::Exit(127))
        }
        code => Err(Failure::Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))),
    }
}

/// Nothing that `ssh` could read as a flag, and nothing that could end the argument.
fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// The words for over there. The command line was parsed before: behind a flag of ours stands its value, no value begins
/// with a dash, and after `--` nothing is a flag.
pub fn without_ours(raw: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = raw.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            kept.push(word.clone());
            kept.extend(words.cloned());
            break;
        }
        if OURS.contains(&text.as_ref()) {
            words.next();
        } else if !OURS.iter().any(|flag| text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))) {
            kept.push(word.clone());
        }
    }
    kept
}

/// One line for a POSIX shell.
pub fn command_line(program: &OsStr, words: &[OsString]) -> OsString {
    let quoted: Vec<Vec<u8>> =
        std::iter::once(program).chain(words.iter().map(OsString::as_os_str)).map(quote).collect();
    OsString::from_vec(quoted.join(&b' '))
}

/// Inside single quotes nothing means anything but a single quote: that one is written between two quoted pieces.
fn quote(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}
