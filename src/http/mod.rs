//! What every daemon here shares around its own routes: the socket, who may ask, the id an answer travels under, bodies
//! and their fields, streams of events read back, the log and the stop.

pub mod access;
pub mod body;
mod client;
pub mod connections;
pub mod correlation;
pub mod document;
pub mod event_stream;
pub mod failure;
pub mod fields;
pub mod framing;
pub mod logs;
pub mod post;
pub mod shutdown;

pub use client::client;
