//! The parity log: one JSON line for each tensor that a pass shows, so that two engines can be compared while they run,
//! without either writing whole tensors. [`Log::read`] reads one; a worker writes one with [`Writer`], when
//! `ORCH_LOG_FILE` says where.

mod read;
mod record;
mod settings;
#[cfg(feature = "orch_logging")]
mod write;

pub use read::{Log, LogError, Run};
pub use record::{Key, Meta, Record, checkpoint};
pub use settings::Settings;
#[cfg(feature = "orch_logging")]
pub use write::{Entry, Writer};
