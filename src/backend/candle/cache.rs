//! Keys and values of one job: made once, for the whole context, on the device.

use candle_core::{DType, Device, Result, Tensor};

use crate::model::Configuration;
use crate::model::error::Problem;

/// Of every layer, heads first, so that the positions of a head lie together.
pub struct Cache {
    keys: Vec<Tensor>,   // [KV, context, D] each
    values: Vec<Tensor>, // [KV, context, D] each
    context: usize,
    /// Positions that are filled.
    len: usize,
}

impl Cache {
    pub fn bytes(configuration: &Configuration, context: usize) -> u64 {
        let floats = 2 * configuration.n_layer() * configuration.n_kv_head() * configuration.head_size() * context;
        4 * floats as u64
    }

    /// The longest context, up to the model's, whose cache has no more than this many bytes.
    pub fn context_within(configuration: &Configuration, limit: Option<u64>) -> std::result::Result<usize, Problem> {
        let whole = configuration.n_ctx();
        let Some(limit) = limit else { return Ok(whole) };
        let one = Self::bytes(configuration, 1);
        match (limit / one).min(whole as u64) as usize {
            0 => Err(Problem::Memory { what: "the smallest key-value cache", required: one, available: limit }),
            context => Ok(context),
        }
    }

    pub fn new(configuration: &Configuration, context: usize, device: &Device) -> Result<Self> {
        let shape = (configuration.n_kv_head(), context, configuration.head_size());
        let all = || (0..configuration.n_layer()).map(|_| Tensor::zeros(shape, DType::F32, device)).collect();
        Ok(Self {
            keys: all()?,
            values: {
                let values: Result<Vec<_>> = all();
                values?
            },
            context,
            len: 0,
        })
    }

    pub fn reset(&mut self) {
        self.len = 0;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn context(&self) -> usize {
        self.context
    }

    /// After a pass through all layers.
    pub fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Puts a layer's keys and values, [KV, T, D] each, after those that are there; both as far as they are filled then,
    /// [KV, N, D] each.
    pub fn extend(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let filled = self.len + keys.dim(1)?;
        self.keys[layer].slice_set(keys, 1, self.len)?;
        self.values[layer].slice_set(values, 1, self.len)?;
        Ok((self.keys[layer].narrow(1, 0, filled)?, self.values[layer].narrow(1, 0, filled)?))
    }
}
