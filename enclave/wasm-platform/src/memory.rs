//! Linear memories of guests, from one budget.
//!
//! A memory lives in a block whose size is a power of two (or the memory's own maximum, if that is
//! less), so growing doubles. Blocks are zero while they wait in the pool: what a guest left is erased
//! when its call ends, not when the next one begins.
//!
//! Erasing and copying take as long as a memory is large, and a guest says how large that is. So a [`CallMemory`]
//! does both in steps of at most [`STEP`] bytes, between which others run: before a memory grows
//! ([`CallMemory::prepare`]), and after the call for what it left ([`CallMemory::step`]). What is smaller than a
//! step is done at once.

mod block;
mod call;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use self::block::Block;
pub use self::call::{CallMemory, GuestMemory};

/// Bytes that are erased or copied at once: some tens of microseconds.
pub const STEP: usize = 256 * 1024;
/// Smallest block: one WebAssembly page.
const SMALLEST: usize = 64 * 1024;
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
    /// The most bytes erased and copied in one poll of a call.
    longest: AtomicUsize,
    waiting: Mutex<[Vec<Block>; CLASSES]>,
}

impl MemoryPool {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            budget,
            held: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            longest: AtomicUsize::new(0),
            waiting: Mutex::new(std::array::from_fn(|_| Vec::new())),
        }
    }

    /// Bytes handed out to running calls.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes erased and copied in one poll of a call.
    pub(crate) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    fn did(&self, bytes: usize) {
        self.longest.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// A block for a memory of `bytes` that may grow to `maximum`. One from the allocator is not zero.
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
        Block::new(len).ok_or_else(|| {
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

    /// A block is no memory any more. It is still held, until what is in it is erased and the pool has it back.
    fn out_of_use(&self, block: &Block) {
        self.used.fetch_sub(block.len(), Ordering::Relaxed);
    }

    /// Takes back a block that is zero.
    fn give(&self, block: Block) {
        debug_assert!(block.is_zero(), "what a guest left is erased first");
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One linear memory. Its block goes back to the pool when it is dropped.
struct PooledMemory(Arc<Mutex<Memory>>);

/// What is known of a memory, to the engine and to the call that prepares its growth.
struct Memory {
    pool: Arc<MemoryPool>,
    call: CallMemory,
    block: Option<Block>,
    size: usize,
    maximum: Option<usize>,
    /// Where it is to go on, as far as it was prepared.
    next: Option<Next>,
}

/// A larger block, its beginning being filled with the memory's bytes.
struct Next {
    block: Block,
    copied: usize,
}

impl Memory {
    fn capacity(&self) -> usize {
        self.block.as_ref().map_or(0, Block::len)
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > self.capacity() {
            let prepared = match self.next.take() {
                Some(next) if next.block.len() < new_size => {
                    self.call.left(&self.pool, next.block, next.copied);
                    None
                }
                prepared => prepared,
            };
            let mut next = match (prepared, self.call.refused()) {
                (Some(next), _) => next,
                (None, Some(full)) => return Err(full.into()),
                // What nobody prepared.
                (None, None) => Next { block: self.pool.take(new_size, self.maximum)?, copied: 0 },
            };
            let copied = next.copy(self.block.as_ref(), self.size, usize::MAX);
            self.call.did(&self.pool, copied);
            if let Some(old) = self.block.replace(next.block) {
                self.call.left(&self.pool, old, self.size);
            }
        }
        self.erase_up_to(new_size);
        self.size = new_size;
        self.call.has_grown();
        Ok(())
    }

    /// Zeroes what a size of `size` will show.
    fn erase_up_to(&mut self, size: usize) {
        if let Some(block) = &mut self.block {
            let erased = block.erase(self.size..size, usize::MAX);
            self.call.did(&self.pool, erased);
        }
    }
}

impl Next {
    /// Copies at most `most` further bytes of the `size` in `from`; how many it were.
    fn copy(&mut self, from: Option<&Block>, size: usize, most: usize) -> usize {
        let Some(from) = from else { return 0 };
        let to = self.copied.saturating_add(most).min(size);
        let copied = self.block.copy(from, self.copied..to);
        self.copied = self.copied.max(to);
        copied
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(next) = self.next.take() {
            self.call.left(&self.pool, next.block, next.copied);
        }
        if let Some(block) = self.block.take() {
            self.call.left(&self.pool, block, self.size);
        }
    }
}

// SAFETY: `as_ptr` points to `byte_capacity` readable and writable bytes that belong to this value
// alone and stay there until `grow_to` passes the capacity or the value is dropped: only `grow_to` exchanges
// the block, and who prepares a growth writes to the next block alone. The bytes up to `byte_size` are zero when
// they become the guest's, because `grow_to` erases what is not, and a guest reaches only what lies below
// `byte_size` (bounds are checked in its code: no guard size is ever asked for).
unsafe impl LinearMemory for PooledMemory {
    fn byte_size(&self) -> usize {
        let (size, call) = {
            let memory = lock(&self.0);
            (memory.size, memory.call.clone())
        };
        call.asked(&self.0);
        size
    }

    fn byte_capacity(&self) -> usize {
        lock(&self.0).capacity()
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        lock(&self.0).grow_to(new_size)
    }

    fn as_ptr(&self) -> *mut u8 {
        lock(&self.0).block.as_ref().map_or(std::ptr::dangling_mut(), Block::address)
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
        let call = CallMemory::current();
        let memory = call.make(&self.0, minimum, maximum).map_err(|full| full.to_string())?;
        Ok(Box::new(PooledMemory(memory)))
    }
}

#[cfg(test)]
mod tests;
