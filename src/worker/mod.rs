//! The HTTP contract of an inference worker, around any backend.
//!
//! A prompt's way through: `execute` reads and `validate` checks it into a `Job` → `jobs` queues it → `inference` hands it
//! to the backend on a thread of its own → its pieces come back through a channel → `sse` writes them to the socket.
//! `start` is the life around that, from the first log line to the exit.

pub mod callback;
pub mod configuration;
pub mod control;
pub mod daemon;
pub mod error;
pub mod events;
pub mod execute;
pub mod health;
pub mod inference;
pub mod jobs;
pub mod metrics;
pub mod openapi;
pub mod server;
pub mod service;
pub mod sse;
pub mod start;
pub mod validate;

pub use crate::http::{access, body, correlation, shutdown};
