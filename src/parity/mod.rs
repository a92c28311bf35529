//! Capture, comparison, and the references to compare with.

pub mod capture;
#[cfg(feature = "bdd")]
pub mod faults;
pub mod oracle;
pub mod tap;

pub use capture::Capture;
pub use tap::Recorder;
