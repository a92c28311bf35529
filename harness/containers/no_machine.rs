//! What stands in for machines in a build without the feature `containers`: nothing, and why.

use std::path::Path;
use std::time::Duration;

use crate::harness::Finding;
use crate::harness::process::{Command, Exit, Line, Signal};

pub const PROGRAM: &str = "/llorch";
const REASON: &str = "this build has no containers (cargo … --features containers)";

pub fn missing() -> Option<String> {
    Some(REASON.to_owned())
}

/// There is none.
#[derive(Debug)]
pub struct Machine {
    pub port: u16,
    never: std::convert::Infallible,
}

impl Machine {
    pub fn start(_: &str, _: &str, _: &Command, _: u16, _: &Path, _: &Path) -> Result<Machine, Finding> {
        Err(Finding::skipped("a machine", REASON))
    }

    pub fn signal(&self, _: Signal) -> Result<(), Finding> {
        match self.never {}
    }

    pub fn wait_for_exit(&self, _: Duration) -> Result<Exit, Finding> {
        match self.never {}
    }

    pub fn start_again(&self) -> Result<(), Finding> {
        match self.never {}
    }

    pub fn lines(&self) -> Vec<Line> {
        match self.never {}
    }

    pub fn cut_off(&self) -> Result<(), Finding> {
        match self.never {}
    }

    pub fn join(&self) -> Result<(), Finding> {
        match self.never {}
    }
}
