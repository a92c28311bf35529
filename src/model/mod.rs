//! What a model file gives: its sizes, its weights, its vocabulary.

pub mod tokenizer;
