//! From a trace to the mistake.

pub const TESTS: &[(&str, fn())] = &[];
