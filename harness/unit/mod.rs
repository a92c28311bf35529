//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod generate;
mod sampling;
mod tokenizer;

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics = [generate::TESTS, sampling::TESTS, tokenizer::TESTS];
    topics.into_iter().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
