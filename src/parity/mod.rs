//! Capture, comparison, and the references to compare with.

pub mod capture;
pub mod compare;
#[cfg(feature = "bdd")]
pub mod diagnose;
pub mod diff;
#[cfg(feature = "bdd")]
pub mod faults;
pub mod golden;
#[cfg(feature = "llama-cpp")]
pub mod llama_cpp;
pub mod log;
pub mod oracle;
pub mod report;
pub mod station;
pub mod tap;
pub mod tolerance;
pub mod words;

pub use capture::Capture;
pub use log::Log;
pub use station::Place;
pub use tap::{Recorder, Scope};
pub use tolerance::{Profile, Tolerance};
pub use words::Words;
