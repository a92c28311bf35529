//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod architecture;
mod contract;
mod http;
mod pool_manager;
mod process;
mod puppets;
mod reading;
mod runner;
mod scripted;
mod selection;
mod serve;
mod sse;
mod stream;
mod target;
mod transcript;
mod writers;

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics: &[&[(&str, fn())]] = &[
        architecture::TESTS,
        contract::TESTS,
        http::TESTS,
        pool_manager::TESTS,
        process::TESTS,
        reading::TESTS,
        runner::TESTS,
        scripted::TESTS,
        selection::TESTS,
        sse::TESTS,
        stream::TESTS,
        target::TESTS,
        transcript::TESTS,
        writers::TESTS,
    ];
    topics.iter().copied().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
