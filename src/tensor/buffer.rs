//! Working memory that starts on a cache line.

use std::ops::{Deref, DerefMut};

/// Floats of one cache line.
const LINE: usize = 16;

/// Zeros on a 64-byte boundary, which full-width loads want. Pages are touched when they are first written: a buffer
/// for the longest prompt costs nothing until there is one.
#[derive(Debug)]
pub struct Buffer {
    storage: Vec<f32>,
    start: usize,
    length: usize,
}

impl Buffer {
    pub fn zeros(length: usize) -> Self {
        let storage = vec![0.0; length + LINE];
        // a cache line further at most; a platform that will not say leaves the start where it is
        let start = storage.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Self { storage, start, length }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.storage[self.start..][..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..][..self.length]
    }
}
