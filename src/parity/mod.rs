//! Capture, comparison, and the references to compare with.

pub mod capture;
pub mod compare;
pub mod diff;
pub mod log;
#[cfg(feature = "llama-cpp")]
pub mod llama_cpp;
pub mod oracle;
pub mod station;
pub mod tap;
pub mod tolerance;

pub use capture::Capture;
pub use station::Place;
pub use tap::Recorder;
pub use tolerance::{Profile, Tolerance};
pub use log::Log;
pub use tap::{Recorder, Scope};
