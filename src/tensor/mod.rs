//! Arithmetic on plain slices: the operations that the layers are made of, and what makes them fast.
//!
//! * [`Compute`] — the instruction set, the threads and their working memory; every operation is a method of it
//! * `matmul` — x · W + b, for one row (decode), a few, and many (prefill)
//! * `dot` — x · Wᵀ, for the head, whose matrix is the embedding's
//! * `elementwise` — GELU, softmax, layer norm
//! * [`lanes`] — sixteen numbers at a time on AVX-512, AVX2, NEON or anything
//!
//! **Bits.** Each number of a product is one chain, `((b + x₀w₀) + x₁w₁) + …`, every step a fused multiply-add in
//! ascending order. Blocks, tiles, threads and instruction sets decide *when* a step is done and never its place in the
//! chain. So a token computed alone, in a prompt, or in any part of one has the same bits.

mod buffer;
mod compute;
mod dot;
mod elementwise;
pub mod lanes;
mod matmul;
mod shared;
mod threads;

pub use buffer::Buffer;
pub use compute::{Compute, Part};
pub use elementwise::{exponential, gelu, layer_norm, scale, softmax};
pub use lanes::Instructions;
pub use matmul::{MatrixMut, MatrixRef, multiply, multiply_add};
pub(crate) use shared::SharedOutput;
pub use threads::Threads;
