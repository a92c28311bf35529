//! What drives a worker and judges it, from outside: over sockets, processes, files and logs, and never through the
//! server's own types, since a shared type would hide a wrong field name from both.

pub mod scripted;
pub mod verdict;

pub use verdict::{Evidence, Finding, Settle, Verdict};
