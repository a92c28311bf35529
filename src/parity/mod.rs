//! Capture, comparison, and the references to compare with.

pub mod capture;
pub mod log;
pub mod oracle;
pub mod tap;

pub use capture::Capture;
pub use log::Log;
pub use tap::{Recorder, Scope};
