//! The engine provisioner: finds `llama-server` or builds it from source, and starts it on a model.
//!
//! `settings` is what the configuration says; `find` looks for a server that is there; `source`, `preflight` and `build`
//! make one that is not; `server` starts it, waits until it is well, and stops it.

pub mod build;
pub mod find;
pub mod preflight;
pub mod provision;
pub mod server;
pub mod settings;
pub mod source;
