//! Linear memories of guests, from one budget.
//!
//! A memory lives in a block whose size is a power of two (or the memory's own maximum, if that is
//! less), so growing doubles. Blocks are zero while they wait in the pool: what a guest left is erased
//! when its call ends, not when the next one begins.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Smallest block: one WebAssembly page.
const SMALLEST: usize = 64 * 1024;
/// Blocks are aligned to this: what the widest guest access asks for, and what allocators give without
/// touching the block, so that large ones cost only what is used of them.
const ALIGN: usize = 16;
/// Powers of two from [`SMALLEST`] on that the pool keeps: up to 2 GiB.
const CLASSES: usize = 16;

/// All memories of all guests together use the whole budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guest memory of the enclave is used up: {asked} bytes asked for, {free} of {budget} free")]
pub struct OutOfGuestMemory {
    /// What was asked for.
    pub asked: usize,
    /// What was left at that moment.
    pub free: usize,
    /// What there is in all.
    pub budget: usize,
}

impl OutOfGuestMemory {
    /// Whether `message` is this error's: the engine passes on the text alone where a memory is made.
    #[must_use]
    pub fn is(message: &str) -> bool {
        message.starts_with("guest memory of the enclave is used up")
    }
}

/// Hands out linear memories within a byte budget.
pub(crate) struct MemoryPool {
    budget: usize,
    /// Bytes of all blocks: those handed out and those waiting.
    held: AtomicUsize,
    /// Bytes handed out.
    used: AtomicUsize,
    waiting: Mutex<[Vec<Block>; CLASSES]>,
}

impl MemoryPool {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            budget,
            held: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            waiting: Mutex::new(std::array::from_fn(|_| Vec::new())),
        }
    }

    /// Bytes handed out to running calls.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// A zeroed block for a memory of `bytes` that may grow to `maximum`.
    fn take(&self, bytes: usize, maximum: Option<usize>) -> Result<Block, OutOfGuestMemory> {
        let wanted = capacity(bytes, maximum);
        let block = match self.reuse(wanted) {
            Some(block) => block,
            None => self.fresh(wanted).or_else(|_| self.after_trimming(bytes, wanted))?,
        };
        self.used.fetch_add(block.len(), Ordering::Relaxed);
        Ok(block)
    }

    fn reuse(&self, wanted: usize) -> Option<Block> {
        self.waiting_unless_contended()?.get_mut(class(wanted)?)?.pop()
    }

    fn fresh(&self, len: usize) -> Result<Block, OutOfGuestMemory> {
        let full = |held| OutOfGuestMemory {
            asked: len,
            free: self.budget.saturating_sub(held),
            budget: self.budget,
        };
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(len).filter(|sum| *sum <= self.budget)
            })
            .map_err(full)?;
        Block::zeroed(len).ok_or_else(|| {
            let held = self.held.fetch_sub(len, Ordering::Relaxed);
            full(held)
        })
    }

    /// The budget is used up: give back what only waits, then try with doubling and without.
    fn after_trimming(&self, bytes: usize, wanted: usize) -> Result<Block, OutOfGuestMemory> {
        let waiting = match self.waiting.lock() {
            Ok(mut waiting) => std::mem::take(&mut *waiting),
            Err(_) => std::array::from_fn(|_| Vec::new()),
        };
        for block in waiting.into_iter().flatten() {
            self.held.fetch_sub(block.len(), Ordering::Relaxed);
            drop(block);
        }
        self.fresh(wanted).or_else(|_| self.fresh(bytes.max(1).next_multiple_of(SMALLEST)))
    }

    /// Takes a block back after its first `dirty` bytes were in use.
    fn give(&self, mut block: Block, dirty: usize) {
        self.used.fetch_sub(block.len(), Ordering::Relaxed);
        block.erase(dirty);
        if let Some(class) = class(block.len())
            && let Some(mut waiting) = self.waiting_unless_contended()
            && let Some(list) = waiting.get_mut(class)
        {
            list.push(block);
            return;
        }
        self.held.fetch_sub(block.len(), Ordering::Relaxed);
    }

    /// The pool is a cache: a thread that would have to wait for it goes to the allocator instead.
    fn waiting_unless_contended(&self) -> Option<MutexGuard<'_, [Vec<Block>; CLASSES]>> {
        self.waiting.try_lock().ok()
    }
}

/// The size of the block for a memory of `bytes`.
fn capacity(bytes: usize, maximum: Option<usize>) -> usize {
    let rounded = bytes.max(SMALLEST).checked_next_power_of_two().unwrap_or(bytes);
    match maximum {
        Some(maximum) => rounded.min(maximum.max(bytes)).max(1),
        None => rounded,
    }
}

/// Which list a block of exactly `len` bytes waits in.
fn class(len: usize) -> Option<usize> {
    if len < SMALLEST || !len.is_power_of_two() {
        return None;
    }
    let class = (len / SMALLEST).trailing_zeros() as usize;
    (class < CLASSES).then_some(class)
}

/// Owned memory, aligned to [`ALIGN`], zero when made and whenever it waits in the pool.
struct Block {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is plain memory that this value alone owns.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives out only the address and the length.
unsafe impl Sync for Block {}

impl Block {
    fn zeroed(len: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len, ALIGN).ok().filter(|layout| layout.size() > 0)?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { base, layout })
    }

    fn len(&self) -> usize {
        self.layout.size()
    }

    /// Zeroes the first `len` bytes.
    fn erase(&mut self, len: usize) {
        // SAFETY: the block is ours and at least that long; `&mut self` keeps every other use away.
        unsafe { self.base.as_ptr().write_bytes(0, len.min(self.len())) };
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout, and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// One linear memory. Its block goes back to the pool when it is dropped.
struct PooledMemory {
    pool: Arc<MemoryPool>,
    block: Option<Block>,
    size: usize,
    maximum: Option<usize>,
}

impl PooledMemory {
    fn replace(&mut self, block: Option<Block>, dirty: usize) {
        if let Some(old) = std::mem::replace(&mut self.block, block) {
            self.pool.give(old, dirty);
        }
    }
}

// SAFETY: `as_ptr` points to `byte_capacity` readable and writable bytes that belong to this value
// alone and stay there until `grow_to` passes the capacity or the value is dropped; the bytes from
// `byte_size` on are zero, because blocks come zeroed and a guest reaches only what lies below
// `byte_size` (bounds are checked in its code: no guard size is ever asked for).
unsafe impl LinearMemory for PooledMemory {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.block.as_ref().map_or(0, Block::len)
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > self.byte_capacity() {
            let larger = self.pool.take(new_size, self.maximum)?;
            if let Some(old) = &self.block {
                let len = self.size.min(old.len()).min(larger.len());
                // SAFETY: both blocks are owned, distinct and at least `len` long.
                unsafe { larger.base.copy_from_nonoverlapping(old.base, len) };
            }
            self.replace(Some(larger), self.size);
        }
        self.size = new_size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.block.as_ref().map_or(NonNull::dangling(), |block| block.base).as_ptr()
    }
}

impl Drop for PooledMemory {
    fn drop(&mut self) {
        self.replace(None, self.size);
    }
}

/// What the engine is given.
pub(crate) struct Memories(pub(crate) Arc<MemoryPool>);

// SAFETY: every memory it makes keeps the promises of `LinearMemory` (above) and comes zero-filled;
// requests for a reservation or guard pages, which it could not keep, are refused.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved_size_in_bytes.unwrap_or(0) != 0 || guard_size_in_bytes != 0 {
            return Err("the pool has no reservations and no guard pages".to_owned());
        }
        let block = self.0.take(minimum, maximum).map_err(|full| full.to_string())?;
        Ok(Box::new(PooledMemory { pool: Arc::clone(&self.0), block: Some(block), size: minimum, maximum }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(pool: &Arc<MemoryPool>, size: usize, maximum: Option<usize>) -> PooledMemory {
        let block = pool.take(size, maximum).unwrap();
        PooledMemory { pool: Arc::clone(pool), block: Some(block), size, maximum }
    }

    fn bytes(memory: &mut PooledMemory) -> &mut [u8] {
        // SAFETY: the memory's own bytes, borrowed as long as the memory.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    #[test]
    fn growing_doubles_keeps_contents_and_shows_zeroes() {
        let pool = Arc::new(MemoryPool::new(1 << 24));
        let mut memory = memory(&pool, 3 * SMALLEST, None);
        assert_eq!(memory.byte_capacity(), 4 * SMALLEST);
        bytes(&mut memory).fill(7);
        let before = memory.as_ptr();
        memory.grow_to(4 * SMALLEST).unwrap();
        assert_eq!(memory.as_ptr(), before, "growth within the capacity must not move");
        memory.grow_to(5 * SMALLEST).unwrap();
        assert_eq!(memory.byte_capacity(), 8 * SMALLEST);
        assert!(bytes(&mut memory)[..3 * SMALLEST].iter().all(|b| *b == 7));
        assert!(bytes(&mut memory)[3 * SMALLEST..].iter().all(|b| *b == 0));
    }

    #[test]
    fn the_next_memory_sees_nothing_of_the_last() {
        let pool = Arc::new(MemoryPool::new(1 << 24));
        let mut first = memory(&pool, 2 * SMALLEST, None);
        bytes(&mut first).fill(0xAA);
        let place = first.as_ptr();
        drop(first);
        let mut second = memory(&pool, 2 * SMALLEST, None);
        assert_eq!(second.as_ptr(), place, "the pool reuses blocks");
        assert!(bytes(&mut second).iter().all(|b| *b == 0));
    }

    #[test]
    fn the_budget_ends_one_request_and_returns_with_the_memory() {
        let pool = Arc::new(MemoryPool::new(8 * SMALLEST));
        let mut first = memory(&pool, 4 * SMALLEST, None);
        assert_eq!(pool.take(8 * SMALLEST, None).err().map(|e| e.asked), Some(8 * SMALLEST));
        assert!(first.grow_to(5 * SMALLEST).is_err(), "old and new block together pass the budget");
        assert_eq!(first.byte_size(), 4 * SMALLEST);
        drop(first);
        assert_eq!(pool.used(), 0);
        let _second = memory(&pool, 8 * SMALLEST, None);
        assert_eq!(pool.used(), 8 * SMALLEST);
    }

    #[test]
    fn near_the_budget_a_memory_gets_what_it_needs_instead_of_the_double() {
        let pool = Arc::new(MemoryPool::new(9 * SMALLEST));
        let memory = memory(&pool, 5 * SMALLEST, None);
        assert_eq!(memory.byte_capacity(), 8 * SMALLEST);
        let _small = pool.take(SMALLEST, None).unwrap();
        assert!(pool.take(1, None).is_err());
        drop(memory);
        let pool = Arc::new(MemoryPool::new(7 * SMALLEST));
        assert_eq!(pool.take(5 * SMALLEST, None).unwrap().len(), 5 * SMALLEST);
    }

    #[test]
    fn a_declared_maximum_bounds_the_block() {
        assert_eq!(capacity(3 * SMALLEST, Some(3 * SMALLEST)), 3 * SMALLEST);
        assert_eq!(capacity(0, Some(0)), 1);
        assert_eq!(capacity(0, None), SMALLEST);
        assert_eq!(class(3 * SMALLEST), None);
        assert_eq!(class(SMALLEST), Some(0));
    }
}
