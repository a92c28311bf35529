//! What drives a worker and judges it, from outside: over sockets, processes, files and logs, and never through the
//! server's own types, since a shared type would hide a wrong field name from both.

pub mod case;
pub mod catalogue;
pub mod exit;
pub mod runner;
pub mod selection;
pub mod verdict;
pub mod writers;

pub use verdict::{Evidence, Finding, Settle, Verdict};
