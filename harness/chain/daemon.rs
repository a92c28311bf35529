//! One daemon of a chain: started and waited for, ended in every way there is, and started again as it was.

use std::time::Duration;

use jiff::Timestamp;

use crate::harness::Finding;
use crate::harness::http::Base;
use crate::harness::log::Log;
use crate::harness::process::{Command, Exit, Line, Process, Signal};
use crate::harness::target::announced_port;

/// From the spawn to the line that says the port, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// After a signal that ends it: a drain of a running task is longer than everything else.
const GONE_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Daemon {
    /// As findings call it.
    pub name: String,
    /// The variable that says where it listens.
    address: &'static str,
    command: Command,
    process: Process,
    /// When this life began: what was heard of it before was of an earlier one.
    pub since: Timestamp,
    /// What earlier lives wrote.
    past: Vec<Line>,
    port: u16,
}

impl Daemon {
    /// Starts it on a free port, and keeps that port for its next life.
    pub fn start(name: &str, address: &'static str, command: Command) -> Result<Daemon, Finding> {
        let since = Timestamp::now();
        let (process, port) = live(name, command.clone().variable(address, "127.0.0.1:0"))?;
        Ok(Daemon { name: name.into(), address, command, process, since, past: Vec::new(), port })
    }

    pub fn base(&self) -> Base {
        Base::local(self.port)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn is_alive(&self) -> bool {
        self.process.exit().is_none()
    }

    pub fn signal(&self, signal: Signal) -> Result<(), Finding> {
        let sent = self.process.signal(signal);
        sent.map_err(|error| Finding::error(format!("{signal} sent to {}", self.name), error.to_string()))
    }

    /// Ends it with this signal and waits until it has ended.
    pub fn end(&self, signal: Signal) -> Result<Exit, Finding> {
        self.signal(signal)?;
        self.process.wait_for_exit(GONE_WITHIN)
    }

    /// The next life, on the same port and with the same words; variables may change between two lives.
    pub fn restart(&mut self, variables: &[(String, String)]) -> Result<(), Finding> {
        if self.is_alive() {
            self.end(Signal::SIGKILL)?;
        }
        for (name, value) in variables {
            self.command.environment.retain(|(known, _)| known != name);
            self.command = std::mem::take(&mut self.command).variable(name, value);
        }
        let command = self.command.clone().variable(self.address, &self.base().authority());
        self.since = Timestamp::now();
        let (process, _) = live(&self.name, command)?;
        let before = std::mem::replace(&mut self.process, process);
        self.past.extend(before.lines());
        Ok(())
    }

    /// Everything that it has written, in all of its lives.
    pub fn log(&self) -> Log {
        let mut lines = self.past.clone();
        lines.extend(self.process.lines());
        Log::read(&lines)
    }

    pub fn evidence(&self, finding: Finding) -> Finding {
        let log: Vec<String> = self.process.log_tail(12).lines().map(str::to_owned).collect();
        finding.with(format!("the end of the log of {}", self.name), log.join("\n"))
    }
}

fn live(name: &str, command: Command) -> Result<(Process, u16), Finding> {
    let process = Process::spawn(command).map_err(|error| Finding::error(name, error.to_string()))?;
    let port = announced_port(&process, READY_WITHIN)?;
    Ok((process, port))
}
