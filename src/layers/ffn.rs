//! Checkpoint 6: mlp(x) = c_proj(gelu(c_fc(x))), four times as wide inside.

use super::{Station, Tap};
use crate::model::Weight;
use crate::tensor::{Compute, gelu};

pub struct FeedForward {
    pub fc_weight: Weight,   // [C, 4C]
    pub fc_bias: Weight,     // [4C]
    pub proj_weight: Weight, // [4C, C]
    pub proj_bias: Weight,   // [C]
}

impl FeedForward {
    /// out: [T, C] from x: [T, C], by way of hidden: [T, 4C]
    pub fn forward<T: Tap>(
        &self,
        compute: &mut Compute,
        x: &[f32],
        hidden: &mut [f32],
        out: &mut [f32],
        layer: usize,
        tap: &mut T,
    ) {
        let (fc, proj) = (self.fc_bias.values(), self.proj_bias.values());
        let rows = hidden.len() / fc.len();
        if T::ON {
            // the same sums, shown before GELU is applied to them
            compute.matmul(x, self.fc_weight.values(), fc, hidden, |_, _| {});
            tap.tensor(Station::FeedForwardHidden, layer, &[rows, fc.len()], || hidden.to_vec());
            gelu(compute.instructions, hidden);
            tap.tensor(Station::Gelu, layer, &[rows, fc.len()], || hidden.to_vec());
        } else {
            compute.matmul(x, self.fc_weight.values(), fc, hidden, gelu);
        }
        compute.matmul(hidden, self.proj_weight.values(), proj, out, |_, _| {});
        tap.tensor(Station::FeedForwardOutput, layer, &[rows, proj.len()], || out.to_vec());
    }
}
