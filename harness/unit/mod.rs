//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod architecture;
mod contract;
mod http;
mod pool_manager;
mod process;
mod reading;
mod scripted;
mod serve;
mod sse;
mod stream;
mod target;
mod transcript;

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics: &[&[(&str, fn())]] = &[
        architecture::TESTS,
        contract::TESTS,
        http::TESTS,
        pool_manager::TESTS,
        process::TESTS,
        reading::TESTS,
        scripted::TESTS,
        sse::TESTS,
        stream::TESTS,
        target::TESTS,
        transcript::TESTS,
    ];
    topics.iter().copied().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
