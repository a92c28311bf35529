//! Capture, comparison, and the references to compare with.

pub mod capture;
pub mod golden;
#[cfg(feature = "llama-cpp")]
pub mod llama_cpp;
pub mod oracle;
pub mod tap;

pub use capture::Capture;
pub use tap::Recorder;
