//! The task API: from a client's task to a worker somewhere, and its stream back.
//!
//! A task's way: `task_request` checks it → `admission` holds it against catalog, pools and queue → the `store` keeps it →
//! `scheduler` queues it and finds it a slot by `placement` on one of the `nodes` → `relay` runs it there through an
//! `upstream` and appends what arrives to its `event_log`, by way of the store → `stream` writes that to whoever reads.
//! `life` is the straight line through all this, one for each task; `start` is the daemon's own.

pub mod admission;
pub mod catalog;
pub mod configuration;
pub mod error;
pub mod event_log;
pub mod life;
pub mod meta;
pub mod metrics;
pub mod narration;
pub mod node_routes;
pub mod nodes;
pub mod openapi;
pub mod placement;
pub mod pools;
pub mod prediction;
pub mod preparation;
pub mod queue;
pub mod recovery;
pub mod relay;
pub mod scheduler;
pub mod server;
pub mod service;
pub mod sessions;
pub mod start;
pub mod store;
pub mod stream;
pub mod task;
pub mod task_request;
pub mod task_routes;
pub mod tasks;
pub mod upstream;
