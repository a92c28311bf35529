//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod allocation;
mod cache;
mod gguf;
mod hostile;
mod kernels;
mod layers;
mod models;
mod oracle;
mod recipe;
mod safetensors;

/// The tests of one file.
type Topic = &'static [(&'static str, fn())];

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics: &[Topic] = &[
        allocation::TESTS,
        cache::TESTS,
        gguf::TESTS,
        hostile::TESTS,
        kernels::TESTS,
        layers::TESTS,
        oracle::TESTS,
        recipe::TESTS,
        safetensors::TESTS,
    ];
    topics.iter().copied().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
