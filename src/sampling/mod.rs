//! From a row of logits to one token id, and from a stream of text to the place where it must stop.
//!
//! The order is fixed: [`penalise`] → greedy test ([`is_greedy`], [`argmax`]) → [`temper`] → [`keep_top_k`] →
//! [`keep_top_p`] → [`keep_min_p`] → [`draw`]. Each step is one function over a row `[V]`, in which −∞ means filtered;
//! [`Sampler`] runs them in order over buffers that it keeps. [`StopMatcher`] works on the decoded text afterwards.

mod filter;
mod sampler;
mod softmax;
mod stop;

pub use filter::{Candidates, keep_min_p, keep_top_k, keep_top_p, penalise, temper};
pub use sampler::{Sampler, SamplingError, SamplingParameters};
pub use softmax::{argmax, draw, is_greedy, softmax, uniform};
pub use stop::StopMatcher;

/// What a filtered logit is set to: its probability is exactly zero.
pub const FILTERED: f32 = f32::NEG_INFINITY;
