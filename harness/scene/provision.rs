//! Engines that a node provides: what it is given to make one of, and what it makes known of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::pool_cli::io_problem;
use super::shows::shows;
use super::{Scene, wait_for};
use crate::harness::Finding;
use crate::harness::chain::PATIENCE;
use crate::harness::chain::mistakes::Slip;
use crate::harness::pool_machine::BUILDS;
use crate::harness::process::Signal;

impl Scene {
    pub fn have_engine(&mut self, what: &str) -> Result<(), Finding> {
        let path = self.machine()?.install_engine(what)?;
        self.set(crate::harness::chain::llama::PROGRAM, true, &path.display().to_string())
    }

    pub fn have_engine_sources(&mut self, are: &str) -> Result<(), Finding> {
        self.have_pool_machine(None)?;
        self.machine()?.write_engine_sources(are)
    }

    pub fn configure_node(&mut self, text: &str) -> Result<(), Finding> {
        fs::write(self.machine()?.path("node.yaml"), text).map_err(io_problem)
    }

    /// A file of nothing that a worker could load.
    pub fn have_broken_model(&mut self, name: &str) -> Result<(), Finding> {
        fs::write(self.chain()?.folder().join(name), "no model").map_err(io_problem)
    }

    pub fn no_half_build_is_left(&mut self) -> Result<(), Finding> {
        let slip = self.session.slip();
        let machine = self.machine()?;
        if slip == Some(Slip::HalfBuildStays) {
            fs::create_dir_all(machine.path(BUILDS).join("none-0123.partial")).map_err(io_problem)?;
        }
        match machine.half_builds().as_slice() {
            [] => Ok(()),
            left => Err(Finding::fail("no half of a build", left.join(", "))),
        }
    }

    /// Begins a command that serves, and waits for what it makes known.
    pub fn begin_until_bound(&mut self, line: &str) -> Result<(), Finding> {
        let process = self.machine()?.begin(line, 0)?;
        let bound = wait_for(PATIENCE, || match process.exit() {
            Some((exit, _)) => Err(Finding::fail("an engine that is bound", exit.to_string())),
            None => self.handoff_document().map(drop),
        });
        bound.map_err(|finding| process.evidence(finding))?;
        self.pool.begun = Some(process);
        Ok(())
    }

    pub fn end_begun(&mut self) -> Result<(), Finding> {
        let handoff = self.handoff_file()?;
        let kept = fs::read(&handoff).map_err(io_problem)?;
        let process = self.pool.begun.take();
        let process = process.ok_or_else(|| Finding::error("a command that was begun", "none was"))?;
        process.signal(Signal::SIGTERM).map_err(io_problem)?;
        let ran = self.machine()?.end(process)?;
        if self.session.slip() == Some(Slip::HandoffStays) {
            fs::write(&handoff, kept).map_err(io_problem)?;
        }
        self.pool.ran = vec![ran];
        Ok(())
    }

    pub fn handoff_shows(&self, rows: &[(String, String)]) -> Result<(), Finding> {
        shows(&self.handoff_document()?, rows)
    }

    pub fn key_is_secret(&self) -> Result<(), Finding> {
        let handoff = self.handoff_document()?;
        let file = handoff["api_key_file"].as_str().unwrap_or_default().to_owned();
        if self.session.slip() == Some(Slip::KeyOpen) {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).map_err(io_problem)?;
        }
        let mode =
            fs::metadata(&file).map_err(|error| Finding::fail("a file with the engine's key", error.to_string()));
        match mode?.permissions().mode() & 0o777 {
            0o600 => Ok(()),
            mode => Err(Finding::fail("a key that only its owner can read (mode 600)", format!("mode {mode:o}"))),
        }
    }
}
