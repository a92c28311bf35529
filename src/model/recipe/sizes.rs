//! The sizes that goldens exist for.

use super::END_OF_TEXT;
use crate::model::configuration::{
    Configuration, Gpt2Configuration, LlamaArchitecture, LlamaConfiguration, RopeScaling,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Everything small and even.
    Tiny,
    /// An odd number of heads of an odd size, so that nothing can be confused with a power of two, and short enough a context
    /// that a prompt of one head's width, and one that fills it, are quickly run.
    Odd,
    /// The shapes of GPT-2 (124 M).
    Gpt2,
    /// The shapes of GPT-2 medium (355 M).
    Gpt2Medium,
}

impl Size {
    pub const ALL: [Size; 4] = [Size::Tiny, Size::Odd, Size::Gpt2, Size::Gpt2Medium];

    pub fn name(self) -> &'static str {
        match self {
            Size::Tiny => "tiny",
            Size::Odd => "odd",
            Size::Gpt2 => "gpt2",
            Size::Gpt2Medium => "gpt2-medium",
        }
    }

    pub fn configuration(self) -> Gpt2Configuration {
        let (n_layer, n_head, n_embd, n_ctx, vocab_size) = match self {
            Size::Tiny => (2, 4, 64, 128, 1024),
            Size::Odd => (3, 5, 55, 40, 389), // D = 11
            Size::Gpt2 => (12, 12, 768, 1024, 50257),
            Size::Gpt2Medium => (24, 16, 1024, 1024, 50257),
        };
        Gpt2Configuration {
            n_layer,
            n_head,
            n_embd,
            n_inner: 4 * n_embd,
            n_ctx,
            vocab_size,
            layer_norm_epsilon: 1e-5,
            eos_token_id: Some(END_OF_TEXT),
            bos_token_id: Some(END_OF_TEXT),
        }
    }
}

/// A model of the Llama family, and whether its head is the embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaSize {
    pub configuration: LlamaConfiguration,
    pub tied: bool,
}

impl LlamaSize {
    /// Every setting that the readers know is in one of them. Widths are multiples of a quantised block in the tiny ones.
    pub const ALL: [(LlamaArchitecture, Size); 4] = [
        (LlamaArchitecture::Llama, Size::Tiny),
        (LlamaArchitecture::Llama, Size::Odd),
        (LlamaArchitecture::Qwen2, Size::Tiny),
        (LlamaArchitecture::Qwen2, Size::Odd),
    ];

    /// `None` where the size is one of GPT-2's own.
    pub fn of(architecture: LlamaArchitecture, size: Size) -> Option<LlamaSize> {
        use LlamaArchitecture::{Llama, Qwen2};
        let plain = LlamaConfiguration {
            architecture,
            n_layer: 2,
            n_head: 4,
            n_kv_head: 2,
            head_size: 16,
            n_embd: 64,
            n_inner: 160,
            n_ctx: 128,
            vocab_size: 1024,
            rms_norm_epsilon: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            qkv_bias: architecture == Qwen2,
            output_bias: false,
            eos_token_id: Some(END_OF_TEXT),
            bos_token_id: Some(END_OF_TEXT),
        };
        let odd = LlamaConfiguration { n_layer: 3, n_ctx: 40, vocab_size: 389, ..plain.clone() };
        let configuration = match (architecture, size) {
            (Llama, Size::Tiny) => plain,
            (Qwen2, Size::Tiny) => LlamaConfiguration {
                n_head: 6,
                n_embd: 96,
                n_inner: 256,
                rms_norm_epsilon: 1e-6,
                rope_theta: 1_000_000.0,
                ..plain
            },
            // heads that together are wider than the model, biases everywhere
            (Llama, Size::Odd) => LlamaConfiguration {
                n_head: 9,
                n_kv_head: 3,
                head_size: 10,
                n_embd: 72,
                n_inner: 115,
                rope_theta: 500_000.0,
                rope_scaling: RopeScaling::Llama3 {
                    factor: 8.0,
                    low_frequency_factor: 1.0,
                    high_frequency_factor: 4.0,
                    original_context: 16,
                },
                qkv_bias: true,
                output_bias: true,
                ..odd
            },
            // halves of an odd size, one head of keys for all queries
            (Qwen2, Size::Odd) => LlamaConfiguration {
                n_head: 5,
                n_kv_head: 1,
                head_size: 22,
                n_embd: 110,
                n_inner: 77,
                rms_norm_epsilon: 1e-6,
                rope_scaling: RopeScaling::Linear { factor: 4.0 },
                ..odd
            },
            (_, Size::Gpt2 | Size::Gpt2Medium) => return None,
        };
        Some(LlamaSize { configuration, tied: (architecture, size) == (Qwen2, Size::Tiny) })
    }
}

impl From<LlamaSize> for (Configuration, bool) {
    fn from(size: LlamaSize) -> Self {
        (size.configuration.into(), size.tied)
    }
}
