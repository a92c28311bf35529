//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod allocation;
mod architecture;
mod bench;
mod cache;
#[cfg(feature = "candle")]
mod candle;
mod capture;
mod capture_command;
mod capture_cpu;
mod chain;
mod chat;
mod checkpoints;
mod compare;
mod containers;
mod contract;
mod cpu;
mod diagnose;
mod diagnose_llama;
mod diff;
mod faults;
mod generate;
mod gguf;
mod golden;
mod haiku;
mod hostile;
mod http;
mod kernels;
mod ladder;
mod layers;
mod limits;
#[cfg(feature = "llama-cpp")]
mod llama_cpp;
mod llama_files;
mod model_files;
mod models;
mod oddities;
mod oracle;
mod orchestrator_configuration;
mod orchestrator_daemon;
mod orchestrator_placement;
mod orchestrator_queue;
mod orchestrator_store;
mod orchestrator_stream;
mod parity_log;
mod pool_catalog;
mod pool_cli;
mod pool_cli_checks;
mod pool_engine;
mod pool_manager;
mod pool_node;
mod pool_provision;
mod post;
mod process;
mod proof;
mod proof_command;
mod puppets;
mod reading;
mod recipe;
mod report;
mod runner;
mod safetensors;
mod sampling;
mod scripted;
mod selection;
mod selftest;
mod serve;
mod serve_command;
mod sse;
mod stream;
mod taps;
mod target;
mod tokenizer;
mod tokenizer_fallback;
mod transcript;
mod vocabularies;
mod weights;
mod worker_access;
mod worker_configuration;
mod worker_inference;
mod worker_validate;
mod writers;

/// A name and a function that panics where something does not hold.
type Test = (&'static str, fn());

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics: &[&[Test]] = &[
        allocation::TESTS,
        architecture::TESTS,
        bench::TESTS,
        cache::TESTS,
        #[cfg(feature = "candle")]
        candle::TESTS,
        capture::TESTS,
        capture_command::TESTS,
        capture_cpu::TESTS,
        chain::TESTS,
        chat::TESTS,
        checkpoints::TESTS,
        compare::TESTS,
        containers::TESTS,
        contract::TESTS,
        cpu::TESTS,
        diagnose::TESTS,
        diff::TESTS,
        faults::TESTS,
        diagnose_llama::TESTS,
        generate::TESTS,
        gguf::TESTS,
        golden::TESTS,
        haiku::TESTS,
        hostile::TESTS,
        http::TESTS,
        kernels::TESTS,
        ladder::TESTS,
        layers::TESTS,
        limits::TESTS,
        llama_files::TESTS,
        #[cfg(feature = "llama-cpp")]
        llama_cpp::TESTS,
        model_files::TESTS,
        oracle::TESTS,
        orchestrator_configuration::TESTS,
        orchestrator_daemon::TESTS,
        orchestrator_placement::TESTS,
        orchestrator_queue::TESTS,
        orchestrator_store::TESTS,
        orchestrator_stream::TESTS,
        parity_log::TESTS,
        pool_catalog::TESTS,
        pool_cli::TESTS,
        pool_cli_checks::TESTS,
        pool_engine::TESTS,
        pool_manager::TESTS,
        pool_node::TESTS,
        pool_provision::TESTS,
        post::TESTS,
        process::TESTS,
        proof::TESTS,
        proof_command::TESTS,
        reading::TESTS,
        recipe::TESTS,
        report::TESTS,
        runner::TESTS,
        safetensors::TESTS,
        sampling::TESTS,
        scripted::TESTS,
        selection::TESTS,
        selftest::TESTS,
        serve_command::TESTS,
        sse::TESTS,
        stream::TESTS,
        taps::TESTS,
        target::TESTS,
        tokenizer::TESTS,
        tokenizer_fallback::TESTS,
        transcript::TESTS,
        vocabularies::TESTS,
        weights::TESTS,
        worker_access::TESTS,
        worker_configuration::TESTS,
        worker_inference::TESTS,
        worker_validate::TESTS,
        writers::TESTS,
    ];
    topics.iter().copied().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
