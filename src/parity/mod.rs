//! Capture, comparison, and the references to compare with.

pub mod capture;
pub mod compare;
pub mod diff;
pub mod log;
pub mod oracle;
pub mod report;
#[cfg(feature = "bdd")]
pub mod diagnose;
#[cfg(feature = "bdd")]
pub mod faults;
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
