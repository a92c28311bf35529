//! What drives a worker and judges it, from outside: over sockets, processes, files and logs, and never through the
//! server's own types, since a shared type would hide a wrong field name from both.

// The wire, seen as bytes
pub mod http;
pub mod sse;
pub mod stream;
pub mod transcript;

// The worker: its process, its log, and what it is started as
pub mod exposition;
pub mod log;
pub mod process;
pub mod target;

// What a check can end in
pub mod verdict;

pub use verdict::{Evidence, Finding, Settle, Verdict};
