//! Checkpoints 2 and 3: q, k and v from one projection, and k and v into the cache.

use crate::cache::{CacheError, KvCache};
use crate::layers::{Chunk, Station, Tap};
use crate::model::Weight;
use crate::tensor::{Compute, MatrixRef};

pub struct Qkv {
    pub weight: Weight, // [C, 3C]: q in columns 0..C, k in C..2C, v in 2C..3C; in each, head after head
    pub bias: Weight,   // [3C]
}

impl Qkv {
    /// qkv: [T, 3C] from x: [T, C]
    pub fn forward<T: Tap>(
        &self,
        compute: &mut Compute,
        x: &[f32],
        qkv: &mut [f32],
        heads: usize,
        layer: usize,
        tap: &mut T,
    ) {
        compute.matmul(x, self.weight.values(), self.bias.values(), qkv, |_, _| {});
        let width = self.bias.values().len() / 3;
        let shape = [qkv.len() / (3 * width), heads, width / heads]; // [T, H, D]
        for (third, station) in [Station::Query, Station::Key, Station::Value].into_iter().enumerate() {
            tap.tensor(station, layer, &shape, || {
                qkv.chunks_exact(3 * width).flat_map(|row| &row[third * width..][..width]).copied().collect()
            });
        }
    }
}

/// Puts the chunk's k and v at its positions.
pub fn store<T: Tap>(
    cache: &mut KvCache,
    chunk: Chunk,
    qkv: &[f32],
    layer: usize,
    tap: &mut T,
) -> Result<(), CacheError> {
    let shape = cache.shape();
    let width = shape.n_head * shape.head_size;
    let third = |third: usize| MatrixRef { values: &qkv[third * width..], stride: 3 * width }; // [T, H, D]
    cache.write(layer, chunk.start, chunk.rows, third(1), third(2))?;
    if T::ON {
        let positions = chunk.start + chunk.rows;
        let (keys, values) = (cache.keys(layer, positions)?, cache.values(layer, positions)?);
        let shape = [positions, shape.n_head, shape.head_size]; // [N, H, D]
        tap.tensor(Station::CachedKeys, layer, &shape, || keys);
        tap.tensor(Station::CachedValues, layer, &shape, || values);
    }
    Ok(())
}
