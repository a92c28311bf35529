//! Memory for weights that are not used where the file was mapped, and for the cache, in the largest pages that the system
//! gives: decoding reads all of it for each token, and with small pages a good part of that time goes into finding where a page lies.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use crate::model::error::Problem;

/// Zeros until they are written, on a cache line; only pages that were touched are held.
#[derive(Debug)]
pub struct Values {
    map: MmapMut,
    /// In bytes; a multiple of [`HUGE`] in memory, where the values are many enough for such a page.
    start: usize,
    length: usize,
}

/// The next larger size of a page, on the processors and in the settings that have any.
const HUGE: usize = 2 << 20;

impl Values {
    pub fn zeros(length: usize) -> Result<Values, Problem> {
        let bytes = length * size_of::<f32>();
        let spare = if bytes >= HUGE { HUGE } else { 0 };
        let map = MmapMut::map_anon((bytes + spare).max(1))?;
        let start = if spare > 0 { map.as_ptr().align_offset(HUGE).min(spare) } else { 0 };
        // Whole pages only: a page that the values fill half would be held whole. Advice: where it is not taken, reading
        // is slower and nothing else changes.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, bytes / HUGE * HUGE);
        Ok(Values { map, start, length })
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let bytes = &self.map[self.start..][..self.length * size_of::<f32>()];
        #[allow(unsafe_code)]
        // SAFETY: every bit pattern is an f32; a map begins on a page, `start` is in whole pages (or zero), and the slice
        // has room for `length` of them. Borrowed from the map, which does not move.
        unsafe {
            std::slice::from_raw_parts(bytes.as_ptr().cast::<f32>(), self.length)
        }
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        let bytes = &mut self.map[self.start..][..self.length * size_of::<f32>()];
        #[allow(unsafe_code)]
        // SAFETY: as above, and borrowed mutably from the map, which is private to this process.
        unsafe {
            std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<f32>(), self.length)
        }
    }
}
