//! Checkpoint 1: y = (x − mean) / √(variance + ε) · weight + bias, row by row.

use crate::model::Weight;
use crate::tensor::Compute;

pub struct LayerNorm {
    pub weight: Weight, // [C]
    pub bias: Weight,   // [C]
    pub epsilon: f64,
}

impl LayerNorm {
    /// out: [T, C] from x: [T, C]
    pub fn forward(&self, compute: &mut Compute, x: &[f32], out: &mut [f32]) {
        compute.layer_norm(x, self.weight.values(), self.bias.values(), self.epsilon, out);
    }
}
