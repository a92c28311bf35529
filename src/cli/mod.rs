//! The command lines: parse, call, exit code.

pub mod cpud;
