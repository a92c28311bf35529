//! Models and workers on this machine.
//!
//! A model: `download` brings its files through `hf`, `files` finds and checks them. A worker: `spawn` starts it detached
//! and writes its `info`, `list` says what became of it, `stop` ends it, `logs` shows what it printed. `process` tells a
//! process from another one that was given its number later, and `port` who holds a port.

pub mod download;
pub mod files;
pub mod info;
pub mod list;
pub mod logs;
pub mod port;
pub mod process;
pub mod program;
pub mod spawn;
pub mod stop;
