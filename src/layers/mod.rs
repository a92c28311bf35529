//! The mathematics of a GPT-2 forward pass, one file per operation, in the order of the checkpoints.
//!
//! `T` tokens of this call, `C` width, `H` heads, `D = C / H`, `V` vocabulary, `N` positions in the cache after this
//! call, `L` layers. Every station of the pass is shown to a [`Tap`].

pub mod attention;
pub mod embedding;
pub mod ffn;
pub mod gpt2;
pub mod layer_norm;
pub mod tap;
pub mod transformer;

pub use attention::{output::AttentionOutput, qkv::Qkv};
pub use embedding::Embedding;
pub use ffn::FeedForward;
pub use gpt2::Gpt2;
pub use layer_norm::LayerNorm;
pub use tap::{NoTap, Station, Tap};
pub use transformer::{Activations, Block, Chunk};
