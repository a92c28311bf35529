//! The bytes of a model file, where they are: mapped from disk, or already in memory (the embedded model). Tensors that are
//! used as they are stored point into them, so a map lives as long as the last tensor that needs it.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::model::error::Problem;

/// The whole content of one file.
pub enum FileBytes {
    Mapped(Mmap),
    Shared(Arc<[u8]>),
    Static(&'static [u8]),
}

impl FileBytes {
    /// Maps a regular file. What is no file (a folder, a pipe, a device) is refused before it is opened: opening a pipe
    /// would block.
    pub fn map(path: &Path) -> Result<Arc<FileBytes>, Problem> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(Problem::NotAFile);
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Arc::new(FileBytes::Static(&[])));
        }
        #[allow(unsafe_code)]
        // SAFETY: the map is private and read-only. Another process that shortens the file while it is mapped would end
        // this one with a bus error, and one that writes to it would change weights: the price of every mapped model;
        // writers of model files (ours too) write beside and rename.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? };
        Ok(Arc::new(FileBytes::Mapped(map)))
    }

    /// Tells the system that this range will be read once and then [released](FileBytes::release). It is then mapped in
    /// small pages: a large one reaches beyond the range, and would come back whole when a neighbour is touched.
    pub fn will_release(&self, range: &Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Some((map, pages)) = self.whole_pages(range) {
            let _ = map.advise_range(memmap2::Advice::NoHugePage, pages.start, pages.len());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    /// Tells the system that this range is not needed for now: its pages leave this process's memory (whole pages inside
    /// the range only), and would be read again from the file if touched.
    pub fn release(&self, range: &Range<usize>) {
        #[cfg(unix)]
        if let Some((map, pages)) = self.whole_pages(range) {
            #[allow(unsafe_code)]
            // SAFETY: the map is private, read-only and backed by a file, and nothing was ever written to it: dropped
            // pages come back with the same bytes, so no reference into the range can see a change.
            let advised =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, pages.start, pages.len()) };
            // Advice only: where the system refuses it, more memory stays in use and nothing else changes.
            let _ = advised;
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// The pages that lie in this range of a map as a whole.
    #[cfg(unix)]
    fn whole_pages(&self, range: &Range<usize>) -> Option<(&Mmap, Range<usize>)> {
        const PAGE: usize = 4096; // a smaller step than the system's own is rounded by it
        let FileBytes::Mapped(map) = self else { return None };
        let pages = range.start.next_multiple_of(PAGE)..range.end.min(map.len()) / PAGE * PAGE;
        (!pages.is_empty()).then_some((map, pages))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
            FileBytes::Shared(bytes) => bytes,
            FileBytes::Static(bytes) => bytes,
        }
    }
}

impl From<&'static [u8]> for FileBytes {
    fn from(bytes: &'static [u8]) -> Self {
        FileBytes::Static(bytes)
    }
}

impl From<Arc<[u8]>> for FileBytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        FileBytes::Shared(bytes)
    }
}

/// Little-endian f32 inside a file, used where they lie. Made by [`MappedValues::new`] only, which checks what
/// [`MappedValues::as_slice`] relies on.
#[derive(Clone)]
pub struct MappedValues {
    file: Arc<FileBytes>,
    /// In bytes; inside the file, a multiple of four long, and aligned for f32 in memory.
    range: Range<usize>,
}

impl MappedValues {
    /// `None` where the range cannot be used in place: outside the file, misaligned, or on a big-endian machine.
    pub fn new(file: &Arc<FileBytes>, range: Range<usize>) -> Option<Self> {
        let bytes = file.get(range.clone())?;
        let usable = cfg!(target_endian = "little")
            && bytes.len().is_multiple_of(size_of::<f32>())
            && bytes.as_ptr().cast::<f32>().is_aligned();
        usable.then(|| MappedValues { file: file.clone(), range })
    }

    pub fn as_slice(&self) -> &[f32] {
        let bytes = &self.file[self.range.clone()];
        #[allow(unsafe_code)]
        // SAFETY: every bit pattern is an f32, the pointer is aligned and the length a multiple of four (checked in
        // `new`), and the file's bytes do not move: they are a map, an `Arc` or static.
        unsafe {
            std::slice::from_raw_parts(bytes.as_ptr().cast::<f32>(), bytes.len() / size_of::<f32>())
        }
    }
}
