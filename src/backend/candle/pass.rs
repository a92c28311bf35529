//! One pass through a model: where it stands, who looks on, and whether anybody still waits for it.

use candle_core::{DType, Device, Tensor};

use super::cache::Cache;
use super::weights::Linear;
use crate::backend::CancelFlag;
use crate::layers::{Station, Tap};

pub struct Pass<'a, T> {
    pub cache: &'a mut Cache,
    pub cancel: &'a CancelFlag,
    pub tap: &'a mut T,
    /// Rows of a long prompt that are computed at a time: the flag is read before each lot.
    pub lot: usize,
}

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A lot takes a processor a few dozen milliseconds at most, a GPU few; beyond these sizes neither gets faster.
pub fn rows_at_a_time(device: &Device) -> usize {
    if device.is_cpu() { 256 } else { 2048 }
}

impl<T: Tap> Pass<'_, T> {
    /// The position of the first token of this pass.
    pub fn start(&self) -> usize {
        self.cache.len()
    }

    pub fn unless_cancelled(&self) -> Result<(), PassError> {
        if self.cancel.is_raised() { Err(PassError::Cancelled) } else { Ok(()) }
    }

    /// x: [T, in] → [T, out]
    pub fn apply(&self, layer: &Linear, x: &Tensor) -> Result<Tensor, PassError> {
        let rows = x.dim(0)?;
        if rows <= self.lot {
            self.unless_cancelled()?;
            return Ok(layer.forward(x)?);
        }
        let lots = lots(rows, self.lot).map(|(first, count)| {
            self.unless_cancelled()?;
            Ok(layer.forward(&x.narrow(0, first, count)?)?)
        });
        Ok(Tensor::cat(&lots.collect::<Result<Vec<_>, PassError>>()?, 0)?)
    }

    /// x + layer(inner): how attention and the feed-forward layer come back to the residual stream. The product and the sum
    /// are shown at these stations.
    pub fn add(
        &mut self,
        x: &Tensor,
        (weights, inner): (&Linear, &Tensor),
        layer: usize,
        [product, sum]: [Station; 2],
    ) -> Result<Tensor, PassError> {
        let output = self.apply(weights, inner)?; // [T, C]
        self.show(product, layer, &output)?;
        let x = x.add(&output)?;
        self.show(sum, layer, &x)?;
        Ok(x)
    }

    /// Shows a tensor to the tap, in f32 and row-major.
    pub fn show(&mut self, station: Station, layer: usize, tensor: &Tensor) -> candle_core::Result<()> {
        let mut failed = None;
        self.tap.tensor(station, layer, tensor.dims(), || {
            let values = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()?.to_vec1());
            values.unwrap_or_else(|error| {
                failed = Some(error);
                vec![f32::NAN; tensor.elem_count()]
            })
        });
        failed.map_or(Ok(()), Err)
    }
}

/// The first row of each lot, and how many it has.
pub fn lots(rows: usize, lot: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(lot).map(move |first| (first, lot.min(rows - first)))
}
