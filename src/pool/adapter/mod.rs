//! Engines that do not speak the worker contract, each behind an adapter that does.

pub mod llamacpp;
