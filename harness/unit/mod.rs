//! The small tests of single parts, beside the scenarios: one file per topic, each with a table of named functions.

mod gguf;
mod hostile;
mod recipe;
mod safetensors;

/// Every unit test of the package under its address, `unit/<topic>/<name>`.
pub fn all() -> Vec<(String, fn())> {
    let topics: &[&[(&str, fn())]] = &[gguf::TESTS, hostile::TESTS, recipe::TESTS, safetensors::TESTS];
    topics.iter().copied().flatten().map(|(name, test)| (format!("unit/{name}"), *test)).collect()
}
