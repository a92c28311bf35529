//! One node: what it can compute with, and the jobs that run on it; and the tools that look after it by hand.
//!
//! A job's way through: `routes` lets it in → `execute` finds a replica in the `registry` and takes a lease on one of its
//! slots → `relay` passes a worker's stream on, or `translate` an engine's, through its `adapter`.
//! What there is to run on comes from `workers`, which this daemon starts, and from `handoff` files, which describe
//! engines; `models` and `engine` bring what is missing; `rebuild` changes a pool while it is there. `heartbeat` tells the
//! orchestrator. `start` is the life around all that.
//!
//! By hand, without the daemon: `catalog` is the list of models, `durable` keeps the files that others read meanwhile, and
//! `local` downloads and checks models, and starts, finds and ends workers. Those command lines are `cli::pool`.

pub mod adapter;
pub mod capabilities;
pub mod catalog;
pub mod children;
pub mod configuration;
pub mod durable;
pub mod engine;
pub mod error;
pub mod execute;
pub mod handoff;
pub mod heartbeat;
pub mod local;
pub mod metrics;
pub mod models;
pub mod node;
pub mod openapi;
pub mod preparation;
pub mod rebuild;
pub mod registry;
pub mod relay;
pub mod routes;
pub mod start;
pub mod status;
pub mod translate;
pub mod workers;
