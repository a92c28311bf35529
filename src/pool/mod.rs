//! What a machine of a pool has and runs: its models, and the workers that serve them.
//!
//! `durable` keeps the files that others read meanwhile; `catalog` is the list of models; `local` downloads and checks
//! them, and starts, finds and ends workers. The command lines over all this are `cli::pool`.

pub mod catalog;
pub mod durable;
pub mod local;
