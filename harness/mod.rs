//! What drives a worker and judges it, from outside: over sockets, processes, files and logs, and never through the
//! server's own types, since a shared type would hide a wrong field name from both.

// The wire, seen as bytes, the contract, and engines that speak otherwise
pub mod api;
pub mod contract;
pub mod http;
pub mod sse;
pub mod stream;
pub mod transcript;

// The worker: its process, its log, what it is started as, and whom it calls when it is ready
pub mod exposition;
pub mod log;
pub mod pool_manager;
pub mod process;
pub mod recognise;
pub mod target;
pub mod tiny_model;

// What a worker is given: models in every form, files that mean harm, and the haiku's rule
pub mod haiku;
pub mod hostile_files;
pub mod model_files;

// The tensors on the way to the text
pub mod checkpoints;

// The cases, the run, and what it may end in
pub mod case;
pub mod catalogue;
pub mod exit;
pub mod runner;
pub mod scene;
pub mod selection;
pub mod session;
pub mod verdict;
pub mod writers;

// The evidence that a run leaves
pub mod proof;

// How fast it is
pub mod bench;

// Workers that are wrong on purpose, workers that pretend, and the ladder that catches these
pub mod cheats;
pub mod ladder;
// A whole chain: orchestrator, nodes, workers; and an orchestrator that is wrong on purpose
pub mod chain;
pub mod fuzzer;
// A machine of a pool, and what it reaches: a hub, and another machine over SSH
pub mod hub;
pub mod pool_machine;
pub mod sshd;

// Daemons on machines of their own, with a network between them
pub mod containers;

// A worker that is wrong on purpose, and an engine
pub mod scripted;
pub mod scripted_engine;

pub use verdict::{Evidence, Finding, Settle, Verdict};
