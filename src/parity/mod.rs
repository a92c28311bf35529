//! Capture, comparison, and the references to compare with.

pub mod oracle;
pub mod tap;

pub use tap::Recorder;
