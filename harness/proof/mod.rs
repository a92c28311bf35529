//! The evidence that a run leaves: a folder that a third party checks offline.
//!
//! `record` is what came over the wire, `checks` derives every verdict from it, `bundle` writes it all down with secrets
//! removed and each file hashed, and `verify` reads a folder back and derives the verdicts once more. Nothing in a bundle
//! is believed because it is written there.

pub mod bundle;
pub mod checks;
pub mod environment;
pub mod page;
pub mod record;
pub mod redact;
pub mod verify;

pub use bundle::{Bundle, Kind, place};
pub use checks::{Check, Judgement, judge};
pub use record::{Facts, Form, Record, Source};
