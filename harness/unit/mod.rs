//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod cache;
mod cpu;
mod generate;
mod kernels;
mod layers;
mod models;
mod oracle;
mod sampling;
mod tokenizer;

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics = [
        cache::TESTS,
        cpu::TESTS,
        generate::TESTS,
        kernels::TESTS,
        layers::TESTS,
        oracle::TESTS,
        sampling::TESTS,
        tokenizer::TESTS,
    ];
    topics.into_iter().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
