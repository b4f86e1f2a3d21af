//! The heap of the image: one arena per enclave thread, so that threads do not wait for each other.
//!
//! The standard library's allocator on the SGX target is one spin lock around one heap. It stays the owner of
//! all memory and answers for large blocks, which are rare; everything else comes from an arena that only one
//! thread uses. An arena takes aligned chunks, so that the chunk, and in its header the arena, of any block is
//! found from the block's address. A block that another thread frees goes onto a list that its arena empties
//! the next time it is used: nobody waits, and nobody leaves the enclave.
//!
//! Which of the two made a block follows from its layout alone ([`is_large`]), because that is what the
//! caller brings back with it.

mod arena;
mod table;

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};

use arena::Arena;
use table::Table;

/// Blocks from this size on come from the heap itself.
const LARGE: usize = 256 * 1024;
/// And those of a stricter alignment than a page.
const MOST_ALIGN: usize = 4096;
/// Threads that can have an arena: more than an image has.
const THREADS: usize = 512;

/// Tells the threads of a program apart.
///
/// # Safety
/// Two threads that run at the same time have different numbers, and a thread that has the number of an
/// earlier one sees everything that one did.
pub(crate) unsafe trait Threads {
    /// The number of the running thread. Called from within the allocator: it must not allocate.
    fn current(&self) -> NonZeroUsize;
}

/// An allocator with an arena per thread.
pub(crate) struct Arenas<T> {
    threads: T,
    table: Table<THREADS>,
}

impl<T: Threads> Arenas<T> {
    /// An allocator that has taken no memory yet.
    pub(crate) const fn new(threads: T) -> Self {
        Arenas { threads, table: Table::new() }
    }

    /// Memory that arenas hold, used or not, in chunks of 1 MiB.
    #[cfg(test)]
    pub(crate) fn chunks(&self) -> usize {
        // SAFETY: arenas are never freed, and what is read is an atomic.
        self.table.arenas().map(|arena| unsafe { arena.as_ref() }.chunks()).sum()
    }

    /// The arena of the running thread, made if need be. `None`: there is no memory for it.
    fn own(&self) -> Option<NonNull<Arena>> {
        self.table.find_or_insert(self.threads.current(), Arena::create)
    }

    fn small(&self, layout: Layout, zeroed: bool) -> *mut u8 {
        let Some(own) = self.own() else { return ptr::null_mut() };
        // SAFETY: it is the running thread's arena, and the layout is not large.
        unsafe { Arena::allocate(own, layout, zeroed) }
    }
}

/// Whether a block of this layout comes from the heap itself.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE || layout.align() > MOST_ALIGN
}

// SAFETY: a block is made by the heap or by an arena and goes back to the same one (`is_large` depends on the
// layout alone, and the arena stands in the block's chunk). Arenas are used by their own thread only
// (`Threads`), but for the list of freed blocks. Nothing unwinds: there is nothing that panics but checks of
// the heap's own consistency, and in an image a panic ends the enclave.
unsafe impl<T: Threads> GlobalAlloc for Arenas<T> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_large(layout) {
            // SAFETY: the caller's layout, of which it promises that the size is not zero.
            true => unsafe { System.alloc(layout) },
            false => self.small(layout, false),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_large(layout) {
            // SAFETY: as in `alloc`.
            true => unsafe { System.alloc_zeroed(layout) },
            false => self.small(layout, true),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: a block of this layout came from the heap.
            return unsafe { System.dealloc(block, layout) };
        }
        let own = self.table.find(self.threads.current());
        // SAFETY: a block of this layout came from an arena, and `own` is the running thread's.
        unsafe { Arena::free(own, block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        match (is_large(layout), is_large(new_layout)) {
            (true, true) => {
                // SAFETY: the block came from the heap and stays there.
                return unsafe { System.realloc(block, layout, new_size) };
            }
            (false, false) => {
                if let Some(own) = self.own() {
                    // SAFETY: the block came from an arena, and `own` is the running thread's.
                    let moved = unsafe { Arena::reallocate(own, block, layout, new_size) };
                    if let Some(moved) = moved {
                        return moved.as_ptr();
                    }
                }
            }
            (true, false) | (false, true) => {}
        }
        // Across the border, out of another thread's arena, or when there was no room: a new block.
        // SAFETY: the size is not zero, as the caller promises; the old block is valid for its layout's size,
        // the new one is another and valid for its own, and the old one is given back once.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests;
