//! GPT-2 once more, in f64 and as plainly as it can be said: no cache, no blocks, no threads, every tensor a new one.
//!
//! It shares nothing with the fast pass but the weights, so that a mistake would have to be made twice to go unseen.

mod forward;
mod operations;

pub use forward::{Trace, trace};
pub use operations::*;

/// A tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Tensor {
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }

    /// The tensor whose number at each index is `value(index)`.
    pub fn from_fn<const D: usize>(shape: [usize; D], value: impl Fn([usize; D]) -> f64) -> Self {
        let mut tensor = Self::zeros(&shape);
        let mut index = [0; D];
        for place in &mut tensor.values {
            *place = value(index);
            for axis in (0..D).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        tensor
    }

    /// The number at an index.
    pub fn at<const D: usize>(&self, index: [usize; D]) -> f64 {
        self.values[index.iter().zip(&self.shape).fold(0, |flat, (i, size)| flat * size + i)]
    }
}
