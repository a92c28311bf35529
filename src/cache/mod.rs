//! The keys and values of every position so far, layer by layer: what makes a decode step cost one token.
//!
//! One allocation for keys and one for values, zero-initialised; its pages are touched when positions are written. They
//! are stored in blocks of 64 positions of every layer and head, so that what is written so far lies together, in few and
//! large pages. In a block, keys lie with the position last and values as
//! they come, so that scores and weighted sums are both products of small row-major matrices:
//!
//! ```text
//! keys    [blocks, L, H, D, 64]      scores = q [T, D] · keys [D, 64]
//! values  [blocks, L, H, 64, D']     output = p [T, 64] · values [64, D']      D' = D up to whole vectors
//! ```
//!
//! [`KvCache::keys`] and [`KvCache::values`] give what was put in as `[N, H, D]`.

use std::alloc::{Layout, handle_alloc_error};

use crate::model::weights::memory::Values;
use crate::tensor::MatrixRef;
use crate::tensor::lanes::LANES;

/// Positions in a block.
pub const BLOCK: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CacheError {
    #[error("the cache is full: {needed} positions needed, {capacity} there are")]
    Full { needed: usize, capacity: usize },
    #[error("position {position} of layer {layer} was read, and {written} are written")]
    NotWritten { layer: usize, position: usize, written: usize },
}

/// The sizes of a cache: L, H, D and the longest context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    pub n_layer: usize,
    pub n_head: usize,
    pub head_size: usize,
    pub n_ctx: usize,
}

#[derive(Debug)]
pub struct KvCache {
    shape: CacheShape,
    keys: Values,   // [blocks, L, H, D, 64]
    values: Values, // [blocks, L, H, 64, D']
    /// Positions that went through all layers.
    length: usize,
    /// For each layer the positions that are written: more than `length` while a forward pass is under way.
    written: Vec<usize>,
}

impl KvCache {
    pub fn new(shape: CacheShape) -> Self {
        let (keys, values) = Self::floats(shape);
        Self { shape, keys: zeros(keys), values: zeros(values), length: 0, written: vec![0; shape.n_layer] }
    }

    /// What a cache of this shape holds, in bytes.
    pub fn bytes(shape: CacheShape) -> usize {
        let (keys, values) = Self::floats(shape);
        (keys + values) * size_of::<f32>()
    }

    fn floats(CacheShape { n_layer, n_head, head_size, n_ctx }: CacheShape) -> (usize, usize) {
        let positions = n_ctx.next_multiple_of(BLOCK);
        let per_number = n_layer * n_head * positions;
        (per_number * head_size, per_number * head_size.next_multiple_of(LANES))
    }

    pub fn shape(&self) -> CacheShape {
        self.shape
    }

    /// Positions that are filled: where the next token goes.
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets everything: the next token is position 0.
    pub fn reset(&mut self) {
        self.truncate(0);
    }

    /// Forgets the positions from `length` on, those of an unfinished pass included.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        for written in &mut self.written {
            *written = (*written).min(self.length);
        }
    }

    /// Puts k and v, [T, H, D] inside rows that are `stride` long, at positions `start..start + rows` of a layer.
    pub fn write(
        &mut self,
        layer: usize,
        start: usize,
        rows: usize,
        k: MatrixRef<'_>,
        v: MatrixRef<'_>,
    ) -> Result<(), CacheError> {
        let CacheShape { n_head, head_size, n_ctx, .. } = self.shape;
        let padded = head_size.next_multiple_of(LANES);
        if start + rows > n_ctx {
            return Err(CacheError::Full { needed: start + rows, capacity: n_ctx });
        }
        for row in 0..rows {
            let (block, slot) = ((start + row) / BLOCK, (start + row) % BLOCK);
            for head in 0..n_head {
                let tile = self.tile(layer, head, block);
                let k = &k.values[row * k.stride + head * head_size..][..head_size]; // [D]
                let keys = &mut self.keys[tile * head_size * BLOCK..][..head_size * BLOCK]; // [D, 64]
                for (key, k) in keys[slot..].iter_mut().step_by(BLOCK).zip(k) {
                    *key = *k;
                }
                let v = &v.values[row * v.stride + head * head_size..][..head_size]; // [D]
                let values = &mut self.values[tile * padded * BLOCK..][..padded * BLOCK]; // [64, D']
                values[slot * padded..][..head_size].copy_from_slice(v);
            }
        }
        self.written[layer] = start + rows;
        Ok(())
    }

    /// Counts `rows` positions as filled, once every layer has written them.
    pub fn advance(&mut self, rows: usize) {
        self.length += rows;
    }

    /// The block of keys, [D, 64].
    pub fn key_block(&self, layer: usize, head: usize, block: usize) -> MatrixRef<'_> {
        let size = self.shape.head_size * BLOCK;
        MatrixRef { values: &self.keys[self.tile(layer, head, block) * size..][..size], stride: BLOCK }
    }

    /// The block of values, [64, D'], from its position `first` on.
    pub fn value_block(&self, layer: usize, head: usize, block: usize, first: usize) -> MatrixRef<'_> {
        let padded = self.shape.head_size.next_multiple_of(LANES);
        let tile = &self.values[self.tile(layer, head, block) * padded * BLOCK..][..padded * BLOCK];
        MatrixRef { values: &tile[first * padded..], stride: padded }
    }

    /// The keys of positions `0..length` of a layer, as they were put in: [N, H, D].
    pub fn keys(&self, layer: usize, length: usize) -> Result<Vec<f32>, CacheError> {
        self.read(layer, length, |position, head, channel| {
            let tile = self.tile(layer, head, position / BLOCK);
            self.keys[(tile * self.shape.head_size + channel) * BLOCK + position % BLOCK]
        })
    }

    /// The values of positions `0..length` of a layer, as they were put in: [N, H, D].
    pub fn values(&self, layer: usize, length: usize) -> Result<Vec<f32>, CacheError> {
        let padded = self.shape.head_size.next_multiple_of(LANES);
        self.read(layer, length, |position, head, channel| {
            let tile = self.tile(layer, head, position / BLOCK);
            self.values[(tile * BLOCK + position % BLOCK) * padded + channel]
        })
    }

    fn read(
        &self,
        layer: usize,
        length: usize,
        at: impl Fn(usize, usize, usize) -> f32,
    ) -> Result<Vec<f32>, CacheError> {
        let CacheShape { n_head, head_size, .. } = self.shape;
        let written = self.written[layer];
        if length > written {
            return Err(CacheError::NotWritten { layer, position: length - 1, written });
        }
        let mut numbers = Vec::with_capacity(length * n_head * head_size);
        for position in 0..length {
            for head in 0..n_head {
                numbers.extend((0..head_size).map(|channel| at(position, head, channel)));
            }
        }
        Ok(numbers)
    }

    /// Which [D, 64] or [64, D'] it is, counted through blocks, layers and heads.
    fn tile(&self, layer: usize, head: usize, block: usize) -> usize {
        (block * self.shape.n_layer + layer) * self.shape.n_head + head
    }
}

/// Like any other allocation, it ends the program where the system has no memory left to give.
fn zeros(length: usize) -> Values {
    Values::zeros(length)
        .unwrap_or_else(|_| handle_alloc_error(Layout::array::<f32>(length).unwrap_or(Layout::new::<f32>())))
}
