//! One output, written by several threads in places that do not overlap.
#![allow(unsafe_code)] // a borrow cannot say "these columns of every row"

use std::marker::PhantomData;
use std::ops::Range;

/// The right to write into a `&mut [f32]`, handed to all threads of one operation.
#[derive(Clone, Copy)]
pub(crate) struct SharedOutput<'a> {
    first: *mut f32,
    length: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a pointer into memory that is borrowed for 'a; what is done with it is the promise of `range`.
unsafe impl Send for SharedOutput<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput<'_> {}

impl<'a> SharedOutput<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { first: values.as_mut_ptr(), length: values.len(), borrow: PhantomData }
    }

    /// # Safety
    /// While the result lives, no other thread may hold a range that overlaps it.
    #[allow(clippy::mut_from_ref)] // that is what the promise is for
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {}", self.length);
        // SAFETY: inside the borrowed slice; alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(range.start), range.len()) }
    }

    /// The first of `length` numbers, for a kernel that keeps to its own part of them.
    pub(crate) fn pointer(&self, length: usize) -> *mut f32 {
        assert_eq!(length, self.length, "not the whole output");
        self.first
    }
}
