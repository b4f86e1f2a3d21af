//! One stretch of memory, and which part of it may be something else than zero.

use std::alloc::{Layout, alloc, dealloc};
use std::ops::Range;
use std::ptr::NonNull;

/// Blocks are aligned to this: what the widest guest access asks for, and what allocators give without
/// touching the block, so that large ones cost only what is used of them.
const ALIGN: usize = 16;

/// Owned memory, aligned to [`ALIGN`].
///
/// Comes from the allocator as it is: an allocator that has to zero does so in one go, and the one of an enclave
/// keeps all other threads waiting meanwhile.
pub(super) struct Block {
    base: NonNull<u8>,
    layout: Layout,
    /// What may be something else than zero, or was never written.
    unclean: Range<usize>,
}

// SAFETY: a block is plain memory that this value alone owns.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives out only the address and the length, and reads what it says is initialised.
unsafe impl Sync for Block {}

impl Block {
    pub(super) fn new(len: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len, ALIGN).ok().filter(|layout| layout.size() > 0)?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc(layout) })?;
        Some(Self { base, layout, unclean: 0..len })
    }

    pub(super) fn len(&self) -> usize {
        self.layout.size()
    }

    pub(super) fn address(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.unclean.is_empty()
    }

    /// The first `len` bytes were in use.
    pub(super) fn used(&mut self, len: usize) {
        if len > 0 {
            let end = if self.unclean.is_empty() { 0 } else { self.unclean.end };
            self.unclean = 0..end.max(len).min(self.len());
        }
    }

    /// How much of `range` is not known to be zero. Nothing before `range` may be unclean unless it is in use.
    pub(super) fn unclean_in(&self, range: Range<usize>) -> usize {
        range.end.min(self.unclean.end).saturating_sub(range.start.max(self.unclean.start))
    }

    /// Zeroes what is not zero in `range`, at most `most` bytes from its beginning; how many it were. What lies
    /// before `range` is taken to be in use from now on.
    pub(super) fn erase(&mut self, range: Range<usize>, most: usize) -> usize {
        let start = self.unclean.start.max(range.start);
        let end = self.unclean.end.min(range.end).min(start.saturating_add(most));
        if start >= end {
            return 0;
        }
        // SAFETY: `start..end` lies in the block (`unclean` always does), which is ours; `&mut self` keeps every
        // other use away.
        unsafe { self.base.as_ptr().add(start).write_bytes(0, end - start) };
        self.unclean.start = end;
        end - start
    }

    /// Copies `range` of `from` to the same place here; how many bytes it were. What lies before it is taken to be
    /// in use from now on.
    pub(super) fn copy(&mut self, from: &Block, range: Range<usize>) -> usize {
        let end = range.end.min(self.len()).min(from.len());
        let Some(len) = end.checked_sub(range.start).filter(|len| *len > 0) else { return 0 };
        // SAFETY: `range.start..end` lies in both blocks, which are two and ours. The bytes of `from` are those of
        // a memory below its size: initialised by `erase`, `copy` or its guest, which does not run now.
        unsafe {
            let to = self.base.as_ptr().add(range.start);
            to.copy_from_nonoverlapping(from.base.as_ptr().add(range.start), len);
        }
        self.unclean.start = self.unclean.start.max(end);
        len
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
