//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod worker_access;
mod worker_configuration;
mod worker_inference;
mod worker_validate;

/// A test's name and what it does; it fails by panicking.
type Test = (&'static str, fn());

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics: &[&[Test]] =
        &[worker_access::TESTS, worker_configuration::TESTS, worker_inference::TESTS, worker_validate::TESTS];
    topics.iter().copied().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
