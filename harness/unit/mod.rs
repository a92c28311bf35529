//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod scripted;

type Table = &'static [(&'static str, fn())];

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics: &[Table] = &[scripted::TESTS];
    topics.iter().copied().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
